//! Names that objects ask DNS for, and what becomes of each.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::{HostName, HostPattern, ObjectName};

/// An object that asks DNS for a name. In a list of them, of two that want the addresses of one name the first wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameClaim {
    /// `*.parent` is the wildcard name of DNS (RFC 4592), whatever the API it comes from means by the star.
    pub name: HostPattern,
    pub object: ObjectName,
    /// In seconds; None is the zone's.
    pub ttl: Option<u32>,
    pub answer: ClaimedAnswer,
}

/// What a name is to be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimedAnswer {
    /// The addresses of the entry point where the router serves the name; there may be none yet.
    EntryPoint {
        name: Arc<str>,
        addresses: Arc<[IpAddr]>,
        /// Whether a listener with TLS on port 443 of it serves the name.
        https: bool,
    },
    /// Records of the object's own.
    Records(Vec<RecordData>),
    /// Nothing, and why: `its IngressClass nginx belongs to another controller`.
    Withheld(Arc<str>),
}

/// One record's data (RFC 1035 section 3.3 and successors).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(HostName),
    Mx {
        preference: u16,
        exchange: HostName,
    },
    Ptr(HostName),
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: HostName,
    },
    /// Strings of at most 255 bytes each.
    Txt(Vec<Arc<str>>),
}

impl From<IpAddr> for RecordData {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::A(v4),
            IpAddr::V6(v6) => Self::Aaaa(v6),
        }
    }
}

/// As a zone file has it, type first: `A 192.168.8.21`.
impl fmt::Display for RecordData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(f, "A {address}"),
            Self::Aaaa(address) => write!(f, "AAAA {address}"),
            Self::Cname(target) => write!(f, "CNAME {target}."),
            Self::Mx { preference, exchange } => write!(f, "MX {preference} {exchange}."),
            Self::Ptr(target) => write!(f, "PTR {target}."),
            Self::Srv { priority, weight, port, target } => write!(f, "SRV {priority} {weight} {port} {target}."),
            Self::Txt(strings) => {
                f.write_str("TXT")?;
                strings.iter().try_for_each(|text| {
                    f.write_str(" \"")?;
                    text.bytes().try_for_each(|byte| match byte {
                        b'"' | b'\\' => write!(f, "\\{}", char::from(byte)),
                        b' '..=b'~' => write!(f, "{}", char::from(byte)),
                        _ => write!(f, "\\{byte:03}"),
                    })?;
                    f.write_str("\"")
                })
            }
        }
    }
}
