//! The opening handshake of a WebSocket (RFC 6455, section 4), looked at from between its two sides.
//!
//! A gateway that passes on a 101 gives the rest of the connection away. So it does that only for a handshake that was
//! one, and for an answer that belongs to it: anything else would let a client and an upstream talk past the rules.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::fields;
use crate::error::Reason;
use crate::http::reply::Refusal;

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// A key is 16 bytes in base64: 22 letters and two signs of padding.
const KEY_LETTERS: usize = 22;

/// A handshake under way: what its answer has to say.
#[derive(Debug)]
pub struct Handshake {
    accept: String,
    protocols: Vec<HeaderValue>,
    extensions: Vec<HeaderValue>,
}

/// Looks for a handshake: `None` where the request asks for no upgrade.
///
/// An upgrade counts where `Connection` names it, in HTTP/1.1 (RFC 9110, section 7.8).
///
/// # Errors
/// 403 for any upgrade but WebSocket, 426 for another version of it, 400 for a handshake that is none.
pub fn check(parts: &Parts) -> Result<Option<Box<Handshake>>, Refusal> {
    let headers = &parts.headers;
    if parts.version != Version::HTTP_11 || !lists(headers, &header::CONNECTION, b"upgrade") {
        return Ok(None);
    }
    if !tokens(headers, &header::UPGRADE).all(|token| token.eq_ignore_ascii_case(b"websocket")) {
        return Err(Refusal::because(
            Reason::UpgradeRefused,
            "no upgrade but websocket is allowed",
        ));
    }
    if parts.method != Method::GET {
        return Err(bad("a WebSocket is opened with GET"));
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get_all(header::CONTENT_LENGTH)
            .iter()
            .any(|length| length != "0");
    if has_body {
        return Err(bad("the handshake of a WebSocket has no body"));
    }
    check_version(headers)?;
    let handshake = Handshake {
        accept: derive_accept_key(check_key(headers)?.as_bytes()),
        protocols: lines(headers, &header::SEC_WEBSOCKET_PROTOCOL),
        extensions: lines(headers, &header::SEC_WEBSOCKET_EXTENSIONS),
    };
    Ok(Some(Box::new(handshake)))
}

/// Says again, after the fields of the connection were stripped, that the next connection changes its protocol too.
pub fn say_again(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
}

impl Handshake {
    /// Does a 101 with these fields answer it (RFC 6455, section 4.1)?
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn check_answer(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !lists(headers, &header::CONNECTION, b"upgrade") {
            return Err("a 101 whose Connection does not say upgrade");
        }
        let mut upgrades = tokens(headers, &header::UPGRADE);
        if !upgrades
            .next()
            .is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
            || upgrades.next().is_some()
        {
            return Err("a 101 to something else than websocket");
        }
        if one(headers, &header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
            != Some(self.accept.as_bytes())
        {
            return Err("a 101 whose Sec-WebSocket-Accept does not fit the key");
        }
        self.check_choice(headers)
    }

    /// An upstream chooses from what was offered: at most one subprotocol, and extensions by name.
    fn check_choice(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let mut chosen = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
        if let Some(protocol) = chosen.next() {
            // Names of subprotocols are compared as they are (RFC 6455, section 4.1).
            if chosen.next().is_some() || !in_lines(&self.protocols).any(|p| p == protocol) {
                return Err("a 101 with a subprotocol that was not offered");
            }
        }
        let offered =
            |name: &[u8]| in_lines(&self.extensions).any(|e| name_of(e).eq_ignore_ascii_case(name));
        if !tokens(headers, &header::SEC_WEBSOCKET_EXTENSIONS).all(|e| offered(name_of(e))) {
            return Err("a 101 with an extension that was not offered");
        }
        Ok(())
    }
}

fn bad(detail: &str) -> Refusal {
    Refusal::because(Reason::BadRequest, detail)
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match one(headers, &header::SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => Ok(()),
        _ => {
            let detail = "only version 13 of the WebSocket protocol is spoken";
            Err(Refusal::because(Reason::UpgradeRequired, detail)
                .with(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                )
                .with(header::UPGRADE, WEBSOCKET)
                .with(header::CONNECTION, UPGRADE))
        }
    }
}

fn check_key(headers: &HeaderMap) -> Result<&HeaderValue, Refusal> {
    let is_letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    one(headers, &header::SEC_WEBSOCKET_KEY)
        .filter(|key| {
            key.as_bytes().strip_suffix(b"==").is_some_and(|letters| {
                letters.len() == KEY_LETTERS && letters.iter().all(is_letter)
            })
        })
        .ok_or_else(|| bad("Sec-WebSocket-Key must be there once, 16 bytes in base64"))
}

/// The only line of a field; `None` where there are none or several.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn lines(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}

fn in_lines(lines: &[HeaderValue]) -> impl Iterator<Item = &[u8]> {
    lines.iter().flat_map(|line| fields::list(line.as_bytes()))
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| fields::list(line.as_bytes()))
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

/// The name of an extension, without its parameters.
fn name_of(extension: &[u8]) -> &[u8] {
    let end = extension.iter().position(|b| *b == b';');
    extension[..end.unwrap_or(extension.len())].trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, StatusCode};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn asked(fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        for (name, value) in fields {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    const GOOD: [(&str, &str); 6] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-protocol", "chat, superchat"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits, x-a",
        ),
    ];

    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        GOOD.into_iter().filter(|(n, _)| *n != name).collect()
    }

    fn status_of(fields: &[(&'static str, &'static str)]) -> StatusCode {
        check(&asked(fields)).unwrap_err().reason.status()
    }

    #[test]
    fn a_handshake_is_known_by_all_its_parts() {
        assert_eq!(check(&asked(&GOOD)).unwrap().unwrap().accept, ACCEPT);
        assert!(check(&asked(&without("connection"))).unwrap().is_none());
        let mut old = asked(&GOOD);
        old.version = Version::HTTP_10;
        assert!(check(&old).unwrap().is_none());
        assert_eq!(status_of(&without("sec-websocket-version")), 426);
        assert_eq!(status_of(&without("sec-websocket-key")), 400);
        let mut post = asked(&GOOD);
        post.method = Method::POST;
        assert_eq!(check(&post).unwrap_err().reason.status(), 400);
    }

    #[test]
    fn odd_handshakes_are_refused() {
        let with = |name: &'static str, value| {
            let mut fields = without(name);
            fields.push((name, value));
            fields
        };
        for key in [
            "",
            "abc",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            assert_eq!(status_of(&with("sec-websocket-key", key)), 400, "{key}");
        }
        let mut twice = GOOD.to_vec();
        twice.push(("sec-websocket-key", KEY));
        assert_eq!(status_of(&twice), 400);
        assert_eq!(status_of(&with("sec-websocket-version", "8")), 426);
        assert_eq!(status_of(&with("upgrade", "h2c")), 403);
        assert_eq!(status_of(&with("upgrade", "websocket, h2c")), 403);
        assert_eq!(status_of(&with("content-length", "5")), 400);
        assert_eq!(status_of(&with("transfer-encoding", "chunked")), 400);
        assert!(check(&asked(&with("content-length", "0"))).is_ok());
    }

    #[test]
    fn an_answer_says_exactly_what_was_asked() {
        let handshake = check(&asked(&GOOD)).unwrap().unwrap();
        let answer = |changes: &[(&'static str, Option<&'static str>)]| {
            let mut headers = HeaderMap::new();
            headers.insert("connection", UPGRADE);
            headers.insert("upgrade", WEBSOCKET);
            headers.insert("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
            for (name, value) in changes {
                headers.remove(*name);
                if let Some(value) = value {
                    headers.insert(*name, HeaderValue::from_static(value));
                }
            }
            handshake.check_answer(&headers)
        };
        let protocol = "sec-websocket-protocol";
        let extensions = "sec-websocket-extensions";
        assert!(answer(&[]).is_ok());
        assert!(answer(&[(protocol, Some("superchat"))]).is_ok());
        assert!(answer(&[(extensions, Some("permessage-deflate"))]).is_ok());
        for wrong in [
            ("connection", None),
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("sec-websocket-accept", None),
            ("sec-websocket-accept", Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo")),
            (protocol, Some("Chat")),
            (protocol, Some("chat, superchat")),
            (extensions, Some("permessage-deflate, x-b")),
        ] {
            assert!(answer(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
