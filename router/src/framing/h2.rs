//! How much of HTTP/2 a client may use up without asking for anything (RFC 9113 section 10.5).
//!
//! Each frame that costs its sender next to nothing and the receiver work (resets, pings, settings,
//! priorities, empty data …) takes one from an allowance that grows with time; window updates from another one
//! that grows with what was sent to the client. So does each stream that we have to reset, which a client can bring
//! about by what it gets wrong. Who has used it up is cut off. CVE-2019-9512 to -9518, CVE-2023-44487,
//! CVE-2024-27316, CVE-2025-8671.

use std::time::Duration;

/// A page whose hundred pictures are all cancelled at once is no attack; the same twice a second is.
const ALLOWANCE: u32 = 200;
const PER_SECOND: u32 = 25;
/// Continuations of one head. It has 64 KiB at most, which fills four frames.
const CONTINUATIONS: u32 = 16;
/// A frame of an answer may be answered by a window update for its stream, one for the connection and a ping
/// (gRPC measures by them how fast the line is) …
const UPDATES_PER_FRAME: u64 = 3;
/// … and by two updates more for each so many bytes: some send them for every 4 KiB they read.
const BYTES_PER_UPDATE: u64 = 2 << 10;
/// What a client with large windows may have left to acknowledge.
const UPDATES: u64 = 16 << 10;

const HEADER: usize = 9;
/// What a GOAWAY begins with (RFC 9113 section 6.8): a stream, and the error code.
const LAST_WORDS: usize = 8;
const NO_ERROR: u32 = 0;
/// RFC 9113 section 3.4: the client begins with it.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;

/// The client has done too much that is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more HTTP/2 frames than a client needs")]
pub struct Flood;

/// Follows both directions of one connection.
#[derive(Clone, Debug)]
pub struct Allowance {
    received: Frames,
    sent: Frames,
    left: u32,
    /// The age of the connection up to which `left` has grown.
    grown: Duration,
    continuations: u32,
    updates: u64,
    is_refused: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            received: Frames { skip: PREFACE.len(), ..Frames::default() },
            sent: Frames::default(),
            left: ALLOWANCE,
            grown: Duration::ZERO,
            continuations: 0,
            updates: u64::from(ALLOWANCE),
            is_refused: false,
        }
    }
}

impl Allowance {
    /// To be called with everything the client sends, from the preface on. `age` is that of the connection.
    pub fn received(&mut self, mut bytes: &[u8], age: Duration) -> Result<(), Flood> {
        while let Some(frame) = self.received.next(&mut bytes) {
            self.spend(frame, age)?;
        }
        Ok(())
    }

    /// To be called with everything that is sent to the client.
    pub fn sent(&mut self, mut bytes: &[u8], age: Duration) -> Result<(), Flood> {
        while let Some(Frame { kind, length, code, .. }) = self.sent.next(&mut bytes) {
            match kind {
                DATA | HEADERS => {
                    let more = UPDATES_PER_FRAME + length as u64 / BYTES_PER_UPDATE;
                    self.updates = (self.updates + more).min(UPDATES);
                }
                RST_STREAM => self.spend_time(age)?,
                GOAWAY => self.is_refused |= code != NO_ERROR,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the client was told that it has done something wrong, as it is by whoever finds that before the allowance
    /// is used up.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    fn spend(&mut self, Frame { kind, flags, length, .. }: Frame, age: Duration) -> Result<(), Flood> {
        match kind {
            // Their number is bounded by the streams that may be open, and by the resets that make room for more.
            HEADERS => {
                self.continuations = 0;
                Ok(())
            }
            DATA if length > 0 || flags & END_STREAM != 0 => Ok(()),
            CONTINUATION => {
                self.continuations += 1;
                if self.continuations > CONTINUATIONS { Err(Flood) } else { Ok(()) }
            }
            WINDOW_UPDATE | PING if self.updates > 0 => {
                self.updates -= 1;
                Ok(())
            }
            _ => self.spend_time(age),
        }
    }

    fn spend_time(&mut self, age: Duration) -> Result<(), Flood> {
        let since = age.saturating_sub(self.grown);
        let more = u32::try_from(since.as_millis() * u128::from(PER_SECOND) / 1000).unwrap_or(ALLOWANCE);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(ALLOWANCE);
            self.grown = age;
        }
        self.left = self.left.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

/// The head of a frame (RFC 9113 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
    /// Of a GOAWAY.
    code: u32,
}

/// Finds the frames in one direction's bytes, however they are cut.
#[derive(Clone, Debug, Default)]
struct Frames {
    /// Bytes to be passed over: the preface, or the rest of a payload.
    skip: usize,
    /// Of the next frame, and how much of it there is.
    head: [u8; HEADER + LAST_WORDS],
    there: usize,
}

impl Frames {
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = bytes.get(skipped..).unwrap_or_default();
        self.fill(HEADER, bytes)?;
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let last_words = if kind == GOAWAY { length.min(LAST_WORDS) } else { 0 };
        self.fill(HEADER + last_words, bytes)?;
        self.there = 0;
        self.skip = length - last_words;
        let [.., a, b, c, d] = self.head;
        let code = if last_words == LAST_WORDS { u32::from_be_bytes([a, b, c, d]) } else { NO_ERROR };
        Some(Frame { kind, flags, length, code })
    }

    /// None where the bytes end before there is so much.
    fn fill(&mut self, length: usize, bytes: &mut &[u8]) -> Option<()> {
        let missing = self.head.get_mut(self.there..length).unwrap_or_default();
        let count = missing.len().min(bytes.len());
        let (some, rest) = bytes.split_at_checked(count)?;
        missing.get_mut(..count)?.copy_from_slice(some);
        *bytes = rest;
        self.there += count;
        (self.there >= length).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 0x4;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of the frame a client may send at once, in a connection of that age; None where there is no end.
    fn taken(of: &[u8], allowance: &mut Allowance, age: u64) -> Option<usize> {
        (0..50_000).find(|_| allowance.received(of, Duration::from_secs(age)).is_err())
    }

    fn opened() -> Allowance {
        let mut allowance = Allowance::default();
        allowance.received(PREFACE, Duration::ZERO).expect("no frame");
        allowance
    }

    #[test]
    fn what_asks_for_nothing_ends_after_some_hundred_frames() {
        for (name, flood, most) in [
            ("rapid reset", [frame(HEADERS, 5, b"x"), frame(RST_STREAM, 0, &[0; 4])].concat(), 200),
            ("ping", frame(PING, 0, &[0; 8]), 400),
            ("settings", frame(SETTINGS, 0, &[]), 200),
            ("priority", frame(0x2, 0, &[0; 5]), 200),
            ("empty data", frame(DATA, 0, &[]), 200),
            ("window update", frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]), 400),
            ("unknown", frame(0xbe, 0, &[1]), 200),
            ("continuation", frame(CONTINUATION, 0, &[]), 16),
        ] {
            let mut allowance = opened();
            assert_eq!(taken(&flood, &mut allowance, 0), Some(most), "{name}");
        }
    }

    #[test]
    fn the_allowance_grows_with_time_to_a_bound() {
        let mut allowance = opened();
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        for age in (0..400).step_by(4) {
            for _ in 0..100 {
                allowance.received(&reset, Duration::from_secs(age)).expect("a hundred in four seconds");
            }
        }
        assert_eq!(taken(&reset, &mut allowance, 100_000), Some(200));
    }

    #[test]
    fn a_client_that_is_told_of_an_error_is_refused_and_one_that_is_told_to_leave_is_not() {
        for (code, is_refused) in [(0, false), (1, true)] {
            let end = frame(GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, code, b'!']);
            let bytes = [frame(HEADERS, 4, b"x"), end, frame(HEADERS, 4, b"y")].concat();
            for cut in 1..bytes.len() {
                let mut allowance = opened();
                for part in bytes.chunks(cut) {
                    allowance.sent(part, Duration::ZERO).expect("no flood");
                }
                assert_eq!(allowance.is_refused(), is_refused, "{code} {cut}");
            }
        }
    }

    #[test]
    fn requests_and_their_bodies_are_not_counted() {
        let mut allowance = opened();
        let request = [frame(HEADERS, 4, b"x"), frame(DATA, 0, b"body"), frame(DATA, END_STREAM, &[])].concat();
        assert_eq!(taken(&request, &mut allowance, 0), None);
    }

    #[test]
    fn a_download_pays_for_its_window_updates_and_pings() {
        let mut allowance = opened();
        let (update, ping) = (frame(WINDOW_UPDATE, 0, &[0, 0, 16, 0]), frame(PING, 0, &[0; 8]));
        for _ in 0..10_000 {
            allowance.sent(&frame(DATA, 0, &[0; 4096]), Duration::ZERO).expect("an answer");
            for acknowledged in [&update, &update, &ping] {
                allowance.received(acknowledged, Duration::ZERO).expect("paid for");
            }
        }
        for _ in 0..10_000 {
            allowance.sent(&frame(PING, 1, &[0; 8]), Duration::ZERO).expect("an answer");
        }
        assert!(
            taken(&ping, &mut allowance, 0).is_some_and(|most| most <= UPDATES as usize + 200),
            "an answered ping pays nothing"
        );
    }

    #[test]
    fn who_has_its_streams_reset_is_cut_as_who_resets_them() {
        let mut allowance = opened();
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        let most = (0..).find(|_| allowance.sent(&reset, Duration::ZERO).is_err());
        assert_eq!(most, Some(ALLOWANCE));
        allowance.sent(&reset, Duration::from_secs(1)).expect("a second later");
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [frame(SETTINGS, 0, &[0; 12]), frame(DATA, 0, b"hello"), frame(PING, 0, &[0; 8])].concat();
        for cut in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut kinds = Vec::new();
            for mut part in bytes.chunks(cut) {
                kinds.extend(std::iter::from_fn(|| frames.next(&mut part)).map(|frame| (frame.kind, frame.length)));
            }
            assert_eq!(kinds, [(SETTINGS, 12), (DATA, 5), (PING, 8)], "{cut}");
        }
    }
}
