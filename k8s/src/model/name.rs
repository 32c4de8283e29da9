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

/// The kind of the object behind what the configuration file itself asks for …
pub const CONFIGURATION: &str = "Configuration";
/// … and its name for the administrator's own records.
pub const STATIC_RECORDS: &str = "dns.records";

impl NameClaim {
    /// Whether it is one of the administrator's own records, which come before what objects ask for.
    pub fn is_static(&self) -> bool {
        self.object.kind == CONFIGURATION && *self.object.name == *STATIC_RECORDS
    }
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

impl RecordData {
    /// The types there are, as [`RecordData::parse`] takes them.
    pub const KINDS: [&str; 7] = ["A", "AAAA", "CNAME", "MX", "PTR", "SRV", "TXT"];

    /// Reads data as it is written for a type: `10 mail.home.example` for MX. The error is what was expected instead.
    pub fn parse(kind: &str, target: &str) -> Result<Self, String> {
        let fields: Vec<&str> = target.split_ascii_whitespace().collect();
        let parsed = match (kind, &*fields) {
            ("A", [address]) => address.parse().ok().map(Self::A),
            ("AAAA", [address]) => address.parse().ok().map(Self::Aaaa),
            ("CNAME", [host]) => host.parse().ok().map(Self::Cname),
            ("MX", [preference, exchange]) => mail_exchange(preference, exchange),
            ("PTR", [host]) => host.parse().ok().map(Self::Ptr),
            ("SRV", [priority, weight, port, target]) => service(priority, weight, port, target),
            ("TXT", _) => text(target),
            _ => None,
        };
        parsed.ok_or_else(|| expected(kind))
    }

    /// Bytes that it takes in an answer, where its owner is told by two (RFC 1035 section 4.1.4) and no other name is
    /// shortened.
    pub fn size(&self) -> usize {
        const FIXED: usize = 2 + 2 + 2 + 4 + 2;
        let name = |name: &HostName| name.as_str().len() + 2;
        let data = match self {
            Self::A(_) => 4,
            Self::Aaaa(_) => 16,
            Self::Cname(target) | Self::Ptr(target) => name(target),
            Self::Mx { exchange, .. } => 2 + name(exchange),
            Self::Srv { target, .. } => 6 + name(target),
            Self::Txt(strings) => strings.iter().map(|string| 1 + string.len()).sum(),
        };
        FIXED + data
    }

    /// None where it is none.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::A(v4) => Some(IpAddr::V4(*v4)),
            Self::Aaaa(v6) => Some(IpAddr::V6(*v6)),
            Self::Cname(_) | Self::Mx { .. } | Self::Ptr(_) | Self::Srv { .. } | Self::Txt(_) => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::A(_) => "A",
            Self::Aaaa(_) => "AAAA",
            Self::Cname(_) => "CNAME",
            Self::Mx { .. } => "MX",
            Self::Ptr(_) => "PTR",
            Self::Srv { .. } => "SRV",
            Self::Txt(_) => "TXT",
        }
    }
}

fn mail_exchange(preference: &str, exchange: &str) -> Option<RecordData> {
    Some(RecordData::Mx { preference: preference.parse().ok()?, exchange: exchange.parse().ok()? })
}

fn service(priority: &str, weight: &str, port: &str, target: &str) -> Option<RecordData> {
    Some(RecordData::Srv {
        priority: priority.parse().ok()?,
        weight: weight.parse().ok()?,
        port: port.parse().ok()?,
        target: target.parse().ok()?,
    })
}

/// A string of a TXT record has its length in one byte (RFC 1035 section 3.3.14), so that a longer text is several.
const STRING_BYTES: usize = 255;
/// Several records of this length still fit into one answer.
const TEXT_BYTES: usize = 4096;

/// Text that is one quoted string or several is read as a zone file has it (RFC 1035 section 5.1), and any other is
/// itself.
fn text(target: &str) -> Option<RecordData> {
    let strings = quoted(target).unwrap_or_else(|| vec![target.to_owned()]);
    if strings.iter().map(String::len).sum::<usize>() > TEXT_BYTES {
        return None;
    }
    Some(RecordData::Txt(strings.iter().flat_map(|string| split(string)).collect()))
}

fn split(mut rest: &str) -> Vec<Arc<str>> {
    let mut strings = Vec::new();
    while rest.len() > STRING_BYTES {
        let (string, tail) = rest.split_at(rest.floor_char_boundary(STRING_BYTES));
        strings.push(string.into());
        rest = tail;
    }
    strings.push(rest.into());
    strings
}

/// The strings between quotes, unescaped. None where anything but blanks is outside of quotes, or a quote or an escape
/// has no end; and where escapes make something that is no UTF-8, which no model holds.
fn quoted(text: &str) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let mut string = Vec::new();
        let mut bytes = rest.strip_prefix('"')?.bytes();
        loop {
            match bytes.next()? {
                b'"' => break,
                b'\\' => string.push(escaped(&mut bytes)?),
                byte => string.push(byte),
            }
        }
        strings.push(String::from_utf8(string).ok()?);
        rest = rest.get(rest.len() - bytes.len()..)?.trim_ascii_start();
    }
    (!strings.is_empty()).then_some(strings)
}

/// What a backslash stands for with what follows it: three digits are the number of a byte, all else is itself.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut value = match bytes.next()? {
        digit @ b'0'..=b'9' => u32::from(digit - b'0'),
        byte => return Some(byte),
    };
    for _ in 0..2 {
        value = 10 * value + bytes.next().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'))?;
    }
    u8::try_from(value).ok()
}

fn expected(kind: &str) -> String {
    match kind {
        "A" => "an IPv4 address such as 192.168.8.30".to_owned(),
        "AAAA" => "an IPv6 address such as fd00::30".to_owned(),
        "CNAME" | "PTR" => "a host name such as nas.home.example".to_owned(),
        "MX" => "a preference and a host name such as 10 mail.home.example".to_owned(),
        "SRV" => "priority, weight, port and a host name such as 0 5 443 nas.home.example".to_owned(),
        "TXT" => format!("a text of at most {TEXT_BYTES} bytes"),
        _ => format!("one of the types {}", RecordData::KINDS.join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_as_a_zone_file_has_it() {
        for (kind, target, record) in [
            ("A", "192.168.8.30", "A 192.168.8.30"),
            ("AAAA", "FD00::30", "AAAA fd00::30"),
            ("CNAME", "NAS.home.example.", "CNAME nas.home.example."),
            ("MX", " 10  mail.home.example ", "MX 10 mail.home.example."),
            ("PTR", "nas.home.example", "PTR nas.home.example."),
            ("SRV", "0 5 443 nas.home.example", "SRV 0 5 443 nas.home.example."),
            ("TXT", "v=spf1 -all", "TXT \"v=spf1 -all\""),
            ("TXT", "\"v=spf1 -all\"", "TXT \"v=spf1 -all\""),
            ("TXT", "a \"b\" c", "TXT \"a \\\"b\\\" c\""),
            ("TXT", "\"", "TXT \"\\\"\""),
            ("TXT", "", "TXT \"\""),
            ("TXT", "\"v=DKIM1; k=rsa; \" \"p=MIIB\"", "TXT \"v=DKIM1; k=rsa; \" \"p=MIIB\""),
            ("TXT", " \"a\"\t\"b\"\"c\" ", "TXT \"a\" \"b\" \"c\""),
            ("TXT", r#""say \"a\\b\" \065\195\169""#, r#"TXT "say \"a\\b\" A\195\169""#),
            ("TXT", "\"\"", "TXT \"\""),
            // What is not quoted as a whole is itself.
            ("TXT", "\"a\" b", r#"TXT "\"a\" b""#),
            ("TXT", "a\\b", r#"TXT "a\\b""#),
            ("TXT", r#""a\"#, r#"TXT "\"a\\""#),
            ("TXT", r#""a\300""#, r#"TXT "\"a\\300\"""#),
            ("TXT", r#""a\06""#, r#"TXT "\"a\\06\"""#),
        ] {
            let parsed = RecordData::parse(kind, target);
            assert_eq!(parsed.as_ref().map(ToString::to_string), Ok(record.to_owned()), "{kind} {target:?}");
            assert_eq!(parsed.map(|data| data.kind()), Ok(kind));
        }
    }

    #[test]
    fn data_that_is_wrong_says_what_was_expected() {
        for (kind, target, expected) in [
            ("A", "fd00::30", "an IPv4 address"),
            ("A", "192.168.8.30 192.168.8.31", "an IPv4 address"),
            ("A", "", "an IPv4 address"),
            ("AAAA", "192.168.8.30", "an IPv6 address"),
            ("CNAME", "*.home.example", "a host name"),
            ("CNAME", "192.168.8.30", "a host name"),
            ("MX", "mail.home.example", "a preference and a host name"),
            ("MX", "70000 mail.home.example", "a preference and a host name"),
            ("PTR", "", "a host name"),
            ("SRV", "0 5 nas.home.example", "priority, weight, port and a host name"),
            ("SRV", "0 5 -1 nas.home.example", "priority, weight, port and a host name"),
            ("TXT", &"x".repeat(4097), "a text of at most 4096 bytes"),
            ("NS", "ns.home.example", "one of the types A, AAAA, CNAME, MX, PTR, SRV, TXT"),
        ] {
            let error = RecordData::parse(kind, target).expect_err(target);
            assert!(error.starts_with(expected), "{kind} {target:?} gave {error:?}");
        }
    }

    #[test]
    fn long_text_is_split_between_characters() {
        // The 255th byte is in the middle of a character.
        let Ok(RecordData::Txt(strings)) =
            RecordData::parse("TXT", &format!("{}é{}", "x".repeat(254), "y".repeat(300)))
        else {
            panic!("is text")
        };
        assert_eq!(strings.iter().map(|string| string.len()).collect::<Vec<_>>(), [254, 255, 47]);
        assert!(strings[1].starts_with('é'));
    }
}
