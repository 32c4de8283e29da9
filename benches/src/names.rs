//! Zones with many names, and questions for them.

use std::{hint::black_box, net::IpAddr, time::Instant};

use arc_swap::{ArcSwap, Cache};
use gateway::{
    reference::{self, Outcome, Policy, Transport},
    view::Views,
    wire::{self, UDP_PAYLOAD},
    zone::{Lookup, WireName, kind},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use k8s::model::{ClaimedAnswer, HostPattern, Labels, NameClaim, ObjectName};

use crate::{objects::configuration, random::Random, routes::host};

/// To questions for zones with that many names.
pub type Make = fn(usize) -> Questions;

/// What a name may be to the zones that are asked for it.
pub const KINDS: [(&str, Make); 3] = [("served", served), ("missing", missing), ("below a wildcard", below_a_wildcard)];

/// Zones, and random names to ask them for, each as a name and as a whole query.
#[derive(Debug)]
pub struct Questions {
    views: Views,
    names: Pieces,
    queries: Pieces,
}

impl Questions {
    pub fn len(&self) -> usize {
        self.names.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn counts(&self) -> [usize; 3] {
        [self.look_up(), self.answer(), self.answer_by_reference()]
    }

    /// Looks all of them up and counts those that have addresses.
    pub fn look_up(&self) -> usize {
        let zones = self.views.default_zones();
        self.names.in_turn(|name| match zones.lookup(name) {
            Lookup::Found { node, .. } => node.rrset(kind::A).map(|rrset| rrset.data.len()),
            Lookup::Denied { .. } | Lookup::Missing { .. } | Lookup::OutOfZone => None,
        })
    }

    /// Reads, answers and writes all of them on the common path, and counts those that have addresses.
    pub fn answer(&self) -> usize {
        let zones = self.views.default_zones();
        let mut out = [0; UDP_PAYLOAD];
        self.queries.in_turn(|query| {
            let answered = wire::answer(zones, query, &mut out).expect("a common query");
            let n_answers = black_box(&out)[7];
            (n_answers > 0).then_some(answered.length)
        })
    }

    /// Answers all of them, each on the zones that are in `shared` then, and gives the nanoseconds that each took, sorted.
    pub fn answer_shared(&self, shared: &ArcSwap<Views>) -> Vec<u64> {
        let (mut views, mut out) = (Cache::new(shared), [0; UDP_PAYLOAD]);
        let mut took = Vec::with_capacity(self.len());
        self.queries.in_turn(|query| {
            let started = Instant::now();
            let answered = wire::answer(views.load().default_zones(), query, &mut out).expect("a common query");
            took.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            Some(answered.length)
        });
        took.sort_unstable();
        took
    }

    /// The same by way of hickory-proto.
    pub fn answer_by_reference(&self) -> usize {
        let (policy, client) = (Policy::default(), IpAddr::from([127, 0, 0, 1]));
        self.queries.in_turn(|query| {
            match reference::respond(Some(&self.views), &policy, query, client, Transport::Udp) {
                Outcome::Answer(answer) => (black_box(&answer.bytes)[7] > 0).then_some(answer.bytes.len()),
                Outcome::Dropped | Outcome::Forward(_) => None,
            }
        })
    }
}

/// Names with addresses of their own.
fn served(n_names: usize) -> Questions {
    let questions = questions(&claims(n_names, host), n_names, host);
    assert_eq!(questions.counts(), [questions.len(); 3], "every name is served");
    questions
}

/// Names that do not exist, beside those that do.
fn missing(n_names: usize) -> Questions {
    let questions = questions(&claims(n_names, host), n_names, |number| host(number + n_names));
    assert_eq!(questions.counts(), [0; 3], "no name is served");
    questions
}

/// Names two labels below a wildcard.
fn below_a_wildcard(n_names: usize) -> Questions {
    let wildcards = claims(n_names, |number| format!("*.{}", host(number)));
    let questions = questions(&wildcards, n_names, |number| format!("a.b.{}", host(number)));
    assert_eq!(questions.counts(), [questions.len(); 3], "every name is served");
    questions
}

fn questions(claims: &[NameClaim], n_names: usize, name: impl Fn(usize) -> String) -> Questions {
    let views = Views::build(claims.to_vec(), &configuration(), 1);
    let mut random = Random::new(2);
    let (mut names, mut queries) = (Pieces::default(), Pieces::default());
    for _ in 0..n_names.max(20_000) {
        let name = name(random.below(n_names));
        names.push(WireName::from_text(&name).as_bytes());
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), RecordType::A));
        queries.push(&query.to_vec().expect("a query"));
    }
    Questions { views, names, queries }
}

/// One Ingress for each name, at the LAN's door.
pub fn claims(n_names: usize, name: impl Fn(usize) -> String) -> Vec<NameClaim> {
    let claim = |number| NameClaim {
        name: HostPattern::parse(&name(number), Labels::OneOrMore).expect("a pattern"),
        object: ObjectName::new("Ingress", "default", &format!("app-{number}")),
        ttl: None,
        answer: ClaimedAnswer::EntryPoint {
            name: "lan".into(),
            addresses: [IpAddr::from([192, 168, 8, 21])].into(),
            https: false,
        },
    };
    (0..n_names).map(claim).collect()
}

/// Questions, one after another in memory.
#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Pieces {
    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.lengths.push(piece.len());
    }

    /// Counts the answers. Each question begins where the answer to the one before it says, as with
    /// [`Requests`](crate::requests::Requests): otherwise the processor works on several at once. (With names that
    /// are missing it does: a branch says so, and the processor foresees it.)
    fn in_turn(&self, mut ask: impl FnMut(&[u8]) -> Option<usize>) -> usize {
        let mut start = 0;
        let mut found = 0;
        for length in &self.lengths {
            let end = start + length;
            let answer = ask(&self.bytes[start..end]);
            found += usize::from(answer.is_some());
            // No answer has 2^31 of anything.
            start = end + answer.map_or(0, |count| count >> 31);
        }
        found
    }
}
