//! May a failed try be followed by another, and after what time? Pure: everything it decides by is an argument.

use std::time::Duration;

use http::Method;

use crate::time::Nanos;
use crate::upstream::retry::{Cause, Policy};

/// A try that failed.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// Why.
    pub cause: Cause,
    /// Tries so far, this one included.
    pub tried: u32,
    /// Is its method idempotent (RFC 9110, section 9.2.2)?
    pub idempotent: bool,
    /// Did any byte of the request leave on this try?
    pub sent: bool,
    /// Can the request be made again, with its whole body?
    pub replayable: bool,
    /// Did the endpoint begin an answer whose head it did not finish, or did any byte of one go to the client?
    pub answer_begun: bool,
    /// Is there another endpoint to try?
    pub other_endpoint: bool,
    /// The moment of the decision.
    pub now: Nanos,
    /// The end of the whole request; `None` = off.
    pub due: Option<Nanos>,
    /// Any number, each as likely as the others.
    pub random: u64,
}

/// What to do after a try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The failure is the client's to see.
    GiveUp,
    /// Try again after this time.
    After(Duration),
}

/// Decides what follows a failed try. `budget` takes one retry from the upstream's budget and tells whether there was
/// one; it is asked last, and only if nothing else is against it.
pub fn decide(policy: &Policy, tried: &Try, budget: impl FnOnce() -> bool) -> Verdict {
    let wanted = tried.tried <= policy.attempts && policy.causes.contains(tried.cause);
    if !wanted || tried.answer_begun || !tried.replayable || !is_safe(tried) {
        return Verdict::GiveUp;
    }
    let pause = pause(policy, tried);
    let in_time = tried.due.is_none_or(|due| tried.now.plus(pause) < due);
    if in_time && budget() {
        Verdict::After(pause)
    } else {
        Verdict::GiveUp
    }
}

/// Can the request be made twice without being done twice? Either by its method, or because nobody can have processed it.
fn is_safe(tried: &Try) -> bool {
    let untouched = matches!(tried.cause, Cause::Connect | Cause::RefusedStream) || !tried.sent;
    tried.idempotent || untouched
}

/// Full jitter: anything up to a ceiling that doubles, so that the retries of many requests do not arrive together.
///
/// The first connect that failed is followed by another endpoint at once: its failure says nothing about the others.
fn pause(policy: &Policy, tried: &Try) -> Duration {
    if tried.cause == Cause::Connect && tried.tried <= 1 && tried.other_endpoint {
        return Duration::ZERO;
    }
    let doublings = tried.tried.saturating_sub(1).min(MOST_DOUBLINGS);
    let ceiling = policy.base.saturating_mul(1 << doublings).min(policy.max);
    let ceiling = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(tried.random) * (u128::from(ceiling) + 1)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(ceiling))
}

/// Is making the same request twice meant to be the same as making it once (RFC 9110, section 9.2.2)? Unknown methods
/// are taken not to be.
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Beyond it a nanosecond has become four seconds.
const MOST_DOUBLINGS: u32 = 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::retry::Causes;
    use proptest::prelude::*;
    use std::cell::Cell;

    const CAUSES: [Cause; 9] = [
        Cause::Connect,
        Cause::Reset,
        Cause::Timeout,
        Cause::RefusedStream,
        Cause::Status(500),
        Cause::Status(502),
        Cause::Status(503),
        Cause::Status(504),
        Cause::Status(501),
    ];

    fn any_cause() -> impl Strategy<Value = Cause> {
        prop::sample::select(&CAUSES[..])
    }

    prop_compose! {
        fn any_policy()(
            attempts in 0..6_u32,
            causes in prop::collection::vec(any_cause(), 0..9),
            base in prop_oneof![Just(0), 0..2_000_000_000_u64, Just(u64::MAX)],
            more in prop_oneof![Just(0), 0..10_000_000_000_u64],
        ) -> Policy {
            Policy {
                attempts,
                causes: causes.into_iter().collect(),
                per_try_timeout: None,
                base: Duration::from_nanos(base),
                max: Duration::from_nanos(base).saturating_add(Duration::from_nanos(more)),
            }
        }
    }

    prop_compose! {
        fn any_try()(
            cause in any_cause(),
            tried in 1..8_u32,
            flags in any::<[bool; 5]>(),
            now in 0..u64::MAX / 2,
            left in prop::option::of(prop_oneof![Just(0), 0..5_000_000_000_u64]),
            random in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)],
        ) -> Try {
            let [idempotent, sent, replayable, answer_begun, other_endpoint] = flags;
            Try {
                cause, tried, idempotent, sent, replayable, answer_begun, other_endpoint, random,
                now: Nanos(now),
                due: left.map(|left| Nanos(now + left)),
            }
        }
    }

    /// The verdict, and whether the budget was asked for it.
    fn verdict(policy: &Policy, tried: &Try, allows: bool) -> (Verdict, bool) {
        let asked = Cell::new(false);
        let verdict = decide(policy, tried, || {
            asked.set(true);
            allows
        });
        (verdict, asked.get())
    }

    fn full() -> Policy {
        Policy {
            attempts: 3,
            causes: CAUSES.into_iter().collect(),
            per_try_timeout: None,
            base: Duration::from_millis(25),
            max: Duration::from_secs(1),
        }
    }

    /// A try that is followed by another.
    fn again(cause: Cause) -> Try {
        Try {
            cause,
            tried: 1,
            idempotent: true,
            sent: true,
            replayable: true,
            answer_begun: false,
            other_endpoint: true,
            now: Nanos(1_000_000_000),
            due: None,
            random: u64::MAX,
        }
    }

    proptest! {
        #[test]
        fn a_begun_answer_is_never_tried_again(policy in any_policy(), tried in any_try()) {
            let tried = Try { answer_begun: true, ..tried };
            prop_assert_eq!(verdict(&policy, &tried, true), (Verdict::GiveUp, false));
        }

        #[test]
        fn what_may_have_been_processed_is_not_done_twice(policy in any_policy(), tried in any_try()) {
            let tried = Try { idempotent: false, sent: true, ..tried };
            if !matches!(tried.cause, Cause::Connect | Cause::RefusedStream) {
                prop_assert_eq!(verdict(&policy, &tried, true), (Verdict::GiveUp, false));
            }
        }

        #[test]
        fn what_cannot_be_made_again_is_not(policy in any_policy(), tried in any_try()) {
            let tried = Try { replayable: false, ..tried };
            prop_assert_eq!(verdict(&policy, &tried, true), (Verdict::GiveUp, false));
        }

        #[test]
        fn only_what_is_listed_and_only_so_often(policy in any_policy(), tried in any_try()) {
            if tried.tried > policy.attempts || !policy.causes.contains(tried.cause) {
                prop_assert_eq!(verdict(&policy, &tried, true), (Verdict::GiveUp, false));
            }
        }

        #[test]
        fn no_pause_ends_at_the_end_of_the_request_or_after(policy in any_policy(), tried in any_try()) {
            if let (Verdict::After(pause), _) = verdict(&policy, &tried, true) {
                prop_assert!(tried.due.is_none_or(|due| tried.now.plus(pause) < due));
            }
        }

        #[test]
        fn an_empty_budget_ends_it_and_is_asked_only_if_all_else_allows(policy in any_policy(), tried in any_try()) {
            let (allowed, asked) = verdict(&policy, &tried, true);
            prop_assert_eq!(asked, allowed != Verdict::GiveUp);
            prop_assert_eq!(verdict(&policy, &tried, false), (Verdict::GiveUp, asked));
        }

        /// Nothing but the laws above stands against a retry.
        #[test]
        fn what_nothing_forbids_is_tried_again(policy in any_policy(), tried in any_try()) {
            let policy = Policy { base: Duration::ZERO, ..policy };
            let untouched = matches!(tried.cause, Cause::Connect | Cause::RefusedStream) || !tried.sent;
            let allowed = tried.tried <= policy.attempts
                && policy.causes.contains(tried.cause)
                && (tried.idempotent || untouched)
                && tried.replayable
                && !tried.answer_begun
                && tried.due.is_none_or(|due| tried.now < due);
            let expected = if allowed { Verdict::After(Duration::ZERO) } else { Verdict::GiveUp };
            prop_assert_eq!(verdict(&policy, &tried, true).0, expected);
        }

        #[test]
        fn a_pause_stays_below_its_ceiling(policy in any_policy(), tried in any_try()) {
            if let (Verdict::After(pause), _) = verdict(&policy, &tried, true) {
                let mut ceiling = policy.base;
                for _ in 1..tried.tried {
                    ceiling = ceiling.saturating_mul(2);
                }
                prop_assert!(pause <= ceiling.min(policy.max));
            }
        }
    }

    #[test]
    fn a_failed_connect_goes_to_another_endpoint_at_once_and_then_slows_down() {
        let connect = again(Cause::Connect);
        let pause = |tried: Try| verdict(&full(), &tried, true).0;
        let millis = |n| Verdict::After(Duration::from_millis(n));
        assert_eq!(pause(connect), millis(0));
        assert_eq!(
            pause(Try {
                tried: 2,
                ..connect
            }),
            millis(50)
        );
        assert_eq!(
            pause(Try {
                tried: 3,
                ..connect
            }),
            millis(100)
        );
        let alone = Try {
            other_endpoint: false,
            ..connect
        };
        assert_eq!(pause(alone), millis(25));
        assert_eq!(
            pause(again(Cause::Reset)),
            millis(25),
            "only a connect is followed at once"
        );
    }

    #[test]
    fn the_jitter_is_even_from_nothing_to_the_ceiling() {
        let mut quarters = [0_u32; 4];
        let mut random = 0_u64;
        for _ in 0..10_000 {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let tried = Try {
                tried: 3,
                random,
                ..again(Cause::Reset)
            };
            let Verdict::After(pause) = decide(&full(), &tried, || true) else {
                panic!("given up");
            };
            let quarter = pause.as_nanos() * 4 / (Duration::from_millis(100).as_nanos() + 1);
            quarters[quarter as usize] += 1;
        }
        assert!(
            quarters.iter().all(|n| (2400..=2600).contains(n)),
            "{quarters:?}"
        );
        let first = Try {
            random: 0,
            ..again(Cause::Reset)
        };
        assert_eq!(
            decide(&full(), &first, || true),
            Verdict::After(Duration::ZERO)
        );
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Policy {
            attempts: u32::MAX,
            ..full()
        };
        let longest = |tried| {
            let tried = Try {
                tried,
                ..again(Cause::Reset)
            };
            match decide(&policy, &tried, || true) {
                Verdict::After(pause) => pause.as_millis(),
                Verdict::GiveUp => panic!("given up"),
            }
        };
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7].map(longest),
            [25, 50, 100, 200, 400, 800, 1000]
        );
        assert_eq!(longest(u32::MAX), 1000);
    }

    #[test]
    fn a_post_is_tried_again_only_before_anybody_saw_it() {
        let post = |cause, sent| Try {
            idempotent: false,
            sent,
            ..again(cause)
        };
        let tried = |cause, sent| decide(&full(), &post(cause, sent), || true) != Verdict::GiveUp;
        assert!(tried(Cause::Connect, false));
        assert!(tried(Cause::RefusedStream, true));
        assert!(tried(Cause::Reset, false));
        for cause in [Cause::Reset, Cause::Timeout, Cause::Status(503)] {
            assert!(!tried(cause, true), "{cause:?}");
        }
    }

    #[test]
    fn idempotent_methods_are_those_of_the_rfc() {
        let of = |method: &str| is_idempotent(&Method::from_bytes(method.as_bytes()).unwrap());
        assert!(
            ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]
                .iter()
                .all(|m| of(m))
        );
        assert!(
            !["POST", "PATCH", "CONNECT", "get", "PURGE"]
                .iter()
                .any(|m| of(m))
        );
    }

    #[test]
    fn without_a_retry_nothing_is_asked() {
        let off = Policy {
            attempts: 0,
            ..full()
        };
        assert_eq!(
            verdict(&off, &again(Cause::Connect), true),
            (Verdict::GiveUp, false)
        );
        let nothing = Policy {
            causes: Causes::default(),
            ..full()
        };
        assert_eq!(
            verdict(&nothing, &again(Cause::Connect), true),
            (Verdict::GiveUp, false)
        );
    }
}
