//! What one worker thread owns. `!Send`: the compiler proves that workers share nothing but what an `Arc` shows.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use super::tally::Tally;
use super::trials::TrialList;
use crate::drain::Drain;
use crate::http::request_id::RequestIds;
use crate::metrics::GatewayStats;
use crate::snapshot::shared::View;
use crate::telemetry::access_log::Buffer;
use crate::time::{self, Nanos};
use crate::timer::Timers;
use crate::upstream::names::Complaints;
use crate::upstream::pool::Pool;

/// Bytes that a tunnel moves at once: more would not make the copy cheaper.
const SCRATCH: usize = 64 * 1024;

/// One worker.
pub struct Worker {
    /// Its slot in every per-worker counter.
    pub index: usize,
    /// Its copy of the current snapshot.
    pub view: View,
    /// Its idle upstream connections.
    pub pool: RefCell<Pool>,
    /// Its deadlines.
    pub timers: Rc<Timers>,
    /// Its request identifiers.
    pub ids: RequestIds,
    /// Its part of the access log.
    pub log: RefCell<Buffer>,
    /// The shutdown signal.
    pub drain: Drain,
    /// Counters of the whole process.
    pub gateway: Arc<GatewayStats>,
    /// Where it tells of names whose addresses are not reached.
    pub complaints: Complaints,
    /// Client connections that it serves.
    pub connections: Cell<usize>,
    /// Empty tallies of requests that ended. Boxed: the boxes are what is kept.
    #[allow(clippy::vec_box)]
    pub(super) tallies: RefCell<Vec<Box<Tally>>>,
    /// Where the key of a request is put together; never kept over an await.
    pub key: RefCell<Vec<u8>>,
    /// Attempts whose answers go on, and of which it is not known yet what came of them.
    pub(super) trials: TrialList,
    numbered: Cell<u64>,
    scratch: RefCell<Vec<u8>>,
    now: Cell<Nanos>,
    random: Cell<u64>,
}

impl Worker {
    /// A worker that serves nobody yet.
    #[must_use]
    pub fn new(
        index: usize,
        view: View,
        log: Buffer,
        drain: Drain,
        gateway: Arc<GatewayStats>,
        complaints: Complaints,
    ) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            view,
            pool: RefCell::default(),
            timers: Timers::new(),
            ids: RequestIds::default(),
            log: RefCell::new(log),
            drain,
            gateway,
            complaints,
            connections: Cell::new(0),
            tallies: RefCell::default(),
            key: RefCell::default(),
            trials: TrialList::default(),
            numbered: Cell::new(0),
            scratch: RefCell::default(),
            now: Cell::new(time::now()),
            random: Cell::new(
                0x2545_f491_4f6c_dd1d ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ),
        })
    }

    /// Reads the clock, and remembers it for whoever is content with "a moment ago".
    pub fn read_clock(&self) -> Nanos {
        let now = time::now();
        self.now.set(now);
        now
    }

    /// The clock as it was last read by this worker: exact while requests flow.
    #[must_use]
    pub fn recent(&self) -> Nanos {
        self.now.get()
    }

    /// A number for a new client connection that no other of the process has.
    pub fn number_connection(&self) -> u64 {
        self.numbered.set(self.numbered.get() + 1);
        (self.index as u64) << 48 | self.numbered.get()
    }

    /// A number that need not be secret (xorshift64*).
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A buffer through which bytes are carried from socket to socket; never kept over an await.
    pub fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.resize(SCRATCH, 0);
        scratch
    }

    /// Drops idle upstream connections that are closed, outlived, or whose endpoint is gone.
    pub fn sweep(&self) {
        let pin = self.view.pin();
        let now = self.read_clock();
        let mut pool = self.pool.borrow_mut();
        pool.sweep(now, &pin.upstreams, self.index);
    }

    /// Gives idle upstream connections up whenever other workers want them.
    pub async fn give_way(self: Rc<Self>) {
        let call = self.pool.borrow().call();
        loop {
            call.notified().await;
            let now = self.read_clock();
            self.pool.borrow_mut().give_way(now, self.index);
        }
    }
}
