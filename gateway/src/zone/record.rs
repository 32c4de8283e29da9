//! Record sets, with the bytes in which they are answered.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use k8s::model::RecordData;

use super::name::{WireName, labels};

/// Types of records (RFC 1035 section 3.2.2 and successors) that are treated in a way of their own.
pub mod kind {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DS: u16 = 43;
    pub const DNSKEY: u16 = 48;
    pub const HTTPS: u16 = 65;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

/// A pointer to the question's name, which always stands at byte 12 (RFC 1035 section 4.1.4).
const TO_QUESTION: [u8; 2] = [0xC0, 12];
const CLASS_IN: [u8; 2] = [0, 1];

/// All records of one name and type; they share a lifetime (RFC 2181 section 5.2).
#[derive(Debug, PartialEq, Eq)]
pub struct RrSet {
    pub kind: u16,
    pub ttl: u32,
    pub data: Vec<Data>,
    /// The records as they stand in an answer, each with the question's name as its owner.
    pub encoded: Box<[u8]>,
}

/// One record's data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Record(RecordData),
    /// `HTTPS 1 . alpn="h2,http/1.1"` with hints (RFC 9460): the same addresses as the name's own.
    Https {
        v4: Vec<Ipv4Addr>,
        v6: Vec<Ipv6Addr>,
    },
}

impl RrSet {
    /// `data` must be of one type. What is there twice is taken once (RFC 2181 section 5.5).
    pub fn new(ttl: u32, data: Vec<Data>) -> Self {
        let mut once: Vec<Data> = Vec::with_capacity(data.len());
        for it in data {
            if !once.contains(&it) {
                once.push(it);
            }
        }
        let kind = once.first().map_or(0, Data::kind);
        let mut encoded = Vec::new();
        for it in &once {
            let rdata = it.wire();
            encoded.extend(TO_QUESTION);
            encoded.extend(kind.to_be_bytes());
            encoded.extend(CLASS_IN);
            encoded.extend(ttl.to_be_bytes());
            // Nothing that is parsed is longer: strings of TXT are cut off before (`RecordData::parse`).
            encoded.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
            encoded.extend(rdata);
        }
        Self { kind, ttl, data: once, encoded: encoded.into() }
    }

    /// How many records an answer to this query leaves for the end. Clients take the first one, so each gets its turn.
    pub fn rotation(&self, query_id: u16) -> usize {
        match (self.kind, self.data.len()) {
            (kind::A | kind::AAAA, n_records @ 2..) => usize::from(query_id) % n_records,
            _ => 0,
        }
    }
}

impl Data {
    pub fn kind(&self) -> u16 {
        match self {
            Self::Record(RecordData::A(_)) => kind::A,
            Self::Record(RecordData::Aaaa(_)) => kind::AAAA,
            Self::Record(RecordData::Cname(_)) => kind::CNAME,
            Self::Record(RecordData::Mx { .. }) => kind::MX,
            Self::Record(RecordData::Ptr(_)) => kind::PTR,
            Self::Record(RecordData::Srv { .. }) => kind::SRV,
            Self::Record(RecordData::Txt(_)) => kind::TXT,
            Self::Https { .. } => kind::HTTPS,
        }
    }

    fn wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Record(RecordData::A(address)) => out.extend(address.octets()),
            Self::Record(RecordData::Aaaa(address)) => out.extend(address.octets()),
            Self::Record(RecordData::Cname(target) | RecordData::Ptr(target)) => {
                out.extend(WireName::from(target).as_bytes());
            }
            Self::Record(RecordData::Mx { preference, exchange }) => {
                out.extend(preference.to_be_bytes());
                out.extend(WireName::from(exchange).as_bytes());
            }
            Self::Record(RecordData::Srv { priority, weight, port, target }) => {
                out.extend([priority, weight, port].iter().flat_map(|number| number.to_be_bytes()));
                out.extend(WireName::from(target).as_bytes());
            }
            Self::Record(RecordData::Txt(strings)) => {
                for text in strings {
                    let bytes = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
                    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
                    out.extend(bytes);
                }
            }
            Self::Https { v4, v6 } => {
                // Priority 1, the name itself as target, then the parameters in the order of their keys.
                out.extend([0, 1, 0]);
                parameter(&mut out, 1, b"\x02h2\x08http/1.1");
                if !v4.is_empty() {
                    parameter(&mut out, 4, &v4.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>());
                }
                if !v6.is_empty() {
                    parameter(&mut out, 6, &v6.iter().flat_map(Ipv6Addr::octets).collect::<Vec<u8>>());
                }
            }
        }
        out
    }
}

fn parameter(out: &mut Vec<u8>, key: u16, value: &[u8]) {
    out.extend(key.to_be_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
    out.extend(value);
}

/// As a zone file has it, type first.
impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: Vec<String>| addresses.join(",");
        match self {
            Self::Record(data) => data.fmt(f),
            Self::Https { v4, v6 } => {
                f.write_str("HTTPS 1 . alpn=\"h2,http/1.1\"")?;
                if !v4.is_empty() {
                    write!(f, " ipv4hint={}", list(v4.iter().map(ToString::to_string).collect()))?;
                }
                if !v6.is_empty() {
                    write!(f, " ipv6hint={}", list(v6.iter().map(ToString::to_string).collect()))?;
                }
                Ok(())
            }
        }
    }
}

/// A zone's SOA as it stands below a negative answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Soa {
    bytes: Box<[u8]>,
    /// Where in it pointers to the apex stand.
    pointers: Vec<usize>,
    /// The length of the apex in a question's name.
    apex: usize,
}

/// Seconds after which secondaries, of which there are none, would ask again, try again, and give up.
pub const SOA_TIMES: [u32; 3] = [7200, 1800, 86_400];

impl Soa {
    /// The SOA's own TTL and its MINIMUM are the same, so that both ways to read RFC 2308 give the same.
    pub fn new(apex: &WireName, name_server: &WireName, mailbox: &WireName, serial: u32, negative_ttl: u32) -> Self {
        let mut pointers = vec![0];
        let mut data = Vec::new();
        // Owner, type, class, TTL, length.
        let before_data = 12;
        for name in [name_server, mailbox] {
            let n_own = labels(name.as_bytes()).count().checked_sub(labels(apex.as_bytes()).count());
            match n_own.filter(|_| apex.is_at_or_above(name.as_bytes())) {
                Some(n_own) => {
                    for label in labels(name.as_bytes()).take(n_own) {
                        data.push(u8::try_from(label.len()).unwrap_or_default());
                        data.extend(label);
                    }
                    pointers.push(before_data + data.len());
                    data.extend(TO_QUESTION);
                }
                None => data.extend(name.as_bytes()),
            }
        }
        data.extend(serial.to_be_bytes());
        data.extend(SOA_TIMES.iter().chain([&negative_ttl]).flat_map(|number| number.to_be_bytes()));
        let mut bytes = TO_QUESTION.to_vec();
        bytes.extend(kind::SOA.to_be_bytes());
        bytes.extend(CLASS_IN);
        bytes.extend(negative_ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(data);
        Self { bytes: bytes.into(), pointers, apex: apex.as_bytes().len() }
    }

    /// Writes the record for a question whose name is `name_length` bytes long and ends in the apex.
    /// None where `out` is too short.
    pub fn write(&self, name_length: usize, out: &mut [u8]) -> Option<usize> {
        let target = out.get_mut(..self.bytes.len())?;
        target.copy_from_slice(&self.bytes);
        // A name has at most 255 bytes, so that the offset fits in the pointer's 14 bits.
        let offset = 12 + u16::try_from(name_length.checked_sub(self.apex)?).ok()?;
        for pointer in &self.pointers {
            target.get_mut(*pointer..*pointer + 2)?.copy_from_slice(&(0xC000 | offset).to_be_bytes());
        }
        Some(self.bytes.len())
    }
}
