//! Queries by the thousand, the same in every run: what is asked every day, and what nobody should ever ask.

use std::fmt;

use super::description;

pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const SOA: u16 = 6;
pub(crate) const MX: u16 = 15;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const OPT: u16 = 41;
pub(crate) const RRSIG: u16 = 46;
pub(crate) const NSEC: u16 = 47;
pub(crate) const NSEC3: u16 = 50;
pub(crate) const IXFR: u16 = 251;
pub(crate) const AXFR: u16 = 252;
pub(crate) const ANY: u16 = 255;

pub(crate) const IN: u16 = 1;
pub(crate) const CHAOS: u16 = 3;

/// By weight. The last ones are: metatypes, what is obsolete, what is private, what is reserved.
const KINDS: &[(u16, usize)] = &[
    (A, 250),
    (AAAA, 150),
    (65, 80),
    (64, 20),
    (TXT, 50),
    (MX, 40),
    (SRV, 40),
    (5, 40),
    (NS, 50),
    (SOA, 50),
    (43, 50),
    (48, 20),
    (257, 30),
    (ANY, 40),
    (12, 20),
    (39, 10),
    (RRSIG, 10),
    (NSEC, 10),
    (NSEC3, 10),
    (35, 10),
    (0, 10),
    (OPT, 10),
    (AXFR, 10),
    (IXFR, 10),
    (249, 5),
    (250, 5),
    (253, 5),
    (254, 5),
    (10, 5),
    (13, 5),
    (99, 5),
    (65_280, 15),
    (65_535, 5),
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) id: u16,
    /// From the header, as it is sent.
    pub(crate) flags: u16,
    pub(crate) name: Vec<Vec<u8>>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) edns: Option<Edns>,
    pub(crate) oddity: Option<Oddity>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Edns {
    pub(crate) version: u8,
    pub(crate) payload: u16,
    /// DO is the highest one.
    pub(crate) flags: u16,
    pub(crate) options: Vec<(u16, Vec<u8>)>,
}

/// What makes a query none, or one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    AnswerInQuery,
    AuthorityInQuery,
    CutShort,
    HeaderAlone,
    NamedOpt,
    NoQuestion,
    Response,
    TrailingBytes,
    TwoOpts,
    TwoQuestions,
}

const ODDITIES: [Oddity; 10] = [
    Oddity::AnswerInQuery,
    Oddity::AuthorityInQuery,
    Oddity::CutShort,
    Oddity::HeaderAlone,
    Oddity::NamedOpt,
    Oddity::NoQuestion,
    Oddity::Response,
    Oddity::TrailingBytes,
    Oddity::TwoOpts,
    Oddity::TwoQuestions,
];

pub(crate) const RESPONSE: u16 = 0x8000;
pub(crate) const AUTHORITATIVE: u16 = 0x0400;
pub(crate) const TRUNCATED: u16 = 0x0200;
pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
pub(crate) const RESERVED: u16 = 0x0040;
pub(crate) const AUTHENTIC_DATA: u16 = 0x0020;
pub(crate) const CHECKING_DISABLED: u16 = 0x0010;

impl Query {
    pub(crate) fn opcode(&self) -> u16 {
        self.flags >> 11 & 15
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let odd = |oddity| self.oddity == Some(oddity);
        let n_questions = match self.oddity {
            Some(Oddity::NoQuestion) => 0,
            Some(Oddity::TwoQuestions) => 2,
            _ => 1,
        };
        let n_opts = if odd(Oddity::TwoOpts) { 2 } else { u16::from(self.edns.is_some()) };
        let counts =
            [n_questions, u16::from(odd(Oddity::AnswerInQuery)), u16::from(odd(Oddity::AuthorityInQuery)), n_opts];
        let mut bytes = Vec::new();
        for number in [self.id, self.flags].iter().chain(&counts) {
            bytes.extend(number.to_be_bytes());
        }
        if odd(Oddity::HeaderAlone) {
            return bytes;
        }
        for _ in 0..n_questions {
            bytes.extend(self.question());
        }
        if odd(Oddity::AnswerInQuery) || odd(Oddity::AuthorityInQuery) {
            // An A record whose owner is the question's name.
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1]);
        }
        let opt = self.edns.clone().unwrap_or_default().to_bytes();
        for _ in 0..n_opts {
            if odd(Oddity::NamedOpt) {
                bytes.extend([1, b'a']);
            }
            bytes.extend(&opt);
        }
        if odd(Oddity::TrailingBytes) {
            bytes.extend([1, 2, 3]);
        }
        if odd(Oddity::CutShort) {
            // In the middle of the question: there is no more of it than the header, the root and a byte.
            bytes.truncate(14);
        }
        bytes
    }

    /// As it is sent, and as it has to be sent back.
    pub(crate) fn question(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in &self.name {
            bytes.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.class.to_be_bytes());
        bytes
    }

    /// The name in lower case, for reading and comparing.
    fn lower_name(&self) -> String {
        let labels: Vec<String> =
            self.name.iter().map(|label| label.to_ascii_lowercase().escape_ascii().to_string()).collect();
        labels.join(".")
    }

    pub(crate) fn is_in_zone(&self) -> bool {
        let name = format!(".{}", self.lower_name());
        description::ZONES.iter().any(|zone| name.ends_with(&format!(".{zone}")))
    }
}

impl Edns {
    fn to_bytes(&self) -> Vec<u8> {
        let options: Vec<u8> = self
            .options
            .iter()
            .flat_map(|(code, data)| {
                let length = u16::try_from(data.len()).expect("short options");
                [&code.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
            })
            .collect();
        let mut bytes = vec![0, 0, 41];
        bytes.extend(self.payload.to_be_bytes());
        bytes.extend([0, self.version]);
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(u16::try_from(options.len()).expect("few options").to_be_bytes());
        bytes.extend(options);
        bytes
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: Vec<String> = self.name.iter().map(|label| label.escape_ascii().to_string()).collect();
        write!(f, "{}. class {} type {}, opcode {}, flags", name.join("."), self.class, self.kind, self.opcode())?;
        for (flag, name) in [
            (RESPONSE, "qr"),
            (AUTHORITATIVE, "aa"),
            (TRUNCATED, "tc"),
            (RECURSION_DESIRED, "rd"),
            (RECURSION_AVAILABLE, "ra"),
            (RESERVED, "z"),
            (AUTHENTIC_DATA, "ad"),
            (CHECKING_DISABLED, "cd"),
        ] {
            if self.flags & flag != 0 {
                write!(f, " {name}")?;
            }
        }
        if let Some(Edns { version, payload, flags, options }) = &self.edns {
            write!(f, ", EDNS {version} of {payload} bytes, flags {flags:#06x}, options {options:?}")?;
        }
        if let Some(oddity) = self.oddity {
            write!(f, ", {oddity:?}")?;
        }
        Ok(())
    }
}

pub(crate) fn queries(count: u16) -> Vec<Query> {
    let mut make = Make { random: Random(2026), owners: description::owners() };
    (0..count).map(|id| make.query(id)).collect()
}

struct Make {
    random: Random,
    owners: Vec<String>,
}

impl Make {
    fn query(&mut self, id: u16) -> Query {
        let mut query = Query { id, name: self.name(), kind: self.kind(), class: IN, ..Query::default() };
        match self.random.below(100) {
            0..4 => self.other_class(&mut query),
            4..8 => query.flags |= self.random.of(&[1_u16, 2, 3, 4, 4, 5, 5, 6, 7, 15]) << 11,
            _ => {}
        }
        for (flag, percent) in [
            (RECURSION_DESIRED, 50),
            (AUTHENTIC_DATA, 20),
            (CHECKING_DISABLED, 20),
            (AUTHORITATIVE, 2),
            (TRUNCATED, 2),
            (RECURSION_AVAILABLE, 2),
            (RESERVED, 2),
        ] {
            if self.random.percent(percent) {
                query.flags |= flag;
            }
        }
        if self.random.percent(65) {
            query.edns = Some(self.edns());
        }
        // One thing at a time: which of two wrong ones is told is nobody's business.
        if query.class == IN && query.opcode() == 0 && self.random.percent(1) {
            self.make_odd(&mut query);
        }
        query
    }

    fn other_class(&mut self, query: &mut Query) {
        query.class = self.random.of(&[CHAOS, CHAOS, 4, 254, 255, 0, 65_280]);
        if query.class == CHAOS && self.random.percent(50) {
            query.name = labels(self.random.of(&[
                "version.bind",
                "id.server",
                "hostname.bind",
                "version.server",
                "authors.bind",
            ]));
            query.kind = TXT;
        }
    }

    fn make_odd(&mut self, query: &mut Query) {
        let oddity = self.random.of(&ODDITIES);
        query.oddity = Some(oddity);
        match oddity {
            Oddity::Response => query.flags |= RESPONSE,
            Oddity::NamedOpt | Oddity::TwoOpts => query.edns = Some(self.edns()),
            _ => {}
        }
        if let Some(edns) = &mut query.edns {
            edns.version = 0;
        }
    }

    fn kind(&mut self) -> u16 {
        let total = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut number = self.random.below(total);
        for (kind, weight) in KINDS {
            if number < *weight {
                return *kind;
            }
            number -= weight;
        }
        A
    }

    /// Of the zones, near them, or far away.
    fn name(&mut self) -> Vec<Vec<u8>> {
        let index = self.random.below(self.owners.len());
        let mut name = labels(&self.owners[index]);
        match self.random.below(100) {
            0..35 => {}
            35..50 => name.insert(0, self.label()),
            50..55 => {
                name.insert(0, self.label());
                name.insert(0, self.label());
            }
            55..60 => name.insert(0, b"*".to_vec()),
            60..75 => {
                let above = 1 + self.random.below(name.len() - 1);
                name.drain(..above.min(name.len()));
            }
            75..87 => name[0] = self.label(),
            87..90 => {
                // As long as names get.
                while name.iter().map(|label| label.len() + 1).sum::<usize>() < 190 {
                    name.insert(0, vec![b'l'; 1 + self.random.below(60)]);
                }
            }
            _ => name = self.far_away(),
        }
        // A wildcard's own label below something is a name like any other.
        if name.iter().map(|label| label.len() + 1).sum::<usize>() > 254 {
            name.drain(..1);
        }
        if self.random.percent(30) {
            for byte in name.iter_mut().flatten() {
                if self.random.percent(50) {
                    byte.make_ascii_uppercase();
                }
            }
        }
        name
    }

    fn label(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0..6 => {
                let known = self.random.of(&[
                    "grafana",
                    "a",
                    "apps",
                    "deep",
                    "media",
                    "x",
                    "y",
                    "z",
                    "ns",
                    "own",
                    "below",
                    "far",
                    "films",
                    "www",
                    "_http",
                    "_tcp",
                    "_acme-challenge",
                    "wild",
                    "of",
                    "*",
                    "pi",
                    "two",
                    "one",
                    "home",
                    "example",
                    "alias",
                ]);
                known.as_bytes().to_vec()
            }
            6..9 => (0..1 + self.random.below(12)).map(|_| b'a' + self.random.byte() % 26).collect(),
            _ => {
                let length = 1 + self.random.below(63);
                (0..length).map(|_| self.random.byte()).collect()
            }
        }
    }

    fn far_away(&mut self) -> Vec<Vec<u8>> {
        let name = self.random.of(&[
            "",
            "",
            "example",
            "org",
            "nas",
            "example.org",
            "www.example.org",
            "home.example.org",
            "xhome.example",
            "example.home",
            "21.8.168.192.in-addr.arpa",
            "168.192.in-addr.arpa",
            "1.0.0.10.in-addr.arpa",
            "1.1.20.172.in-addr.arpa",
            "1.1.40.172.in-addr.arpa",
            "8.8.8.8.in-addr.arpa",
            "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            "in-addr.arpa",
            "localhost",
            "version.bind",
        ]);
        labels(name)
    }

    fn edns(&mut self) -> Edns {
        let mut edns = Edns { payload: 1232, ..Edns::default() };
        if self.random.percent(40) {
            edns.payload = self.random.of(&[0, 100, 512, 513, 600, 800, 1231, 1233, 1400, 4096, 65_535]);
        }
        if self.random.percent(4) {
            edns.version = self.random.of(&[1, 1, 2, 255]);
        }
        if self.random.percent(25) {
            edns.flags |= 0x8000;
        }
        if self.random.percent(3) {
            edns.flags |= self.random.of(&[1, 0x4000, 0x7fff]);
        }
        while edns.options.len() < 3 && self.random.percent(20) {
            let unknown = self.random.of(&[6, 20, 100, 65_001, 65_535]);
            let length = self.random.below(9);
            let option = self.random.of(&[
                // Unknown ones, NSID, Client Subnet, COOKIE of a client, keep-alive and padding.
                (unknown, vec![7; length]),
                (3, vec![]),
                (8, vec![0, 1, 24, 0, 192, 168, 8]),
                (10, vec![1, 2, 3, 4, 5, 6, 7, 8]),
                (11, vec![]),
                (12, vec![0; 8]),
            ]);
            edns.options.push(option);
        }
        edns
    }
}

fn labels(name: &str) -> Vec<Vec<u8>> {
    name.split('.').filter(|label| !label.is_empty()).map(|label| label.as_bytes().to_vec()).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        (self.number() >> 56) as u8
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}
