//! What a route tries again: the policy of its `retry`, and the causes by which tries fail.

use std::time::Duration;

use crate::metrics::RetryCause;

/// When and how often a route tries again. Part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries after the first; 0 = off.
    pub attempts: u32,
    /// What is tried again.
    pub causes: Causes,
    /// How long one try may take, until its answer's head; `None` = off.
    pub per_try_timeout: Option<Duration>,
    /// Most before the first retry; doubles from one to the next.
    pub base: Duration,
    /// Most before any retry.
    pub max: Duration,
}

impl Policy {
    /// Can it ever make a request again that an endpoint may have seen? Only then is its body worth keeping, and only
    /// of an idempotent request.
    #[must_use]
    pub fn repeats_what_was_sent(&self) -> bool {
        self.attempts > 0 && self.causes.0 & !(CONNECT | REFUSED_STREAM) != 0
    }

    /// May an answer of `status` be a failed try?
    #[must_use]
    #[inline]
    pub fn repeats_status(&self, status: u16) -> bool {
        self.attempts > 0 && self.causes.contains(Cause::Status(status))
    }
}

/// Why a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection came to be.
    Connect,
    /// The connection broke before the answer's head.
    Reset,
    /// `per_try_timeout` or `timeouts.response` passed.
    Timeout,
    /// The endpoint refused the stream before it looked at it (RFC 9113, section 8.7), or gave the request back unsent.
    RefusedStream,
    /// The endpoint answered, with a status that the route tries again.
    Status(u16),
}

impl Cause {
    /// As it is counted.
    #[must_use]
    pub fn counted(self) -> RetryCause {
        match self {
            Cause::Connect => RetryCause::Connect,
            Cause::Reset => RetryCause::Reset,
            Cause::Timeout => RetryCause::Timeout,
            Cause::RefusedStream => RetryCause::RefusedStream,
            Cause::Status(_) => RetryCause::Status,
        }
    }

    fn bit(self) -> u16 {
        match self {
            Cause::Connect => CONNECT,
            Cause::RefusedStream => REFUSED_STREAM,
            Cause::Reset => 1 << 2,
            Cause::Timeout => 1 << 3,
            Cause::Status(500) => 1 << 4,
            Cause::Status(502) => 1 << 5,
            Cause::Status(503) => 1 << 6,
            Cause::Status(504) => 1 << 7,
            Cause::Status(_) => 0,
        }
    }
}

/// A set of causes; of the statuses it holds 500, 502, 503 and 504 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes(u16);

impl Causes {
    /// Is `cause` one of them?
    #[must_use]
    #[inline]
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & cause.bit() != 0
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Causes {
        Causes(causes.into_iter().fold(0, |set, cause| set | cause.bit()))
    }
}

const CONNECT: u16 = 1;
const REFUSED_STREAM: u16 = 1 << 1;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Cause; 8] = [
        Cause::Connect,
        Cause::Reset,
        Cause::Timeout,
        Cause::RefusedStream,
        Cause::Status(500),
        Cause::Status(502),
        Cause::Status(503),
        Cause::Status(504),
    ];

    fn policy(attempts: u32, causes: impl IntoIterator<Item = Cause>) -> Policy {
        Policy {
            attempts,
            causes: causes.into_iter().collect(),
            per_try_timeout: None,
            base: Duration::from_millis(25),
            max: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for mask in 0..1_u32 << ALL.len() {
            let chosen = |index: usize| mask & (1 << index) != 0;
            let causes: Causes = (0..ALL.len())
                .filter(|i| chosen(*i))
                .map(|i| ALL[i])
                .collect();
            for (index, cause) in ALL.iter().enumerate() {
                assert_eq!(
                    causes.contains(*cause),
                    chosen(index),
                    "{cause:?} in {mask:b}"
                );
            }
        }
    }

    #[test]
    fn other_statuses_are_in_no_set() {
        let mut causes: Causes = ALL.into_iter().collect();
        for status in (0..=1000).filter(|s| ![500, 502, 503, 504].contains(s)) {
            assert!(!causes.contains(Cause::Status(status)), "{status}");
        }
        causes = [Cause::Status(501), Cause::Status(200)]
            .into_iter()
            .collect();
        assert_eq!(causes, Causes::default());
    }

    #[test]
    fn every_status_is_counted_as_one_cause() {
        let words: Vec<&str> = ALL[..5]
            .iter()
            .map(|cause| cause.counted().word())
            .collect();
        assert_eq!(words, RetryCause::ALL.map(RetryCause::word));
        assert!(
            ALL[4..]
                .iter()
                .all(|cause| cause.counted() == RetryCause::Status)
        );
    }

    #[test]
    fn a_body_is_worth_keeping_where_what_was_sent_may_be_repeated() {
        let harmless = [Cause::Connect, Cause::RefusedStream];
        assert!(!policy(3, harmless).repeats_what_was_sent());
        for cause in ALL.into_iter().filter(|c| !harmless.contains(c)) {
            assert!(policy(1, [cause]).repeats_what_was_sent(), "{cause:?}");
            assert!(!policy(0, [cause]).repeats_what_was_sent(), "{cause:?}");
        }
        assert!(policy(1, ALL).repeats_status(503));
        assert!(!policy(1, ALL).repeats_status(501));
        assert!(!policy(0, ALL).repeats_status(503));
    }
}
