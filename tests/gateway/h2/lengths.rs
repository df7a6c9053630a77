//! Raw conversations about bodies: lengths that lie, padding, trailers.

use super::frames::Outcome::{Answers, Ends, Lives, Resets};
use super::frames::{check, post};
use crate::support::h2::{
    CANCEL, DATA, END_STREAM, HEADERS, PADDED, PROTOCOL_ERROR, RST_STREAM, WHOLE, block, frame,
    head,
};

#[test]
fn bodies_and_their_lengths() {
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let length = |n: &'static str| post(1, &[("content-length", n)]);
    let padded = |pad: u8| frame(DATA, END_STREAM | PADDED, 1, [pad, b'x', 0, 0]);
    check(vec![
        (
            "as long as it says",
            [length("2"), data(END_STREAM, b"hi")].concat(),
            Answers(200),
        ),
        (
            "longer than it says",
            [length("1"), data(END_STREAM, b"hi")].concat(),
            Resets(PROTOCOL_ERROR),
        ),
        (
            "shorter than it says",
            [length("3"), data(END_STREAM, b"hi")].concat(),
            Resets(PROTOCOL_ERROR),
        ),
        (
            "none where it says three",
            frame(
                HEADERS,
                WHOLE,
                1,
                block(&head("POST", "/x", &[("content-length", "3")])),
            ),
            Resets(PROTOCOL_ERROR),
        ),
        (
            "a length that is no number",
            [length("2x"), data(END_STREAM, b"hi")].concat(),
            Resets(PROTOCOL_ERROR),
        ),
        (
            "of no length",
            [post(1, &[]), data(END_STREAM, b"")].concat(),
            Answers(200),
        ),
        (
            "with empty frames",
            [
                post(1, &[]),
                data(0, b""),
                data(0, b"hi"),
                data(0, b""),
                data(END_STREAM, b""),
            ]
            .concat(),
            Answers(200),
        ),
        ("padded", [post(1, &[]), padded(2)].concat(), Answers(200)),
        (
            "padded beyond its end",
            [post(1, &[]), padded(200)].concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "given up",
            [post(1, &[]), frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes())].concat(),
            Lives,
        ),
        (
            "with trailers",
            [
                post(1, &[]),
                data(0, b"hi"),
                frame(HEADERS, WHOLE, 1, block(&[("x-t", "1")])),
            ]
            .concat(),
            Answers(200),
        ),
        (
            "with a pseudo-field behind it",
            [
                post(1, &[]),
                data(0, b"hi"),
                frame(HEADERS, WHOLE, 1, block(&[(":path", "/y")])),
            ]
            .concat(),
            Answers(200),
        ),
    ]);
}
