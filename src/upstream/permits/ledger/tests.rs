//! The ledger beside a plain account of the same connections and requests: any number of steps, any order.

use proptest::prelude::*;

use super::*;

const WORKERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A request comes to this worker.
    Ask(usize),
    /// One of those who wait leaves.
    Leave(usize),
    /// A connection that carries a request has done so; it may be young.
    Finish(usize, bool),
    /// A connection that carries a request, or lies idle, breaks.
    Break(usize),
    /// The socket of a connection that was given up is closed.
    Close(usize),
    /// The configuration changes.
    Bind(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..WORKERS).prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::Leave),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(i, fresh)| Step::Finish(i, fresh)),
        1 => any::<usize>().prop_map(Step::Break),
        3 => any::<usize>().prop_map(Step::Close),
        1 => (1usize..6).prop_map(Step::Bind),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Busy,
    Idle,
    Leaving,
}

/// Plain lists of what the ledger only counts.
struct Account {
    ledger: Ledger<u64>,
    bound: usize,
    /// Worker and state of each connection.
    connections: Vec<(usize, State)>,
    /// Worker, number and name of who waits, in the order of arrival.
    waiting: Vec<(usize, u64, u64)>,
    requests: u64,
}

impl Account {
    fn new() -> Account {
        let mut ledger = Ledger::new(WORKERS);
        assert!(ledger.bind(2).is_none());
        Account {
            ledger,
            bound: 2,
            connections: Vec::new(),
            waiting: Vec::new(),
            requests: 0,
        }
    }

    /// Takes the step, and then does what workers do that are called.
    fn take(&mut self, step: &Step) {
        let before = self.ledger.wants_more();
        match *step {
            Step::Ask(worker) => self.ask(worker),
            Step::Leave(which) if !self.waiting.is_empty() => {
                let (worker, number, name) = self.waiting.remove(which % self.waiting.len());
                assert_eq!(self.ledger.leave(worker, number), Some(name));
                assert_eq!(self.ledger.leave(worker, number), None);
            }
            Step::Finish(which, fresh) => {
                if let Some(at) = self.nth(which, |state| state == State::Busy) {
                    self.judge(at, fresh);
                }
            }
            Step::Break(which) => {
                if let Some(at) = self.nth(which, |state| state != State::Leaving) {
                    self.connections.remove(at);
                    let next = self.ledger.give_back(false);
                    self.granted(next);
                }
            }
            Step::Close(which) => {
                if let Some(at) = self.nth(which, |state| state == State::Leaving) {
                    self.connections.remove(at);
                    let next = self.ledger.give_back(true);
                    self.granted(next);
                }
            }
            Step::Bind(bound) => {
                self.bound = bound;
                while let Some(next) = self.ledger.bind(bound) {
                    self.granted(Some(next));
                }
            }
            Step::Leave(_) => {}
        }
        if self.ledger.wants_more() && !before {
            while let Some(at) = self.nth(0, |state| state == State::Idle) {
                if self.judge(at, false) == State::Idle {
                    break;
                }
            }
        }
    }

    fn ask(&mut self, worker: usize) {
        let own = |(w, state): &(usize, State)| *w == worker && *state == State::Idle;
        if let Some(at) = self.connections.iter().position(own) {
            self.connections[at].1 = State::Busy;
            return;
        }
        let name = self.requests;
        self.requests += 1;
        match self.ledger.ask(worker, || name) {
            Asked::Granted => {
                assert!(self.connections.len() < self.bound && self.waiting.is_empty());
                self.connections.push((worker, State::Busy));
            }
            Asked::Queued(number) => {
                assert!(self.connections.len() >= self.bound || !self.waiting.is_empty());
                self.waiting.push((worker, number, name));
            }
            Asked::Full => assert_eq!(self.waiting.len(), MOST_WAITING),
        }
    }

    /// A permit went to somebody: to whoever has waited longest, and only within the bound.
    fn granted(&mut self, next: Option<u64>) {
        if let Some(name) = next {
            let (worker, _, first) = self.waiting.remove(0);
            assert_eq!(name, first);
            self.connections.push((worker, State::Busy));
            assert!(self.connections.len() <= self.bound);
        }
    }

    fn judge(&mut self, at: usize, fresh: bool) -> State {
        let worker = self.connections[at].0;
        let leaving = self.count(State::Leaving);
        let surplus = self.connections.len().saturating_sub(self.bound);
        let own = self.waiting.iter().position(|(w, ..)| *w == worker);
        let others = self.waiting.iter().filter(|(w, ..)| *w != worker).count();
        let state = match self.ledger.judge(worker, fresh) {
            Verdict::Keep => {
                assert!(own.is_none() && surplus + others <= leaving);
                State::Idle
            }
            Verdict::Serve(number, name) => {
                let own = self.waiting.remove(own.unwrap());
                assert_eq!((own.1, own.2), (number, name));
                assert!(surplus <= leaving);
                State::Busy
            }
            Verdict::GiveUp => {
                assert!(surplus + others > leaving);
                // The own requests come first on a young connection, and if they came first.
                let own_first = own == Some(0) || (own.is_some() && fresh);
                assert!(!own_first || surplus > leaving);
                State::Leaving
            }
        };
        self.connections[at].1 = state;
        state
    }

    fn count(&self, state: State) -> usize {
        self.connections.iter().filter(|c| c.1 == state).count()
    }

    fn nth(&self, which: usize, fits: impl Fn(State) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.connections.len())
            .filter(|at| fits(self.connections[*at].1))
            .collect();
        let count = fitting.len().max(1);
        fitting.get(which % count).copied()
    }

    fn check(&self) {
        let ledger = &self.ledger;
        assert_eq!(ledger.open, self.connections.len());
        assert_eq!(ledger.leaving, self.count(State::Leaving));
        assert_eq!(ledger.waiting, self.waiting.len());
        assert!(self.waiting.is_empty() || ledger.open >= self.bound);
        assert!(ledger.is_pressed() || !ledger.wants_more());
        // Whoever waits while connections lie idle gets one of those that are closing.
        assert!(self.count(State::Idle) == 0 || !ledger.wants_more());
    }
}

proptest! {
    #[test]
    fn whatever_happens_permits_are_counted_and_go_to_who_waited_longest(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut account = Account::new();
        for step in &steps {
            account.take(step);
            account.check();
        }
        // In the end everybody is served.
        for _ in 0..account.waiting.len() + account.connections.len() {
            account.take(&Step::Finish(0, false));
            account.take(&Step::Close(0));
        }
        prop_assert!(account.waiting.is_empty());
    }
}

#[test]
fn the_queue_has_an_end() {
    let mut ledger = Ledger::new(2);
    assert!(ledger.bind(1).is_none());
    assert!(matches!(ledger.ask(0, || 0), Asked::Granted));
    for n in 0..MOST_WAITING {
        assert!(matches!(ledger.ask(n % 2, || n), Asked::Queued(_)));
    }
    assert!(matches!(ledger.ask(0, || 0), Asked::Full));
    assert_eq!(ledger.give_back(false), Some(0));
    assert!(matches!(ledger.ask(1, || 0), Asked::Queued(_)));
}

#[test]
fn a_connection_goes_to_another_worker_when_its_request_came_first_and_the_handshake_has_paid_off()
{
    let mut ledger = Ledger::new(2);
    assert!(ledger.bind(1).is_none());
    assert!(matches!(ledger.ask(0, || "first"), Asked::Granted));
    assert!(matches!(ledger.ask(1, || "second"), Asked::Queued(0)));
    assert!(matches!(ledger.ask(0, || "third"), Asked::Queued(1)));
    assert!(matches!(ledger.ask(0, || "fourth"), Asked::Queued(2)));
    assert!(matches!(ledger.judge(0, true), Verdict::Serve(1, "third")));
    assert!(matches!(ledger.judge(0, false), Verdict::GiveUp));
    assert_eq!(ledger.give_back(true), Some("second"));
}
