//! The head of an upstream's answer: checked and cleaned; what lies is a clean 502.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::forward::blame;
use crate::error::Reason;
use crate::http::fields::{self, Coding};
use crate::http::reply::Refusal;
use crate::http::upgrade::{self, Handshake};

/// Checks the head of the answer and cleans it; what lies is a clean 502.
pub(super) fn accept(exchange: &mut Exchange) -> Result<StatusCode, Refusal> {
    let status = exchange
        .answer
        .as_ref()
        .map(Response::status)
        .ok_or(Reason::InternalError)?;
    exchange.answered(status);
    let Some(response) = &mut exchange.answer else {
        return Err(Refusal::from(Reason::InternalError));
    };
    *response.version_mut() = Version::HTTP_11;
    let handshake = exchange.opening.as_ref().map(|opening| &opening.handshake);
    check_answer(response, handshake)
        .map(|()| status)
        .map_err(|detail| blame(exchange, Reason::UpstreamProtocolError, detail))
}

fn check_answer(
    response: &mut Response<Incoming>,
    handshake: Option<&Handshake>,
) -> Result<(), &'static str> {
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if switches {
        handshake
            .ok_or("101 to a request that asked for no upgrade")?
            .check_answer(response.headers())?;
    }
    if status.as_u16() >= 600 {
        return Err("a status code beyond 599");
    }
    let found = fields::scan_answer(response.headers());
    if found.transfer_encoding() && fields::transfer_coding(response.headers()) != Coding::Chunked {
        return Err("a transfer coding other than one chunked");
    }
    if found.odd_length() && !found.transfer_encoding() {
        settle_length(response)?;
    }
    fields::strip_response(response.headers_mut(), found);
    if switches {
        upgrade::say_again(response.headers_mut());
    }
    Ok(())
}

/// One line with one number: `5, 5` and doubled lines mean the same, but not to every reader.
#[cold]
fn settle_length(response: &mut Response<Incoming>) -> Result<(), &'static str> {
    let mut numbers = response
        .headers()
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .flat_map(|v| fields::list(v.as_bytes()))
        .map(|n| {
            std::str::from_utf8(n)
                .ok()
                .and_then(|n| n.parse::<u64>().ok())
        });
    let length = numbers
        .next()
        .flatten()
        .ok_or("a Content-Length that is no number")?;
    let differing = numbers.any(|n| n != Some(length));
    drop(numbers);
    if differing {
        return Err("differing Content-Lengths");
    }
    let exact = response.body().size_hint().exact();
    if exact.is_some_and(|exact| exact != length && exact != 0) {
        return Err("a Content-Length that differs from its body");
    }
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}
