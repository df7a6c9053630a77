//! Frames in pieces, conduct good and bad.

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn begun() -> Conduct {
    let mut conduct = Conduct::new(Nanos(0));
    conduct.receive(PREFACE, || Nanos(0)).unwrap();
    conduct
        .receive(&frame(SETTINGS, 0, 0, b""), || Nanos(0))
        .unwrap();
    // That one was free, for the sake of round numbers.
    conduct.strain = 0;
    conduct
}

proptest::proptest! {
    #[test]
    fn heads_are_seen_however_the_bytes_are_cut(
        frames in proptest::collection::vec((0u8..12, 0u8..16, 0u32..0x7fff_ffff, 0usize..40), 0..20),
        cuts in proptest::collection::vec(1usize..30, 1..40),
    ) {
        let mut bytes = PREFACE.to_vec();
        let mut expected = Vec::new();
        for (kind, flags, stream, length) in frames {
            bytes.extend(frame(kind, flags, stream, &vec![7; length]));
            expected.push(Frame { length: length as u32, kind, flags, stream });
        }
        let (mut place, mut seen, mut rest) = (Place::after(24), Vec::new(), &bytes[..]);
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            place.pass(now, |frame| seen.push(frame));
            rest = later;
        }
        proptest::prop_assert_eq!(seen, expected);
        proptest::prop_assert!(place.is_between_frames());
    }
}

#[test]
fn the_reserved_bit_is_not_part_of_a_stream() {
    let mut seen = None;
    Place::after(0).pass(&frame(0, 0, 0x8000_0005, b""), |frame| seen = Some(frame));
    assert_eq!(seen.unwrap().stream, 5);
}

#[test]
fn a_thousand_pings_a_second_are_borne_and_more_are_not() {
    for kind in [2, 6, 8, 10, 99] {
        let mut conduct = begun();
        for _ in 0..1000 {
            conduct
                .receive(&frame(kind, 0, 0, &[0; 8]), || Nanos(1))
                .unwrap();
        }
        let more = conduct.receive(&frame(kind, 0, 0, &[0; 8]), || Nanos(WINDOW - 1));
        assert_eq!(more, Err(Fault::Flood), "kind {kind}");
    }
    let mut conduct = begun();
    for second in 0..10 {
        for _ in 0..900 {
            let now = Nanos(second * (WINDOW + 1));
            conduct.receive(&frame(6, 0, 0, &[0; 8]), || now).unwrap();
        }
    }
}

#[test]
fn requests_and_bodies_cost_nothing() {
    let mut conduct = begun();
    for _ in 0..100_000 {
        conduct
            .receive(&frame(HEADERS, 5, 1, b"x"), || Nanos(1))
            .unwrap();
        conduct
            .receive(&frame(DATA, 0, 1, b"x"), || Nanos(1))
            .unwrap();
    }
    let empty = frame(DATA, 0, 1, b"");
    assert!((0..2000).any(|_| conduct.receive(&empty, || Nanos(1)).is_err()));
}

#[test]
fn whoever_gets_data_may_give_windows_for_it() {
    let mut conduct = begun();
    for _ in 0..100_000 {
        conduct.send(&frame(DATA, 0, 1, &[0; 100]));
        let windows = [frame(8, 0, 0, &[0; 4]), frame(8, 0, 1, &[0; 4])].concat();
        conduct.receive(&windows, || Nanos(1)).unwrap();
    }
}

#[test]
fn the_first_frame_is_settings() {
    for (kind, flags) in [(6, 0), (HEADERS, 5), (SETTINGS, ACK), (99, 0)] {
        let mut conduct = Conduct::new(Nanos(0));
        let bytes = [PREFACE, &frame(kind, flags, 0, b"")[..]].concat();
        assert_eq!(conduct.receive(&bytes, || Nanos(0)), Err(Fault::NoSettings));
    }
}

#[test]
fn resets_are_not_made_good_by_themselves() {
    let mut conduct = begun();
    let rapid = [frame(HEADERS, 5, 1, b"x"), frame(RST_STREAM, 0, 1, &[0; 4])].concat();
    assert!((0..501).any(|_| conduct.receive(&rapid, || Nanos(1)).is_err()));
    let mut conduct = begun();
    let made = (0..501).any(|_| {
        conduct.send(&frame(RST_STREAM, 0, 1, &[0; 4]));
        let request = frame(HEADERS, 5, 1, b"x");
        conduct.receive(&request, || Nanos(1)).is_err()
    });
    assert!(made);
}

#[test]
fn what_is_saved_is_bounded() {
    let mut conduct = begun();
    for _ in 0..1_000_000 {
        conduct.send(&frame(DATA, 0, 1, &[0; 10]));
    }
    let borne = (0..100_000)
        .take_while(|_| {
            conduct
                .receive(&frame(6, 0, 0, &[0; 8]), || Nanos(1))
                .is_ok()
        })
        .count();
    assert_eq!(borne as i64, SAVED + MOST);
}

#[test]
fn a_header_block_is_open_until_its_end() {
    let mut conduct = Conduct::new(Nanos(0));
    conduct.receive(PREFACE, || Nanos(0)).unwrap();
    assert_eq!((conduct.open_block(), conduct.has_begun()), (None, false));
    conduct
        .receive(&frame(SETTINGS, 0, 0, b""), || Nanos(0))
        .unwrap();
    assert_eq!((conduct.open_block(), conduct.has_begun()), (None, true));
    let head = frame(HEADERS, END_HEADERS, 1, b"abc");
    conduct.receive(&head[..10], || Nanos(0)).unwrap();
    assert_eq!(conduct.open_block(), Some(1));
    conduct.receive(&head[10..], || Nanos(0)).unwrap();
    assert_eq!(conduct.open_block(), None);
    conduct
        .receive(&frame(HEADERS, 0, 3, b"abc"), || Nanos(0))
        .unwrap();
    conduct
        .receive(&frame(CONTINUATION, 0, 3, b"abc"), || Nanos(0))
        .unwrap();
    assert_eq!(conduct.open_block(), Some(2));
    conduct
        .receive(&frame(CONTINUATION, END_HEADERS, 3, b""), || Nanos(0))
        .unwrap();
    assert_eq!(conduct.open_block(), None);
}

#[test]
fn the_last_word_names_the_last_stream_and_never_cuts_a_frame() {
    let mut conduct = begun();
    conduct
        .receive(&frame(HEADERS, 5, 7, b""), || Nanos(0))
        .unwrap();
    let word = conduct.go_away(CALM, "why").unwrap();
    assert_eq!(word, frame(7, 0, 0, b"\0\0\0\x07\0\0\0\x0bwhy"));
    conduct.send(&frame(DATA, 0, 7, b"abc")[..11]);
    assert_eq!(conduct.go_away(CALM, ""), None);
}
