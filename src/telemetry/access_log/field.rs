//! The keys of a line: where each finds its value in an entry, and how that is written as JSON and as plain text.

use std::time::Duration;

use super::{Entry, VALUE_BYTES};
use crate::telemetry::json;

/// Stands in a text for what is unknown or empty, so that columns stay columns.
const UNKNOWN: u8 = b'-';

macro_rules! log_fields {
    ($($variant:ident $key:literal $kind:ident $($place:ident)?;)*) => {
        /// A key of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum LogField { $(#[doc = $key] $variant,)* }

        impl LogField {
            /// All of them, in the order of a line.
            pub const ALL: &'static [LogField] = &[$(LogField::$variant,)*];

            /// The key's name in the contract.
            #[must_use]
            pub const fn key(self) -> &'static str { match self { $(LogField::$variant => $key,)* } }

            /// Appends `,"key":value`, or nothing where it is unknown. The time is no part of an entry.
            pub(super) fn write_json(self, out: &mut Vec<u8>, entry: &Entry<'_>) {
                match self { $(LogField::$variant => as_json!($kind out $key entry $($place)?),)* }
            }

            /// Appends the value, or `-`. The time is no part of an entry.
            pub(super) fn write_text(self, out: &mut Vec<u8>, entry: &Entry<'_>) {
                match self { $(LogField::$variant => as_text!($kind out entry $($place)?),)* }
            }
        }

        /// Appends every key but the time: one line after the other without a choice between them, for this is what
        /// nearly every gateway does for every request.
        pub(super) fn write_all_json(out: &mut Vec<u8>, entry: &Entry<'_>) {
            $(as_json!($kind out $key entry $($place)?);)*
        }
    };
}

macro_rules! as_json {
    (text $out:ident $key:literal $entry:ident $place:ident) => {
        json_text(
            $out,
            concat!(",\"", $key, "\":\"").as_bytes(),
            $entry.$place,
        )
    };
    (word $out:ident $key:literal $entry:ident $place:ident) => {
        json_text(
            $out,
            concat!(",\"", $key, "\":\"").as_bytes(),
            $entry.$place.map(str::as_bytes),
        )
    };
    (number $out:ident $key:literal $entry:ident $place:ident) => {
        json_number($out, concat!(",\"", $key, "\":").as_bytes(), $entry.$place)
    };
    (millis $out:ident $key:literal $entry:ident $place:ident) => {
        json_millis($out, concat!(",\"", $key, "\":").as_bytes(), $entry.$place)
    };
    (none $out:ident $key:literal $entry:ident) => {
        ()
    };
}

macro_rules! as_text {
    (text $out:ident $entry:ident $place:ident) => {
        plain_text($out, $entry.$place)
    };
    (word $out:ident $entry:ident $place:ident) => {
        plain_text($out, $entry.$place.map(str::as_bytes))
    };
    (number $out:ident $entry:ident $place:ident) => {
        plain($out, $entry.$place, write_number)
    };
    (millis $out:ident $entry:ident $place:ident) => {
        plain($out, $entry.$place, write_millis)
    };
    (none $out:ident $entry:ident) => {
        $out.push(UNKNOWN)
    };
}

log_fields! {
    Time "time" none;
    RequestId "request_id" text request_id;
    Client "client" text client;
    Listener "listener" word listener;
    Protocol "protocol" word protocol;
    Method "method" word method;
    Host "host" text host;
    Path "path" text path;
    Route "route" word route;
    Upstream "upstream" word upstream;
    Endpoint "endpoint" word endpoint;
    Attempts "attempts" number attempts;
    Status "status" number status;
    Reason "reason" word reason;
    Limit "limit" word limit;
    BytesIn "bytes_in" number bytes_in;
    BytesOut "bytes_out" number bytes_out;
    Duration "duration_ms" millis duration;
    Wait "wait_ms" millis wait;
    Connect "connect_ms" millis connect;
    FirstByte "first_byte_ms" millis first_byte;
    Identity "identity" text identity;
    UserAgent "user_agent" text user_agent;
    Referer "referer" text referer;
}

/// `key` brings the comma before and the quotes around it.
#[inline]
fn json_text(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        json::escape(out, &value[..value.len().min(VALUE_BYTES)]);
        out.push(b'"');
    }
}

#[inline]
fn json_number(out: &mut Vec<u8>, key: &[u8], value: Option<impl itoa::Integer>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        write_number(out, value);
    }
}

#[inline]
fn json_millis(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        write_millis(out, value);
    }
}

/// Escaped as inside a JSON string: no value can end a line, leave its quotes or move a cursor.
fn plain_text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) if !value.is_empty() => {
            json::escape(out, &value[..value.len().min(VALUE_BYTES)]);
        }
        _ => out.push(UNKNOWN),
    }
}

fn plain<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.push(UNKNOWN),
    }
}

#[inline]
fn write_number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals: fast answers take less than one.
#[inline]
fn write_millis(out: &mut Vec<u8>, value: Duration) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    write_number(out, micros / 1000);
    let rest = (micros % 1000) as u16;
    out.extend_from_slice(&[
        b'.',
        b'0' + (rest / 100) as u8,
        b'0' + (rest / 10 % 10) as u8,
        b'0' + (rest % 10) as u8,
    ]);
}
