//! Where we differ from Knot or NSD for a reason: each reason once, and as narrow as it is.

use std::collections::BTreeSet;

use super::{
    description::ZONES,
    query::{
        ANY, AUTHORITATIVE, AXFR, CHAOS, CHECKING_DISABLED, IN, IXFR, MX, NSEC, NSEC3, Oddity, Query,
        RECURSION_AVAILABLE, RESERVED, RRSIG, SRV, TRUNCATED, TXT,
    },
    response::{Echo, Part, Response, Said},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Knot,
    Nsd,
}

/// One query and two responses to it.
pub(crate) struct Case<'a> {
    pub(crate) query: &'a Query,
    pub(crate) ours: &'a Response,
    pub(crate) peer: Peer,
    pub(crate) theirs: &'a Response,
}

pub(crate) struct Explanation {
    /// What is different, and why it may be.
    pub(crate) why: &'static str,
    /// What of a response it explains, and of which.
    pub(crate) parts: &'static [Part],
    pub(crate) holds: fn(&Case<'_>) -> bool,
}

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;
const BADVERS: u16 = 16;

const QUERY: u16 = 0;
const EVERY_CLASS: u16 = 255;

const EVERYTHING: &[Part] = &[
    Part::Additionals,
    Part::Answers,
    Part::Authorities,
    Part::Edns,
    Part::Flag("aa"),
    Part::Flag("tc"),
    Part::Question,
    Part::Rcode,
];

impl Case<'_> {
    /// Both say something, and these are the rcodes.
    fn rcodes(&self, ours: &[u16], theirs: &[u16]) -> bool {
        let is_one_of =
            |response: &Response, codes: &[u16]| response.said().is_some_and(|it| codes.contains(&it.rcode));
        is_one_of(self.ours, ours) && is_one_of(self.theirs, theirs)
    }

    fn has(&self, oddities: &[Oddity]) -> bool {
        self.query.oddity.is_some_and(|its| oddities.contains(&its))
    }

    fn both(&self, holds: fn(&Said) -> bool) -> bool {
        [self.ours, self.theirs].iter().all(|response| response.said().is_some_and(holds))
    }
}

pub(crate) const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        why: "single labels and private reverse zones: we deny them (RFC 6303), or have nothing there where a zone of ours lies below, as Pi-hole sends them to nobody else",
        parts: &[Part::Rcode, Part::Authorities, Part::Flag("aa")],
        holds: |case| !case.query.is_in_zone() && case.rcodes(&[NOERROR, NXDOMAIN], &[REFUSED]),
    },
    Explanation {
        why: "AXFR and IXFR: we refuse them everywhere (RFC 5936 section 2.2.1); over UDP there is no AXFR, and a zone is transferred at its apex only",
        parts: &[Part::Rcode, Part::Answers, Part::Authorities, Part::Flag("aa"), Part::Flag("tc")],
        holds: |case| [AXFR, IXFR].contains(&case.query.kind) && case.rcodes(&[REFUSED], &[NOERROR, NOTIMP, NOTAUTH]),
    },
    Explanation {
        why: "NOTIFY and UPDATE: we have neither (NOTIMP, RFC 8906 section 3.1.4); they have both, for others than us",
        parts: &[Part::Rcode],
        holds: |case| {
            [4, 5].contains(&case.query.opcode()) && case.rcodes(&[NOTIMP], &[FORMERR, NXDOMAIN, REFUSED, NOTAUTH])
        },
    },
    Explanation {
        why: "NSD: errors are limited to some a second, whoever asks",
        parts: &[Part::Silence],
        holds: |case| {
            case.peer == Peer::Nsd
                && *case.theirs == Response::Silence
                && (case.query.opcode() != QUERY || !is_served(case.query.class) || case.query.oddity.is_some())
        },
    },
    Explanation {
        why: "NSD: another opcode or class is answered with a header alone, or without OPT",
        parts: &[Part::Question, Part::Edns],
        holds: |case| {
            case.peer == Peer::Nsd
                && (case.query.opcode() != QUERY || !is_served(case.query.class))
                && case.theirs.said().is_some_and(|said| said.question == Echo::None)
        },
    },
    Explanation {
        why: "NSD: errors have the query's flags; all but RD are the server's to set (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6)",
        parts: &[Part::Flag("aa"), Part::Flag("cd"), Part::Flag("ra"), Part::Flag("tc"), Part::Flag("z")],
        holds: |case| {
            let flags = AUTHORITATIVE | CHECKING_DISABLED | RECURSION_AVAILABLE | RESERVED | TRUNCATED;
            let theirs = case.theirs.said();
            case.peer == Peer::Nsd
                && theirs.is_some_and(|said| said.rcode != NOERROR && said.flags & flags == case.query.flags & flags)
                && case.ours.said().is_some_and(|said| !said.has(flags))
        },
    },
    Explanation {
        why: "NSD: BADVERS is said without DO; it is copied (RFC 3225 section 3)",
        parts: &[Part::Edns],
        holds: |case| case.peer == Peer::Nsd && case.rcodes(&[BADVERS], &[BADVERS]),
    },
    Explanation {
        why: "another opcode and another version of EDNS: which of the two is told is free",
        parts: &[Part::Rcode],
        holds: |case| case.query.opcode() != QUERY && case.rcodes(&[NOTIMP], &[BADVERS]),
    },
    Explanation {
        why: "type 0: reserved, and not implemented to Knot; to us it is a type that no name has (RFC 8906 section 3.1.2)",
        parts: &[Part::Rcode, Part::Answers, Part::Authorities, Part::Flag("aa")],
        holds: |case| {
            case.peer == Peer::Knot && case.query.kind == 0 && case.rcodes(&[NOERROR, NXDOMAIN, REFUSED], &[NOTIMP])
        },
    },
    Explanation {
        why: "class CHAOS: who serves is not the same (RFC 4892), each knows some of the names, and authority means nothing there",
        parts: &[Part::Rcode, Part::Answers, Part::Flag("aa")],
        holds: |case| {
            case.query.class == CHAOS && case.query.kind == TXT && case.rcodes(&[NOERROR, REFUSED], &[NOERROR, REFUSED])
        },
    },
    Explanation {
        why: "another opcode: NOTIMP is a header alone, as what may follow it is not defined (RFC 8906 section 3.1.4)",
        parts: &[Part::Question, Part::Edns],
        holds: |case| {
            let is_header = |said: &Said| said.rcode == NOTIMP && said.question == Echo::None && said.edns.is_none();
            case.query.opcode() != QUERY && case.ours.said().is_some_and(is_header)
        },
    },
    Explanation {
        why: "class ANY: to them it is IN; we refuse it, as its answer could not be authoritative (RFC 1035 section 6.2)",
        parts: &[Part::Rcode, Part::Answers, Part::Authorities, Part::Additionals, Part::Flag("aa"), Part::Flag("tc")],
        holds: |case| case.query.class == EVERY_CLASS && case.rcodes(&[REFUSED], &[NOERROR, NXDOMAIN]),
    },
    Explanation {
        why: "ANY: one RRset is answered, and which one is free (RFC 8482 section 4.1)",
        parts: &[Part::Answers, Part::Additionals, Part::Flag("tc")],
        holds: |case| {
            case.query.kind == ANY
                && case.rcodes(&[NOERROR], &[NOERROR])
                && case.both(|said| said.has(TRUNCATED) || is_one_rrset(said))
        },
    },
    Explanation {
        why: "a truncated answer: how much of it is sent does not matter, as it is not to be used (RFC 2181 section 9)",
        parts: &[Part::Answers],
        holds: |case| case.both(|said| said.has(TRUNCATED)),
    },
    Explanation {
        why: "MX and SRV: the targets' addresses are a favour (RFC 1034 section 3.7), which NSD does with full responses only",
        parts: &[Part::Additionals],
        holds: |case| {
            case.peer == Peer::Nsd && [MX, SRV].contains(&case.query.kind) && case.rcodes(&[NOERROR], &[NOERROR])
        },
    },
    Explanation {
        why: "a CNAME into another of the zones: NSD goes on there, and Knot leaves that to the client; both is right (RFC 1034 section 4.3.2)",
        parts: &[Part::Answers, Part::Authorities, Part::Rcode],
        holds: |case| {
            [case.ours, case.theirs]
                .iter()
                .filter_map(|response| response.said())
                .any(|said| said.answers.iter().any(|record| record.contains(" CNAME ") && crosses_zones(record)))
        },
    },
    Explanation {
        why: "RRSIG and NSEC (Knot) and NSEC3 (NSD): they follow no CNAME for what may stand beside one (RFC 4035 section 2.5); unsigned, none does",
        parts: &[Part::Answers, Part::Authorities, Part::Rcode],
        holds: |case| {
            let kinds: &[u16] = if case.peer == Peer::Knot { &[RRSIG, NSEC] } else { &[NSEC3] };
            let is_alias = |said: &Said| said.answers.iter().any(|record| record.contains(" CNAME "));
            kinds.contains(&case.query.kind)
                && case.ours.said().is_some_and(is_alias)
                && case.theirs.said().is_some_and(|said| said.rcode == NOERROR && !is_alias(said))
        },
    },
    Explanation {
        why: "Knot: what has not exactly one whole question is dropped; it is a FORMERR (RFC 9619 section 4)",
        parts: &[Part::Silence],
        holds: |case| {
            case.peer == Peer::Knot
                && case.has(&[Oddity::CutShort, Oddity::HeaderAlone, Oddity::NoQuestion, Oddity::TwoQuestions])
                && *case.theirs == Response::Silence
                && case.ours.said().is_some_and(|said| said.rcode == FORMERR)
        },
    },
    Explanation {
        why: "NSD: no question at all gets NOERROR, as with RFC 7873 section 5.4; we have no cookies to give (FORMERR)",
        parts: &[Part::Rcode, Part::Edns],
        holds: |case| case.peer == Peer::Nsd && case.has(&[Oddity::NoQuestion]) && case.rcodes(&[FORMERR], &[NOERROR]),
    },
    Explanation {
        why: "records in a query, bytes after it, an OPT with a name: we take none of them for a query (FORMERR); one or the other peer answers",
        parts: EVERYTHING,
        holds: |case| {
            case.has(&[Oddity::AnswerInQuery, Oddity::AuthorityInQuery, Oddity::NamedOpt, Oddity::TrailingBytes])
                && case.rcodes(&[FORMERR], &[NOERROR, NXDOMAIN, REFUSED, NOTIMP, BADVERS, NOTAUTH])
        },
    },
    Explanation {
        why: "FORMERR: what else is in it does not matter to who gets it",
        parts: &[Part::Question, Part::Edns],
        holds: |case| case.rcodes(&[FORMERR], &[FORMERR]),
    },
    Explanation {
        why: "NSD: FORMERR for two questions has no RD; it is copied (RFC 1035 section 4.1.1)",
        parts: &[Part::Flag("rd")],
        holds: |case| {
            case.peer == Peer::Nsd && case.has(&[Oddity::TwoQuestions]) && case.rcodes(&[FORMERR], &[FORMERR])
        },
    },
];

/// By somebody, in some way.
fn is_served(class: u16) -> bool {
    [IN, CHAOS, EVERY_CLASS].contains(&class)
}

/// Whether a CNAME's owner and target are in different zones of ours.
fn crosses_zones(record: &str) -> bool {
    let zone = |name: &str| ZONES.iter().find(|zone| name.trim_end_matches('.').ends_with(*zone));
    let owner = record.split(' ').next().and_then(zone);
    let target = record.rsplit(' ').next().and_then(zone);
    target.is_some() && owner != target
}

fn is_one_rrset(said: &Said) -> bool {
    // Owner, TTL, class and type.
    let kinds = said.answers.iter().map(|record| record.splitn(5, ' ').take(4).collect::<Vec<_>>());
    kinds.collect::<BTreeSet<_>>().len() <= 1
}
