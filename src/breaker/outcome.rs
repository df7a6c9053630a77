//! What came of an attempt, and which of that a breaker counts as failure.

use http::StatusCode;

/// What came of one attempt at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came, with this status; whole, or its body has flown for long enough.
    Answered(StatusCode),
    /// No whole answer came, by the endpoint's fault.
    Failed(Fault),
    /// Nothing was learned: the client left or sent too slowly, or the gateway decided by itself.
    Neutral,
}

/// How an attempt fails without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection came to be.
    Connect,
    /// A deadline passed.
    Timeout,
    /// The connection broke, before the answer's head or too soon after it; or what came was no HTTP.
    Reset,
}

/// How a breaker takes an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream does its work.
    Success,
    /// One of `failures`.
    Failure,
    /// Says nothing.
    Neutral,
}

/// One word of `failures`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A fault.
    Fault(Fault),
    /// Every status from 500 to 599.
    ServerErrors,
    /// This status, from 400 to 599 and not 429.
    Status(u16),
}

/// The set `failures`: what counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    faults: u8,
    server_errors: bool,
    /// In rising order.
    statuses: Vec<u16>,
}

impl Failures {
    /// How `outcome` is taken. 429 says nothing: whoever limits its clients is well.
    #[must_use]
    #[inline]
    pub fn judge(&self, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Answered(status) if status.as_u16() < 400 => Verdict::Success,
            Outcome::Answered(status) => self.judge_status(status.as_u16()),
            Outcome::Failed(fault) if self.faults & bit(fault) != 0 => Verdict::Failure,
            Outcome::Failed(_) | Outcome::Neutral => Verdict::Neutral,
        }
    }

    fn judge_status(&self, status: u16) -> Verdict {
        let is_listed = self.server_errors && (500..600).contains(&status)
            || self.statuses.binary_search(&status).is_ok();
        match status {
            429 => Verdict::Neutral,
            _ if is_listed => Verdict::Failure,
            _ => Verdict::Success,
        }
    }
}

impl FromIterator<FailureKind> for Failures {
    fn from_iter<I: IntoIterator<Item = FailureKind>>(words: I) -> Failures {
        let mut set = Failures {
            faults: 0,
            server_errors: false,
            statuses: Vec::new(),
        };
        for word in words {
            match word {
                FailureKind::Fault(fault) => set.faults |= bit(fault),
                FailureKind::ServerErrors => set.server_errors = true,
                FailureKind::Status(status) => set.statuses.push(status),
            }
        }
        set.statuses.sort_unstable();
        set
    }
}

fn bit(fault: Fault) -> u8 {
    match fault {
        Fault::Connect => 1,
        Fault::Timeout => 1 << 1,
        Fault::Reset => 1 << 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered(StatusCode::from_u16(status).unwrap())
    }

    /// B11, B12 and the contract's own row: 501 and 505 count with `5xx`, 429 never.
    #[test]
    fn b11_b12_what_counts_by_default() {
        let all = [Fault::Connect, Fault::Timeout, Fault::Reset];
        let failures: Failures = all
            .into_iter()
            .map(FailureKind::Fault)
            .chain([FailureKind::ServerErrors])
            .collect();
        for fault in all {
            assert_eq!(failures.judge(Outcome::Failed(fault)), Verdict::Failure);
        }
        for status in [500, 501, 502, 503, 504, 505, 599] {
            assert_eq!(failures.judge(answered(status)), Verdict::Failure);
        }
        for status in [101, 200, 204, 301, 304, 400, 401, 404, 499] {
            assert_eq!(failures.judge(answered(status)), Verdict::Success);
        }
        assert_eq!(failures.judge(answered(429)), Verdict::Neutral);
        assert_eq!(failures.judge(Outcome::Neutral), Verdict::Neutral);
    }

    #[test]
    fn only_what_is_listed_counts() {
        let failures: Failures = [503, 404]
            .map(FailureKind::Status)
            .into_iter()
            .chain([FailureKind::Fault(Fault::Reset)])
            .collect();
        assert_eq!(failures.judge(answered(503)), Verdict::Failure);
        assert_eq!(failures.judge(answered(404)), Verdict::Failure);
        assert_eq!(failures.judge(answered(500)), Verdict::Success);
        assert_eq!(
            failures.judge(Outcome::Failed(Fault::Reset)),
            Verdict::Failure
        );
        // A fault that the file does not list is no sign of health either.
        assert_eq!(
            failures.judge(Outcome::Failed(Fault::Connect)),
            Verdict::Neutral
        );
    }
}
