//! Responses in a form in which they can be compared, and in which two of them differ.

use std::{collections::BTreeSet, fmt};

use hickory_proto::{
    op::Message,
    rr::{Record, RecordType},
};

use super::query::{
    AUTHENTIC_DATA, AUTHORITATIVE, CHECKING_DISABLED, Query, RECURSION_AVAILABLE, RECURSION_DESIRED, RESERVED,
    TRUNCATED,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Message(Said),
    Silence,
    /// Why it is no message.
    Unreadable(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) rcode: u16,
    pub(crate) opcode: u16,
    /// Without opcode and rcode.
    pub(crate) flags: u16,
    pub(crate) question: Echo,
    pub(crate) answers: BTreeSet<String>,
    pub(crate) authorities: BTreeSet<String>,
    pub(crate) additionals: BTreeSet<String>,
    /// Version, and whether DO is set.
    pub(crate) edns: Option<(u8, bool)>,
    pub(crate) length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Echo {
    #[default]
    None,
    /// Byte by byte.
    Exact,
    Other,
}

/// Where responses may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Additionals,
    Answers,
    Authorities,
    Edns,
    Flag(&'static str),
    Opcode,
    Question,
    Rcode,
    /// One says nothing, or nothing that can be read.
    Silence,
}

const FLAGS: [(u16, &str); 7] = [
    (AUTHORITATIVE, "aa"),
    (TRUNCATED, "tc"),
    (RECURSION_DESIRED, "rd"),
    (RECURSION_AVAILABLE, "ra"),
    (RESERVED, "z"),
    (AUTHENTIC_DATA, "ad"),
    (CHECKING_DISABLED, "cd"),
];

impl Response {
    pub(crate) fn read(query: &Query, bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::Silence };
        match Message::from_vec(bytes) {
            Ok(message) => Self::Message(Said::read(query, bytes, &message)),
            Err(error) => Self::Unreadable(format!("{error}: {}", bytes.escape_ascii())),
        }
    }

    pub(crate) fn said(&self) -> Option<&Said> {
        match self {
            Self::Message(said) => Some(said),
            Self::Silence | Self::Unreadable(_) => None,
        }
    }

    pub(crate) fn differences(&self, other: &Self) -> Vec<Part> {
        let (one, other) = match (self, other) {
            (Self::Message(one), Self::Message(other)) => (one, other),
            (one, other) if one == other => return Vec::new(),
            _ => return vec![Part::Silence],
        };
        let mut parts: Vec<Part> = [
            (one.rcode != other.rcode, Part::Rcode),
            (one.opcode != other.opcode, Part::Opcode),
            (one.question != other.question, Part::Question),
            (one.answers != other.answers, Part::Answers),
            (one.authorities != other.authorities, Part::Authorities),
            (one.additionals != other.additionals, Part::Additionals),
            (one.edns != other.edns, Part::Edns),
        ]
        .into_iter()
        .filter_map(|(differs, part)| differs.then_some(part))
        .collect();
        let changed = one.flags ^ other.flags;
        parts.extend(FLAGS.iter().filter(|(flag, _)| changed & flag != 0).map(|(_, name)| Part::Flag(name)));
        parts
    }
}

impl Said {
    fn read(query: &Query, bytes: &[u8], message: &Message) -> Self {
        let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
        let question = query.question();
        let question = match message.queries.len() {
            0 => Echo::None,
            1 if bytes.get(12..12 + question.len()) == Some(&question) => Echo::Exact,
            _ => Echo::Other,
        };
        Self {
            rcode: message.metadata.response_code.into(),
            opcode: flags >> 11 & 15,
            flags: flags & 0x07f0,
            question,
            answers: set(&message.answers),
            authorities: set(&message.authorities),
            additionals: set(&message.additionals),
            edns: message.edns.as_ref().map(|edns| (edns.version(), edns.flags().dnssec_ok)),
            length: bytes.len(),
        }
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Names are the same in any case (RFC 4343); texts are not.
fn set(records: &[Record]) -> BTreeSet<String> {
    let text = |record: &Record| {
        let Record { name, dns_class, ttl, data, .. } = record;
        let kind = record.record_type();
        let data = if kind == RecordType::TXT { data.to_string() } else { data.to_string().to_lowercase() };
        format!("{} {ttl} {dns_class} {kind} {data}", name.to_lowercase())
    };
    records.iter().map(text).collect()
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match self {
            Self::Message(said) => said,
            Self::Silence => return f.write_str("nothing"),
            Self::Unreadable(why) => return f.write_str(why),
        };
        write!(f, "rcode {}", said.rcode)?;
        for (_, name) in FLAGS.iter().filter(|(flag, _)| said.has(*flag)) {
            write!(f, " {name}")?;
        }
        write!(f, ", question {:?}", said.question)?;
        if let Some((version, dnssec_ok)) = said.edns {
            write!(f, ", EDNS {version}{}", if dnssec_ok { " do" } else { "" })?;
        }
        for (name, records) in
            [("answer", &said.answers), ("authority", &said.authorities), ("additional", &said.additionals)]
        {
            for record in records.iter().take(4) {
                write!(f, "\n      {name}: {record}")?;
            }
            if records.len() > 4 {
                write!(f, "\n      … {} in all", records.len())?;
            }
        }
        Ok(())
    }
}
