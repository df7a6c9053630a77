//! Why a store did not answer: a closed set of words, the same in metrics, pages and log.

use std::io;

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};

/// Why a store did not answer. The label `cause` of `tidegate_store_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// No connection: refused, unreachable, no such name, or not in time.
    Connect,
    /// Somebody is there, and no TLS came to be with him.
    Tls,
    /// Name or password are refused, or this user may not do what a limit needs.
    Auth,
    /// No answer within the store's `timeout`.
    Timeout,
    /// The connection broke.
    Closed,
    /// The server has no memory left (`maxmemory`, `noeviction`).
    Full,
    /// The server takes no writes: a replica, or one that cannot save.
    ReadOnly,
    /// The key is another server's, of several that divide the keys between them: only one is spoken to.
    Moved,
    /// The server has begun and reads its data.
    Loading,
    /// The server runs somebody else's script.
    Busy,
    /// The server refuses this one question; others it may answer.
    Refused,
    /// The answer makes no sense.
    Reply,
    /// More questions wait here than may.
    Queue,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Cause; 13] = [
        Cause::Connect,
        Cause::Tls,
        Cause::Auth,
        Cause::Timeout,
        Cause::Closed,
        Cause::Full,
        Cause::ReadOnly,
        Cause::Moved,
        Cause::Loading,
        Cause::Busy,
        Cause::Refused,
        Cause::Reply,
        Cause::Queue,
    ];

    /// The word in metrics and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Cause::Connect => "connect",
            Cause::Tls => "tls",
            Cause::Auth => "auth",
            Cause::Timeout => "timeout",
            Cause::Closed => "closed",
            Cause::Full => "full",
            Cause::ReadOnly => "read_only",
            Cause::Moved => "moved",
            Cause::Loading => "loading",
            Cause::Busy => "busy",
            Cause::Refused => "refused",
            Cause::Reply => "reply",
            Cause::Queue => "queue",
        }
    }

    /// Whether it says that the next question would fare no better. Who knows one bad key has not lost the store.
    #[must_use]
    pub(super) fn is_of_the_store(self) -> bool {
        !matches!(self, Cause::Refused | Cause::Queue)
    }

    /// Of an error reply. Redis 6 wraps the words of an error inside a script in others: so they are looked for.
    pub(super) fn of_reply(error: &ServerError) -> Cause {
        let details = error.details().unwrap_or_default();
        let says = |word: &str| error.code() == word || details.contains(word);
        match error.kind() {
            Some(ServerErrorKind::BusyLoading) => Cause::Loading,
            Some(ServerErrorKind::Moved | ServerErrorKind::Ask) => Cause::Moved,
            Some(ServerErrorKind::ClusterDown | ServerErrorKind::TryAgain) => Cause::Moved,
            Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Cause::ReadOnly,
            Some(ServerErrorKind::NoPerm) => Cause::Auth,
            _ if says("OOM") => Cause::Full,
            _ if says("READONLY") || says("MISCONF") || says("NOREPLICAS") => Cause::ReadOnly,
            _ if says("NOAUTH") || says("WRONGPASS") || says("NOPERM") => Cause::Auth,
            _ if says("user executing the script") => Cause::Auth,
            _ if says("BUSY") => Cause::Busy,
            _ => Cause::Refused,
        }
    }

    /// Of what went wrong with the connection.
    pub(super) fn of_connection(error: &RedisError) -> Cause {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Cause::Auth,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Cause::Reply,
            _ => Cause::Closed,
        }
    }

    /// Of what went wrong while the connection was set up: there even a general refusal is one of the whole store.
    pub(super) fn of_greeting(error: &RedisError) -> Cause {
        match error.clone().into_server_errors() {
            Some(errors) => errors
                .first()
                .map_or(Cause::Reply, |(_, error)| Cause::of_reply(error)),
            None => match (error.kind(), error.code()) {
                (_, Some("LOADING")) => Cause::Loading,
                (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => Cause::Auth,
                _ => Cause::of_connection(error),
            },
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Cause> {
        Cause::ALL.get(usize::from(number)).copied()
    }
}

/// What stands in the log: the cause, and what was said.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// Holds no secret: what the system or the server said, never what was sent.
    pub(super) said: String,
}

impl Failure {
    pub(super) fn new(cause: Cause, said: impl Into<String>) -> Failure {
        let mut said: String = said.into();
        // A server may say much; a line of the log has an end.
        if let Some((end, _)) = said.char_indices().nth(MOST_SAID) {
            said.truncate(end);
        }
        Failure { cause, said }
    }

    pub(super) fn io(error: &io::Error) -> Failure {
        Failure::new(Cause::Connect, error.to_string())
    }
}

/// Characters of the server's words that are passed on.
const MOST_SAID: usize = 200;
