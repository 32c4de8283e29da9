//! Where the requests of an HTTP/1 connection begin and end.

use super::{
    Refusal,
    chunked::Chunked,
    head::{self, Body, Head},
};

/// Follows the bytes of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Head {
        scanned: usize,
    },
    Length {
        left: u64,
    },
    Chunked(Chunked),
    /// A request is at its end; what comes is of the next one.
    End {
        is_upgrade: bool,
    },
}

impl Default for Requests {
    fn default() -> Self {
        Self { at: At::Head { scanned: 0 } }
    }
}

impl Requests {
    /// How many of the bytes are the current request's: its head only as a whole, its body as it comes, and
    /// nothing beyond its end. Bytes that are not taken are to be given again, with more behind them.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        if let At::Head { scanned } = &mut self.at {
            let Some(end) = head::end(bytes, scanned)? else { return Ok(0) };
            let head = Head::parse(bytes.get(..end).unwrap_or_default())?;
            self.at = match head.body {
                Body::None => At::End { is_upgrade: head.is_upgrade },
                // It could not be told where the body ends and the other protocol begins.
                Body::Length(_) | Body::Chunked if head.is_upgrade => return Err(Refusal::Upgrade),
                Body::Length(left) => At::Length { left },
                Body::Chunked => At::Chunked(Chunked::default()),
            };
            taken = end;
        }
        let body = bytes.get(taken..).unwrap_or_default();
        match &mut self.at {
            At::Head { .. } | At::End { .. } => {}
            At::Length { left } => {
                let there = u64::try_from(body.len()).unwrap_or(u64::MAX).min(*left);
                *left -= there;
                taken += usize::try_from(there).unwrap_or(usize::MAX);
                if *left == 0 {
                    self.at = At::End { is_upgrade: false };
                }
            }
            At::Chunked(chunked) => {
                taken += chunked.advance(body)?;
                if chunked.is_done() {
                    self.at = At::End { is_upgrade: false };
                }
            }
        }
        Ok(taken)
    }

    pub fn is_in_head(&self) -> bool {
        matches!(self.at, At::Head { .. })
    }

    pub fn is_at_end(&self) -> bool {
        matches!(self.at, At::End { .. })
    }

    /// Whether the request that has ended asks for another protocol.
    pub fn is_upgrade(&self) -> bool {
        self.at == At::End { is_upgrade: true }
    }

    /// To be called when the request has been answered.
    pub fn next(&mut self) {
        *self = Self::default();
    }
}
