//! What the control log says of a reload.

use super::{Outcome, Report};
use crate::config::Problem;

/// Problems of one file that are logged; the answer to `POST /reload` has them all, and so has `check`.
const TOLD: usize = 50;

/// Tells how a reload ended.
pub(super) fn tell(report: &Report) {
    let generation = report.generation;
    match &report.outcome {
        Outcome::Applied(changes) => {
            tracing::info!(generation, %changes, "reload applied");
            for warning in report.warnings.iter().take(TOLD) {
                tracing::warn!(help = warning.help, "{}", line_of(warning));
            }
            for problem in report.outdated.iter().take(TOLD) {
                let line = line_of(problem);
                tracing::error!(
                    help = problem.help,
                    "{line}; what it held before stays in force"
                );
            }
        }
        Outcome::Unchanged => tracing::info!(generation, "reload unchanged"),
        Outcome::Rejected(problems) => {
            tracing::error!(
                generation,
                problems = problems.len(),
                "reload rejected; the old configuration stays in force"
            );
            for problem in problems.iter().take(TOLD) {
                tracing::error!(help = problem.help, "{}", line_of(problem));
            }
        }
    }
}

/// A problem for the log, where each has one line; `check` shows them at length.
fn line_of(problem: &Problem) -> String {
    let Problem {
        file,
        line,
        column,
        message,
        ..
    } = problem;
    if *line == 0 {
        format!("{file}: {message}")
    } else {
        format!("{file}:{line}:{column}: {message}")
    }
}
