//! The beginning of a request's body, kept while the request may have to be sent once more.
//!
//! Frames are handed out in their order, each once in every attempt: first those that are kept, then those that still
//! come, which are kept in their turn. What is no longer kept whole cannot be handed out from its beginning again.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body::Frame;

/// Frames of one body. Their bytes are shared, not copied.
pub(super) struct Kept {
    frames: VecDeque<Frame<Bytes>>,
    /// So many of them were handed out in this attempt.
    handed_out: usize,
    /// Bytes that may still be kept.
    room: u64,
    /// Can the body be handed out from its beginning again?
    whole: bool,
}

impl Kept {
    /// Nothing yet; at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Kept {
        Kept {
            frames: VecDeque::new(),
            handed_out: 0,
            room: limit,
            whole: true,
        }
    }

    /// A frame that was never handed out before is, now. Beyond the bound nothing is kept any more.
    pub(super) fn keep(&mut self, frame: &Frame<Bytes>) {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let fits = len <= self.room && self.frames.len() < MOST_FRAMES;
        match share(frame).filter(|_| fits && self.whole) {
            Some(frame) => {
                self.room -= len;
                self.frames.push_back(frame);
                self.handed_out += 1;
            }
            None => self.forget(),
        }
    }

    /// The next frame that was handed out in an earlier attempt and not yet in this one.
    pub(super) fn again(&mut self) -> Option<Frame<Bytes>> {
        if !self.whole {
            return self.frames.pop_front();
        }
        let frame = self.frames.get(self.handed_out).and_then(share)?;
        self.handed_out += 1;
        Some(frame)
    }

    /// Is there such a frame?
    pub(super) fn has_more(&self) -> bool {
        self.handed_out < self.frames.len()
    }

    /// Begins anew; `false` where the beginning is gone.
    pub(super) fn rewind(&mut self) -> bool {
        if self.whole {
            self.handed_out = 0;
        }
        self.whole
    }

    /// Can it begin anew?
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// No attempt follows this one: what it has still to hand out is all that stays.
    pub(super) fn forget(&mut self) {
        self.frames.drain(..self.handed_out);
        self.handed_out = 0;
        self.whole = false;
    }
}

/// The same frame once more, for somebody else: its bytes are shared.
pub(super) fn share(frame: &Frame<Bytes>) -> Option<Frame<Bytes>> {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => Some(Frame::data(data.clone())),
        (None, Some(trailers)) => Some(Frame::trailers(trailers.clone())),
        (None, None) => None,
    }
}

/// A body in many small frames costs more than its bytes.
const MOST_FRAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use proptest::prelude::*;

    /// A frame as a test compares it.
    #[derive(Clone, Debug, PartialEq)]
    enum Piece {
        Data(Vec<u8>),
        Trailers(HeaderMap),
    }

    fn piece(frame: &Frame<Bytes>) -> Piece {
        match frame.data_ref() {
            Some(data) => Piece::Data(data.to_vec()),
            None => Piece::Trailers(frame.trailers_ref().unwrap().clone()),
        }
    }

    /// A body of frames of these lengths, no two of them alike, and trailers at its end.
    fn body(lengths: &[usize]) -> Vec<Frame<Bytes>> {
        let mut frames: Vec<Frame<Bytes>> = (0_u8..)
            .zip(lengths)
            .map(|(number, len)| Frame::data(Bytes::from(vec![number; *len])))
            .collect();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", lengths.len().into());
        frames.push(Frame::trailers(trailers));
        frames
    }

    #[derive(Clone, Debug)]
    enum Step {
        HandOut(usize),
        Rewind,
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..12_usize).prop_map(Step::HandOut),
            4 => Just(Step::Rewind),
            1 => Just(Step::Forget),
        ]
    }

    proptest! {
        /// Whatever is rewound when: each attempt sees the body from its beginning, in order, without gap or double.
        #[test]
        fn every_attempt_sees_the_body_from_its_beginning(
            lengths in prop::collection::vec(0..40_usize, 0..20),
            limit in 0..500_u64,
            steps in prop::collection::vec(step(), 0..30),
        ) {
            let body = body(&lengths);
            let mut coming = body.iter();
            let mut kept = Kept::new(limit);
            let mut attempt = Vec::new();
            let mut forgotten = false;
            let (mut passed, mut bytes) = (0, 0);
            for step in steps {
                match step {
                    Step::HandOut(count) => for _ in 0..count {
                        prop_assert_eq!(kept.has_more(), attempt.len() < passed);
                        let frame = kept.again().or_else(|| {
                            let frame = coming.next()?;
                            kept.keep(frame);
                            passed += 1;
                            bytes += frame.data_ref().map_or(0, |d| d.len() as u64);
                            share(frame)
                        });
                        attempt.extend(frame.as_ref().map(piece));
                    },
                    Step::Rewind => {
                        let whole = kept.is_whole();
                        prop_assert_eq!(kept.rewind(), whole);
                        prop_assert_eq!(whole, !forgotten && bytes <= limit);
                        if whole {
                            attempt.clear();
                        }
                    }
                    Step::Forget => {
                        kept.forget();
                        forgotten = true;
                    }
                }
                let expected: Vec<Piece> = body[..attempt.len()].iter().map(piece).collect();
                prop_assert_eq!(&attempt, &expected);
            }
        }
    }

    #[test]
    fn a_body_in_very_many_frames_is_not_kept() {
        let mut kept = Kept::new(u64::MAX);
        let frame = Frame::data(Bytes::from_static(b"x"));
        for _ in 0..MOST_FRAMES {
            kept.keep(&frame);
        }
        assert!(kept.is_whole());
        kept.keep(&frame);
        assert!(!kept.rewind());
        assert!(kept.frames.is_empty(), "and what it held is given back");
    }
}
