//! Zones with many names, and questions for them.

use std::hint::black_box;

use gateway::{
    reference,
    zone::{Lookup, WireName, Zones},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use k8s::model::{EntryPoint, Listener, Model, Trust};

use crate::{objects::configuration, random::Random, routes};

/// To questions for zones with that many names.
pub type Make = fn(usize) -> Questions;

/// What a name may be to the zones that are asked for it.
pub const KINDS: [(&str, Make); 3] = [("served", served), ("missing", missing), ("below a wildcard", below_a_wildcard)];

/// Zones, and random names to ask them for, each as a name and as a whole query.
#[derive(Debug)]
pub struct Questions {
    zones: Zones,
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

    /// Looks all of them up and counts those that have addresses.
    pub fn look_up(&self) -> usize {
        self.names.in_turn(|name| match self.zones.lookup(name) {
            Lookup::Found { node, .. } => Some(node.v4.len()).filter(|count| *count > 0),
            Lookup::Denied { .. } | Lookup::Missing { .. } | Lookup::OutOfZone => None,
        })
    }

    /// Reads, answers and writes all of them, and counts those that have addresses.
    pub fn answer(&self) -> usize {
        self.queries.in_turn(|query| {
            let query = Message::from_vec(query).ok()?;
            let response = reference::answer(Some(&self.zones), &query)?;
            let bytes = black_box(response.to_vec().ok()?);
            (!response.answers.is_empty()).then_some(bytes.len())
        })
    }
}

/// Names with addresses of their own.
fn served(n_names: usize) -> Questions {
    let questions = questions(routes::three_prefixes(n_names), n_names, routes::host);
    assert_eq!([questions.look_up(), questions.answer()], [questions.len(); 2], "every name is served");
    questions
}

/// Names that do not exist, beside those that do.
fn missing(n_names: usize) -> Questions {
    let questions = questions(routes::three_prefixes(n_names), n_names, |number| routes::host(number + n_names));
    assert_eq!([questions.look_up(), questions.answer()], [0; 2], "no name is served");
    questions
}

/// Names two labels below a wildcard.
fn below_a_wildcard(n_names: usize) -> Questions {
    let (listener, _) = routes::wildcards(n_names);
    let questions = questions(listener, n_names, |number| format!("a.b.{}", routes::host(number)));
    assert_eq!([questions.look_up(), questions.answer()], [questions.len(); 2], "every name is served");
    questions
}

fn questions(listener: Listener, n_names: usize, name: impl Fn(usize) -> String) -> Questions {
    let zones = Zones::build(&model(listener), &configuration(), 1);
    let mut random = Random::new(2);
    let (mut names, mut queries) = (Pieces::default(), Pieces::default());
    for _ in 0..n_names.max(20_000) {
        let name = name(random.below(n_names));
        names.push(WireName::from_labels(name.split('.').map(str::as_bytes)).as_bytes());
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), RecordType::A));
        queries.push(&query.to_vec().expect("a query"));
    }
    Questions { zones, names, queries }
}

/// The LAN's door alone.
pub fn model(listener: Listener) -> Model {
    let lan = EntryPoint {
        name: "lan".into(),
        addresses: vec!["192.168.8.21".parse().expect("an address")],
        trust: Trust::default(),
        listeners: vec![listener],
    };
    Model { entry_points: vec![lan], ..Model::default() }
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
    fn in_turn(&self, ask: impl Fn(&[u8]) -> Option<usize>) -> usize {
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
