//! A query read from its bytes, or the answer to one that cannot be.

use hickory_proto::{
    op::{self, Edns, ResponseCode},
    rr::{
        DNSClass, Name, Record, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};

use crate::{
    wire::Question,
    zone::{WireName, kind},
};

pub(super) struct Query<'q> {
    pub(super) id: u16,
    pub(super) recursion_desired: bool,
    pub(super) question: Question<'q>,
    /// The question's, as the client wrote it.
    pub(super) name: Name,
    /// The same in lower case.
    pub(super) lower: WireName,
    pub(super) edns: Option<Edns>,
}

/// A message that is no query which could be answered.
pub(super) enum Unreadable {
    Drop,
    /// A header alone.
    Answer {
        header: [u8; 12],
        rcode: ResponseCode,
    },
}

impl<'q> Query<'q> {
    pub(super) fn read(message: &'q [u8]) -> Result<Self, Unreadable> {
        let Some(&[id_high, id_low, flags, _, counts @ ..]) = message.first_chunk::<12>() else {
            return Err(Unreadable::Drop);
        };
        let is_response = flags & 0x80 != 0;
        if is_response {
            return Err(Unreadable::Drop);
        }
        let answer = |rcode: ResponseCode| {
            // A response with the query's opcode and RD, and nothing else.
            let header = [id_high, id_low, 0x80 | (flags & 0x79), rcode.low(), 0, 0, 0, 0, 0, 0, 0, 0];
            Err(Unreadable::Answer { header, rcode })
        };
        if flags & 0x78 != 0 {
            // RFC 8906 section 8.1.4: whatever follows is for those who know the opcode.
            return answer(ResponseCode::NotImp);
        }
        let [questions_high, questions_low, answers_high, answers_low, authority_high, authority_low, rest @ ..] =
            counts;
        // RFC 9619: exactly one question; and nothing that only responses have.
        let has_one_question = [questions_high, questions_low] == [0, 1];
        let n_authority = u16::from_be_bytes([authority_high, authority_low]);
        if !has_one_question || [answers_high, answers_low] != [0; 2] || n_authority > 1 {
            return answer(ResponseCode::FormErr);
        }
        let Some(question) = Question::read(message) else { return answer(ResponseCode::FormErr) };
        // RFC 1995 section 3: the version that the client has.
        if n_authority == 1 && question.kind != kind::IXFR {
            return answer(ResponseCode::FormErr);
        }
        match read_rest(message, &question, n_authority, u16::from_be_bytes(rest)) {
            Some((name, edns)) => Ok(Self {
                id: u16::from_be_bytes([id_high, id_low]),
                recursion_desired: flags & 0x01 != 0,
                lower: WireName::from_wire(&question.name.to_ascii_lowercase()),
                question,
                name,
                edns,
            }),
            None => answer(ResponseCode::FormErr),
        }
    }

    pub(super) fn as_hickory(&self) -> op::Query {
        let mut query = op::Query::query(self.name.clone(), RecordType::from(self.question.kind));
        query.set_query_class(DNSClass::from(self.question.class));
        query
    }

    /// For whom a resolver asks (RFC 7871).
    pub(super) fn subnet(&self) -> Option<ClientSubnet> {
        match self.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(*subnet),
            _ => None,
        }
    }
}

/// The question's name, and the OPT record. None where something is wrong with the records, or follows them.
fn read_rest(
    message: &[u8],
    question: &Question<'_>,
    n_authority: u16,
    n_additional: u16,
) -> Option<(Name, Option<Edns>)> {
    let mut decoder = BinDecoder::new(message);
    decoder.read_slice(12).ok()?;
    let name = Name::read(&mut decoder).ok()?;
    decoder.read_slice(question.end.checked_sub(decoder.index())?).ok()?;
    for _ in 0..n_authority {
        Record::read(&mut decoder).ok()?;
    }
    // An OPT record and a signature; with thousands, each would be read with care, and to no end.
    if n_additional > 2 {
        return None;
    }
    let mut edns = None;
    for _ in 0..n_additional {
        let start = decoder.index();
        // What the options of another version mean is not known.
        if let Some([0, 0, 41, size_high, size_low, _, version, flags, _, high, low]) =
            message.get(start..start + OPT_HEADER)
            && *version > 0
            && edns.is_none()
        {
            decoder.read_slice(OPT_HEADER + usize::from(u16::from_be_bytes([*high, *low]))).ok()?;
            let read = edns.get_or_insert_with(Edns::new);
            read.set_version(*version).set_dnssec_ok(flags & 0x80 != 0);
            read.set_max_payload(u16::from_be_bytes([*size_high, *size_low]));
            continue;
        }
        let record = Record::read(&mut decoder).ok()?;
        if record.record_type() == RecordType::OPT {
            // RFC 6891 section 6.1.1: one, whose owner is the root.
            let is_right = edns.is_none() && record.name.is_root();
            if !is_right || !are_options(message.get(start + OPT_HEADER..decoder.index())?) {
                return None;
            }
            edns = Some(Edns::from(&record));
        }
    }
    decoder.is_empty().then_some((name, edns))
}

/// Before the options: the root, type, size, extended code, version and flags, length.
const OPT_HEADER: usize = 11;

/// Whether the options (RFC 6891 section 6.1.2) end where the record does, which hickory does not look at.
fn are_options(data: &[u8]) -> bool {
    let mut rest = data;
    while let [_, _, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match tail.split_at_checked(length) {
            Some((option, _)) if [rest.first(), rest.get(1)] == [Some(&0), Some(&8)] && !is_subnet(option) => {
                return false;
            }
            Some((_, tail)) => rest = tail,
            None => return false,
        }
    }
    rest.is_empty()
}

/// RFC 7871 section 6: as many bytes as the prefix needs, nothing set beyond it, and no scope in a query.
fn is_subnet(option: &[u8]) -> bool {
    let &[0, family, prefix, 0, ref address @ ..] = option else { return false };
    let most = match family {
        1 => 32,
        2 => 128,
        _ => return false,
    };
    let beyond = prefix.wrapping_neg() & 7;
    let is_clean = address.last().is_none_or(|last| last.trailing_zeros() >= u32::from(beyond));
    prefix <= most && address.len() == usize::from(prefix.div_ceil(8)) && is_clean
}
