//! What is told of names in the control log: a line for each change of state, but a bounded number of them.

use std::time::Duration;

use super::book::{MOST_ADDRESSES, News};
use crate::time::Nanos;

/// Lines in each [`LINES_PER`].
const MOST_LINES: u32 = 50;
const LINES_PER: Duration = Duration::from_secs(10);

/// Tells news of names in the control log, a bounded number of lines.
#[derive(Default)]
pub(super) struct Lines {
    since: Nanos,
    told: u32,
}

impl Lines {
    pub(super) fn tell(&mut self, name: &str, news: &News, now: Nanos) {
        if now.since(self.since) >= LINES_PER {
            *self = Lines {
                since: now,
                told: 0,
            };
        }
        self.told = self.told.saturating_add(1);
        if self.told == MOST_LINES {
            tracing::warn!("more names have news; GET /upstreams of the admin port lists them all");
        }
        if self.told < MOST_LINES {
            tell(name, news);
        }
    }
}

fn tell(name: &str, news: &News) {
    match news {
        News::Failing(held, error) => tracing::warn!(
            name,
            error,
            help = "see that the DNS servers (`dns.servers`, else /etc/resolv.conf) can be reached and answer",
            "{} does not resolve: DNS fails; {}",
            name,
            meanwhile(*held)
        ),
        News::Nothing(held, error) => tracing::warn!(
            name,
            error,
            help = "correct the name under `endpoints`, or add it to DNS or /etc/hosts",
            "{} does not resolve: it has no address; {}",
            name,
            meanwhile(*held)
        ),
        News::Mended(addresses) => {
            tracing::info!(name, addresses, "{} resolves again", name);
        }
        News::Cut => tracing::warn!(
            name,
            "{} has more than {MOST_ADDRESSES} addresses: only the first {MOST_ADDRESSES} are used",
            name
        ),
    }
}

fn meanwhile(held: usize) -> String {
    match held {
        0 => "it gives no endpoint until it does".into(),
        1 => "its last address stays in use".into(),
        _ => format!("its last {held} addresses stay in use"),
    }
}
