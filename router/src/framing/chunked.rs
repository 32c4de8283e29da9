//! The chunked transfer coding of a request, read by the letter (RFC 9112 section 7.1).

use super::{
    Refusal,
    head::{is_in_value, is_token},
};

/// A chunk's size with its extensions.
const SIZE_LINE: usize = 256;
/// All trailers. They are read and dropped: nobody may assert by them what the router asserts by fields.
const TRAILERS: usize = 8 << 10;

/// Follows a body from its first byte to the end of its trailers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// Of the line, or of the trailers, that is being read.
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataEnd,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, length: 0 }
    }
}

impl Chunked {
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// How many of the bytes belong to the body. What comes after its end does not.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut place = 0;
        while let Some(&byte) = bytes.get(place) {
            if let At::Data { left } = &mut self.at {
                let there = u64::try_from(bytes.len() - place).unwrap_or(u64::MAX).min(*left);
                *left -= there;
                place += usize::try_from(there).unwrap_or(usize::MAX);
                if *left == 0 {
                    self.at = At::DataEnd;
                }
                continue;
            }
            if self.at == At::Done {
                break;
            }
            self.at = self.byte(byte)?;
            place += 1;
        }
        Ok(place)
    }

    fn byte(&mut self, byte: u8) -> Result<At, Refusal> {
        self.length += 1;
        let most = match self.at {
            At::Size { .. } | At::Extension { .. } | At::SizeEnd { .. } => SIZE_LINE,
            _ => TRAILERS,
        };
        if self.length > most {
            return Err(Refusal::Chunk);
        }
        let next = match (self.at, byte) {
            (At::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (At::Size { digits: 1.., size }, b';') => At::Extension { size },
            (At::Size { digits: 1.., size } | At::Extension { size }, b'\r') => At::SizeEnd { size },
            (At::Extension { size }, _) if is_in_value(byte) => At::Extension { size },
            (At::SizeEnd { size }, b'\n') => {
                self.length = 0;
                if size == 0 { At::TrailerStart } else { At::Data { left: size } }
            }
            (At::DataEnd, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => {
                self.length = 0;
                At::Size { digits: 0, size: 0 }
            }
            (At::TrailerStart, b'\r') => At::LastLineFeed,
            (At::TrailerStart | At::TrailerName, _) if is_token(byte) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLineFeed,
            (At::TrailerValue, _) if is_in_value(byte) => At::TrailerValue,
            (At::TrailerLineFeed, b'\n') => At::TrailerStart,
            (At::LastLineFeed, b'\n') => At::Done,
            _ => return Err(Refusal::Chunk),
        };
        Ok(next)
    }
}
