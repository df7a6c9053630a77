//! Conversations in raw frames: what RFC 9113 forbids ends the stream or the connection, and never reaches an upstream.

use crate::support::h2::{
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PRIORITISED, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WHOLE, WINDOW_UPDATE, block,
    frame, head, settings,
};
use crate::support::{Echo, H2, Setup};

/// What comes of a conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The connection ends with GOAWAY and this code, or the more general PROTOCOL_ERROR, by which h2 calls some faults.
    Ends(u32),
    /// It ends, or only the stream does; RFC 9113 leaves the choice.
    EndsOrResets(u32),
    /// The stream of number 1 is reset with this code, and the connection lives.
    Resets(u32),
    /// The stream of number 1 is answered with this status, and the connection lives.
    Answers(u16),
    /// Nothing happens.
    Lives,
}
use Outcome::{Answers, Ends, EndsOrResets, Lives, Resets};

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, block(&head("GET", "/x", &[])))
}

pub(super) fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        stream,
        block(&head("POST", "/x", more)),
    )
}

pub(super) fn check(rows: Vec<(&str, Vec<u8>, Outcome)>) {
    let echo = Echo::start("app");
    let gateway = Setup::to(echo.address()).start();
    for (what, bytes, expected) in rows {
        eprintln!("frames: {what}");
        let mut client = H2::connect(gateway.address());
        client.send(bytes);
        match expected {
            Ends(code) => {
                let told = client.end();
                let fits = told == Some(code) || (code != NO_ERROR && told == Some(PROTOCOL_ERROR));
                assert!(fits, "{what}: {told:?}");
            }
            EndsOrResets(code) => loop {
                let fits = |told: Option<u32>| told == Some(code) || told == Some(PROTOCOL_ERROR);
                let open = client.read();
                if fits(client.so_far(1).reset) {
                    break;
                }
                if !matches!(open, Ok(Some(_))) {
                    let told = client.goaways.last().map(|last| last.1);
                    assert!(fits(told), "{what}: {told:?}");
                    break;
                }
            },
            Resets(code) => {
                let answer = client.answer(1);
                assert_eq!(answer.reset, Some(code), "{what}: {answer:?}");
                assert!(client.is_alive(), "{what}");
            }
            Answers(status) => {
                assert_eq!(client.response(1).status, status, "{what}");
                assert!(client.is_alive(), "{what}");
            }
            Lives => assert!(client.is_alive(), "{what}: {:?}", client.goaways),
        }
    }
    // Nobody else felt anything.
    H2::connect(gateway.address()).get("/after").expect_ok();
}

#[test]
fn settings_and_pings() {
    let ping = |flags, stream, size: usize| frame(PING, flags, stream, vec![7; size]);
    check(vec![
        (
            "settings of no length by six",
            frame(SETTINGS, 0, 0, [0; 5]),
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "settings on a stream",
            frame(SETTINGS, 0, 1, []),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, [0; 6]),
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "unknown settings",
            [settings(&[(0x99, 1)]), get(1)].concat(),
            Answers(200),
        ),
        (
            "push switched off",
            [settings(&[(2, 0)]), get(1)].concat(),
            Answers(200),
        ),
        (
            "push neither on nor off",
            settings(&[(2, 2)]),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "a window beyond 2^31",
            settings(&[(4, 0x8000_0000)]),
            Ends(FLOW_CONTROL_ERROR),
        ),
        (
            "frames too small",
            settings(&[(5, 16_383)]),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "frames too large",
            settings(&[(5, 0x100_0000)]),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "a table of no size",
            [settings(&[(1, 0)]), get(1)].concat(),
            Answers(200),
        ),
        ("a ping", ping(0, 0, 8), Lives),
        ("a short ping", ping(0, 0, 7), Ends(FRAME_SIZE_ERROR)),
        ("a long ping", ping(0, 0, 9), Ends(FRAME_SIZE_ERROR)),
        ("a ping on a stream", ping(0, 1, 8), Ends(PROTOCOL_ERROR)),
        ("a pong that nobody asked for", ping(ACK, 0, 8), Lives),
    ]);
}

#[test]
fn streams_and_their_numbers() {
    let rst = |stream, size: usize| frame(RST_STREAM, 0, stream, vec![0; size]);
    check(vec![
        ("headers on stream 0", get(0), Ends(PROTOCOL_ERROR)),
        ("an even number", get(2), Ends(PROTOCOL_ERROR)),
        (
            "a number that is lower",
            [get(5), get(1)].concat(),
            EndsOrResets(PROTOCOL_ERROR),
        ),
        (
            "numbers left out",
            [get(1), get(101)].concat(),
            Answers(200),
        ),
        (
            "data on stream 0",
            frame(DATA, 0, 0, b"x"),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "data on an idle stream",
            frame(DATA, 0, 1, b"x"),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "data after the end",
            [get(1), frame(DATA, 0, 1, b"x")].concat(),
            EndsOrResets(STREAM_CLOSED),
        ),
        (
            "headers after the end",
            [get(1), get(1)].concat(),
            EndsOrResets(STREAM_CLOSED),
        ),
        ("a reset of stream 0", rst(0, 4), Ends(PROTOCOL_ERROR)),
        ("a reset of an idle stream", rst(1, 4), Ends(PROTOCOL_ERROR)),
        (
            "a short reset",
            [post(1, &[]), rst(1, 3)].concat(),
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "a reset of an open stream",
            [post(1, &[]), rst(1, 4)].concat(),
            Lives,
        ),
        (
            "two resets",
            [post(1, &[]), rst(1, 4), rst(1, 4)].concat(),
            Lives,
        ),
        (
            "headers without the end of the request",
            [
                post(1, &[]),
                frame(HEADERS, END_HEADERS, 1, block(&[("x-a", "b")])),
            ]
            .concat(),
            Resets(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn header_blocks() {
    let parts = block(&head("GET", "/x", &[]));
    let (a, b) = parts.split_at(10);
    let begun = |flags| frame(HEADERS, flags, 1, a);
    let go_on = |flags, stream| frame(CONTINUATION, flags, stream, b);
    let padded = |pad: u8, size: usize| {
        let payload = [&[pad][..], &parts, &vec![0; size]].concat();
        frame(HEADERS, WHOLE | PADDED, 1, payload)
    };
    let weight = [&[0, 0, 0, 3, 200][..], &parts].concat();
    let itself = [&[0, 0, 0, 1, 200][..], &parts].concat();
    check(vec![
        (
            "in two frames",
            [begun(END_STREAM), go_on(END_HEADERS, 1)].concat(),
            Answers(200),
        ),
        (
            "in two frames with empty ones between",
            [
                begun(END_STREAM),
                frame(CONTINUATION, 0, 1, []),
                frame(CONTINUATION, 0, 1, []),
                go_on(END_HEADERS, 1),
            ]
            .concat(),
            Answers(200),
        ),
        (
            "continued on another stream",
            [begun(END_STREAM), go_on(END_HEADERS, 3)].concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "a ping in between",
            [
                begun(END_STREAM),
                frame(PING, 0, 0, [0; 8]),
                go_on(END_HEADERS, 1),
            ]
            .concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "data in between",
            [begun(0), frame(DATA, 0, 1, b"x")].concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "other headers in between",
            [begun(END_STREAM), get(3)].concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "an unknown frame in between",
            [
                begun(END_STREAM),
                frame(0x77, 0, 0, b"x"),
                go_on(END_HEADERS, 1),
            ]
            .concat(),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "continued without a beginning",
            go_on(END_HEADERS, 1),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "continued after its end",
            [get(1), frame(CONTINUATION, END_HEADERS, 1, b)].concat(),
            Ends(PROTOCOL_ERROR),
        ),
        ("padded", padded(5, 5), Answers(200)),
        (
            "padded beyond its end",
            padded(255, 2),
            Ends(PROTOCOL_ERROR),
        ),
        (
            "with a priority",
            frame(HEADERS, WHOLE | PRIORITISED, 1, weight),
            Answers(200),
        ),
        (
            "that depends on itself",
            frame(HEADERS, WHOLE | PRIORITISED, 1, itself),
            EndsOrResets(PROTOCOL_ERROR),
        ),
        (
            "an index that does not exist",
            frame(HEADERS, WHOLE, 1, [0xff, 0x7f]),
            Ends(COMPRESSION_ERROR),
        ),
        (
            "index 0",
            frame(HEADERS, WHOLE, 1, [0x80]),
            Ends(COMPRESSION_ERROR),
        ),
        (
            "a table larger than allowed",
            frame(
                HEADERS,
                WHOLE,
                1,
                [&[0x3f, 0xe2, 0x1f][..], &parts].concat(),
            ),
            Ends(COMPRESSION_ERROR),
        ),
        (
            "a string cut short",
            frame(HEADERS, WHOLE, 1, &parts[..parts.len() - 1]),
            Ends(COMPRESSION_ERROR),
        ),
        (
            "a push from a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2]),
            Ends(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn sizes_priorities_windows_and_the_unknown() {
    let window = |stream, size: u32| frame(WINDOW_UPDATE, 0, stream, size.to_be_bytes());
    let huge = vec![0; 16_385];
    check(
        vec![
            (
                "data beyond the size of a frame",
                [post(1, &[]), frame(DATA, 0, 1, &huge)].concat(),
                EndsOrResets(FRAME_SIZE_ERROR),
            ),
            (
                "headers beyond the size of a frame",
                frame(HEADERS, WHOLE, 1, &huge),
                Ends(FRAME_SIZE_ERROR),
            ),
            (
                "an unknown frame beyond the size",
                frame(0x77, 0, 0, &huge),
                Ends(FRAME_SIZE_ERROR),
            ),
            (
                "an unknown frame",
                [frame(0x77, 0xff, 0, b"x"), get(1)].concat(),
                Answers(200),
            ),
            (
                "an unknown frame on a stream",
                [
                    post(1, &[]),
                    frame(0x77, 1, 1, b"x"),
                    frame(DATA, END_STREAM, 1, b"y"),
                ]
                .concat(),
                Answers(200),
            ),
            (
                "a priority",
                [frame(PRIORITY, 0, 1, [0, 0, 0, 0, 9]), get(1)].concat(),
                Answers(200),
            ),
            (
                "a priority of stream 0",
                frame(PRIORITY, 0, 0, [0, 0, 0, 0, 9]),
                Ends(PROTOCOL_ERROR),
            ),
            (
                "a short priority",
                [post(1, &[]), frame(PRIORITY, 0, 1, [0; 4])].concat(),
                EndsOrResets(FRAME_SIZE_ERROR),
            ),
            (
                "a window for the connection",
                [window(0, 1000), get(1)].concat(),
                Answers(200),
            ),
            ("a window of nothing", window(0, 0), Ends(PROTOCOL_ERROR)),
            (
                "a window of nothing for a stream",
                [post(1, &[]), window(1, 0)].concat(),
                EndsOrResets(PROTOCOL_ERROR),
            ),
            (
                "windows beyond 2^31",
                window(0, 0x7fff_ffff),
                Ends(FLOW_CONTROL_ERROR),
            ),
            (
                "windows beyond 2^31 for a stream",
                [post(1, &[]), window(1, 0x7fff_ffff)].concat(),
                EndsOrResets(FLOW_CONTROL_ERROR),
            ),
            (
                "a window for an idle stream",
                window(1, 5),
                Ends(PROTOCOL_ERROR),
            ),
            (
                "a short window",
                frame(WINDOW_UPDATE, 0, 0, [0; 3]),
                Ends(FRAME_SIZE_ERROR),
            ),
            (
                "a farewell on a stream",
                frame(GOAWAY, 0, 1, [0; 8]),
                Ends(PROTOCOL_ERROR),
            ),
            ("a farewell", frame(GOAWAY, 0, 0, [0; 8]), Ends(NO_ERROR)),
            (
                "a farewell after a request",
                [get(1), frame(GOAWAY, 0, 0, [0; 8])].concat(),
                Answers(200),
            ),
        ]
        .into_iter()
        .map(|(what, bytes, outcome)| match what {
            // It ends when its answer has left.
            "a farewell after a request" => (what, bytes, Ends(NO_ERROR)),
            _ => (what, bytes, outcome),
        })
        .collect(),
    );
}
