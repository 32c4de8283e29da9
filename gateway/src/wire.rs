//! Query bytes to response bytes on the common path, from answers encoded beforehand. Pure, hot.
//!
//! Common is what a forwarder asks all day: one question of class IN, without EDNS or with a bare OPT
//! record, for addresses, text or service bindings of a name in a zone. Everything else is declined,
//! and left to [`reference`](crate::reference), which gives the same answer to what is common.
//! Nothing here allocates.

use crate::zone::{LONGEST_NAME, Lookup, Zones, kind};

/// The largest UDP payload that is sent: it passes every path unfragmented (DNS flag day 2020).
pub const UDP_PAYLOAD: usize = 1232;
/// What a client takes that does not say (RFC 1035 section 2.3.4).
pub const UDP_PAYLOAD_WITHOUT_EDNS: usize = 512;

const HEADER: usize = 12;
/// Class and type of a question.
const AFTER_NAME: usize = 4;
/// A bare OPT record (RFC 6891 section 6.1.2).
const OPT: usize = 11;

/// An answer in the buffer, with what the metrics want to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the answer, in bytes.
    pub length: usize,
    /// Of the question.
    pub kind: u16,
    /// See [`Zone::configured`].
    pub zone: Option<usize>,
    /// NXDOMAIN; otherwise NOERROR.
    pub is_name_error: bool,
}

/// A query's question, as its bytes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'q> {
    /// In wire form, in the case it was asked in.
    pub name: &'q [u8],
    pub kind: u16,
    pub class: u16,
    /// Where the question ends in the message.
    pub end: usize,
}

impl<'q> Question<'q> {
    /// The first question of a message. None where there is none that can be read, or where its name is
    /// compressed: there is nothing before it that a pointer could mean.
    pub fn read(message: &'q [u8]) -> Option<Self> {
        let rest = message.get(HEADER..)?;
        let mut at = 0;
        let length = loop {
            let label = usize::from(*rest.get(at)?);
            at += 1 + label;
            match label {
                0 => break at,
                1..=63 if at < LONGEST_NAME => {}
                _ => return None,
            }
        };
        let (name, after) = rest.split_at_checked(length)?;
        let &[kind_high, kind_low, class_high, class_low, ..] = after else { return None };
        Some(Self {
            name,
            kind: u16::from_be_bytes([kind_high, kind_low]),
            class: u16::from_be_bytes([class_high, class_low]),
            end: HEADER + length + AFTER_NAME,
        })
    }

    /// Hands on the name in lower case, which it mostly is already. Lengths of labels are smaller than any letter.
    #[inline]
    fn in_lower_case<T>(&self, then: impl FnOnce(&[u8]) -> T) -> T {
        let has_capitals = self.name.iter().fold(false, |any, byte| any | byte.is_ascii_uppercase());
        if !has_capitals {
            return then(self.name);
        }
        let mut folded = [0; LONGEST_NAME];
        let folded = &mut folded[..self.name.len().min(LONGEST_NAME)];
        folded.iter_mut().zip(self.name).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        then(folded)
    }
}

/// Writes the answer of `zones` (those that the client sees) to a query's bytes into `out`, which may hold anything
/// before and holds something else beyond the answer's length. None where the query is not a common one.
pub fn answer(zones: &Zones, query: &[u8], out: &mut [u8; UDP_PAYLOAD]) -> Option<Answered> {
    let &[id_high, id_low, flags, more_flags, 0, 1, 0, 0, 0, 0, 0, n_additional @ (0 | 1), ..] = query else {
        return None;
    };
    // A standard query, with RD, AD and CD as it pleases, and nothing else set.
    if flags & !0x01 != 0 || more_flags & !0x30 != 0 {
        return None;
    }
    let question = Question::read(query)?;
    let rest = query.get(question.end..)?;
    let edns = match (n_additional, rest) {
        (0, []) => None,
        // Root, OPT, size, extended code, version 0, DO and flags that mean nothing yet, no options.
        (1, &[0, 0, 41, size_high, size_low, 0, 0, dnssec_ok, _, 0, 0]) => {
            Some((usize::from(u16::from_be_bytes([size_high, size_low])), dnssec_ok & 0x80))
        }
        _ => return None,
    };
    let is_common =
        !matches!(question.kind, kind::NS | kind::SOA | kind::CNAME | kind::MX | kind::SRV | kind::DS | 249..=255);
    if question.class != 1 || !is_common {
        return None;
    }
    let limit = edns.map_or(UDP_PAYLOAD_WITHOUT_EDNS, |(size, _)| size.clamp(UDP_PAYLOAD_WITHOUT_EDNS, UDP_PAYLOAD));

    let (zone, node) = match question.in_lower_case(|name| zones.lookup(name)) {
        Lookup::Found { zone, wildcard: true, .. } | Lookup::Missing { zone }
            if zone.may_be_challenge(question.name) =>
        {
            return None;
        }
        Lookup::Found { zone, node, .. } if node.rrset(kind::CNAME).is_none() => (zone, Some(node)),
        // Of a network of which only some addresses have names of ours, an upstream may know the others.
        Lookup::Missing { zone } if zone.configured.is_some() => (zone, None),
        Lookup::Found { .. } | Lookup::Missing { .. } | Lookup::Denied { .. } | Lookup::OutOfZone => return None,
    };
    let rrset = node.and_then(|node| node.rrset(question.kind));
    out.get_mut(..question.end)?.copy_from_slice(query.get(..question.end)?);
    let mut end = question.end;
    let (n_answers, n_authority) = match rrset {
        Some(rrset) => {
            let encoded = &rrset.encoded;
            let target = out.get_mut(end..end + encoded.len())?;
            match rrset.rotation(u16::from_be_bytes([id_high, id_low])) {
                0 => target.copy_from_slice(encoded),
                // Addresses are of one length each, and nothing else is turned around.
                turn => {
                    let middle = encoded.len() / rrset.data.len() * turn;
                    let (last, first) = encoded.split_at_checked(middle)?;
                    target.get_mut(..first.len())?.copy_from_slice(first);
                    target.get_mut(first.len()..)?.copy_from_slice(last);
                }
            }
            end += encoded.len();
            (u16::try_from(rrset.data.len()).ok()?, 0)
        }
        None => {
            end += zone.soa.write(question.name.len(), out.get_mut(end..)?)?;
            (0, 1)
        }
    };
    if let Some((_, dnssec_ok)) = edns {
        let [size_high, size_low] = (UDP_PAYLOAD as u16).to_be_bytes();
        let opt = [0, 0, 41, size_high, size_low, 0, 0, dnssec_ok, 0, 0, 0];
        out.get_mut(end..end + OPT)?.copy_from_slice(&opt);
        end += OPT;
    }
    if end > limit {
        return None;
    }
    let is_name_error = node.is_none();
    let [answers_high, answers_low] = n_answers.to_be_bytes();
    out.get_mut(..HEADER)?.copy_from_slice(&[
        id_high,
        id_low,
        // A response, authoritative, with the client's RD.
        0x84 | flags,
        if is_name_error { 3 } else { 0 },
        0,
        1,
        answers_high,
        answers_low,
        0,
        n_authority,
        0,
        u8::from(edns.is_some()),
    ]);
    Some(Answered { length: end, kind: question.kind, zone: zone.configured, is_name_error })
}

#[cfg(test)]
mod tests;
