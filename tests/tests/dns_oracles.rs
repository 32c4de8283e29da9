//! `gateway` beside Knot and NSD: the same zones, fifty thousand queries, and a reason for every difference.

#![allow(clippy::print_stdout, reason = "how often each explanation was needed is worth reading")]

#[path = "dns_oracles/description.rs"]
mod description;
#[path = "dns_oracles/explained.rs"]
mod explained;
#[path = "dns_oracles/query.rs"]
mod query;
#[path = "dns_oracles/response.rs"]
mod response;
#[path = "dns_oracles/server.rs"]
mod server;

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, thread};

use hickory_proto::op::Message;
use tests::{Home, home::DNS};

use self::{
    explained::{Case, EXPLANATIONS, Peer},
    query::{NS, Query},
    response::{Part, Response},
};

const N_QUERIES: u16 = 50_000;
/// Of the differences without a reason; one is enough, and twenty are too many to read.
const SHOWN: usize = 20;

#[test]
fn every_difference_to_knot_and_nsd_has_a_reason() {
    let home = Home::new();
    description::give_to(&home);
    let _gateway = home.start("gateway");
    let own = home.socket(22, DNS);
    let zones = description::ZONES.map(|zone| (zone, description::zone_file(zone, &apex(own, zone))));
    let (knot, nsd) = (home.socket(31, DNS), home.socket(32, DNS));
    let _knot = server::knot(&home, knot, &zones);
    let _nsd = server::nsd(&home, nsd, &zones);

    let queries = &query::queries(N_QUERIES);
    let [ours, knots, nsds] = thread::scope(|scope| {
        [own, knot, nsd]
            .map(|address| scope.spawn(move || responses(address, queries)))
            .map(|thread| thread.join().expect("every query is asked"))
    });

    let mut report = Report::default();
    for (index, query) in queries.iter().enumerate() {
        let length = ours[index].said().map_or(0, |said| said.length);
        assert!(length <= longest(query), "{length} bytes for {query}");
        for (peer, theirs) in [(Peer::Knot, &knots), (Peer::Nsd, &nsds)] {
            report.compare(&Case { query, ours: &ours[index], peer, theirs: &theirs[index] });
        }
    }
    report.conclude();
}

/// What the client takes, and never more than any path does.
fn longest(query: &Query) -> usize {
    query.edns.as_ref().map_or(512, |edns| usize::from(edns.payload).clamp(512, 1232))
}

/// The SOA, the name server and its addresses, as `gateway` says them.
fn apex(gateway: SocketAddr, zone: &str) -> Vec<String> {
    let soa = server::soa_query(zone);
    let name_server = Query { id: 1, kind: NS, ..soa.clone() };
    let messages = server::ask(gateway, &[soa, name_server]);
    let messages = messages.iter().flatten().map(|bytes| Message::from_vec(bytes).expect("a message"));
    messages.flat_map(|message| [message.answers, message.additionals].concat()).map(|it| it.to_string()).collect()
}

fn responses(server: SocketAddr, queries: &[Query]) -> Vec<Response> {
    let answers = server::ask(server, queries);
    queries.iter().zip(answers).map(|(query, bytes)| Response::read(query, bytes.as_deref())).collect()
}

#[derive(Default)]
struct Report {
    n_same: usize,
    /// How often each explanation was needed, with whom.
    n_explained: BTreeMap<(&'static str, &'static str), usize>,
    n_unexplained: usize,
    /// By what is different, and the first query with that.
    unexplained: BTreeMap<String, (usize, String)>,
}

impl Report {
    fn compare(&mut self, case: &Case<'_>) {
        let differences = case.ours.differences(case.theirs);
        if differences.is_empty() {
            self.n_same += 1;
            return;
        }
        let with = match case.peer {
            Peer::Knot => "Knot",
            Peer::Nsd => "NSD",
        };
        let mut open: Vec<Part> = differences;
        for explanation in EXPLANATIONS {
            let explains = |part: &Part| explanation.parts.contains(part);
            if open.iter().any(explains) && (explanation.holds)(case) {
                open.retain(|part| !explains(part));
                *self.n_explained.entry((explanation.why, with)).or_default() += 1;
            }
        }
        if !open.is_empty() {
            self.n_unexplained += 1;
            let rcode = |response: &Response| response.said().map(|said| said.rcode);
            let Case { query, ours, theirs, .. } = case;
            // What has the same cause mostly looks alike in this.
            let alike = format!(
                "{with} {open:?} {:?} {:?} {} {} {:?} {:?}",
                rcode(ours),
                rcode(theirs),
                query.class,
                query.opcode(),
                query.oddity,
                query.edns.as_ref().map(|edns| edns.version)
            );
            let text = format!("{open:?}\n  asked {query}\n  gateway: {ours}\n  {with}: {theirs}\n");
            self.unexplained.entry(alike).or_insert((0, text)).0 += 1;
        }
    }

    fn conclude(&self) {
        println!("{} responses are the same", self.n_same);
        for explanation in EXPLANATIONS {
            let count = |with| self.n_explained.get(&(explanation.why, with)).copied().unwrap_or_default();
            println!("Knot {:>5}, NSD {:>5}: {}", count("Knot"), count("NSD"), explanation.why);
        }
        let mut shown = String::new();
        let mut unexplained: Vec<_> = self.unexplained.values().collect();
        unexplained.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        for (count, text) in unexplained.iter().take(SHOWN) {
            // Writing to a String cannot fail.
            let _ = writeln!(shown, "{count} times {text}");
        }
        assert_eq!(self.n_unexplained, 0, "differences without a reason, of {} sorts:\n{shown}", unexplained.len());
    }
}
