//! Before a gateway has its objects, and the moment it has them.
//!
//! What dnsmasq learns while a gateway cannot know must not outlive that time. Every way to forward a
//! zone is tried with everything else that changes how dnsmasq treats an answer.

use std::fmt;

use tests::{
    Home,
    dnsmasq::{
        Answer, BRIEF, Client, Dnsmasq, Gateway, LAN, PATIENT, RETRYING, SignedInternet, knows_negative_trust_anchors,
        version,
    },
    home::DNS,
};

use crate::{conditional_forward, home};

#[test]
fn one_gateway_that_refuses_is_right_from_the_first_query_after_it_is_ready() {
    one_gateway(NotReady::Refuses);
}

#[test]
fn one_gateway_that_was_away_is_right_from_the_first_query_after_it_is_ready() {
    one_gateway(NotReady::Away);
}

#[test]
fn one_of_two_gateways_that_refuses_is_noticed_by_nobody() {
    two_gateways(NotReady::Refuses);
}

#[test]
fn one_of_two_gateways_that_is_away_costs_a_client_no_more_than_its_next_packet() {
    two_gateways(NotReady::Away);
}

fn one_gateway(not_ready: NotReady) {
    let home = home();
    let mut matrix = Matrix::new(&home, &[FIRST]);
    let gateway = Gateway::start(&home, FIRST);
    matrix.start(Past::Warm);
    for question in ["grafana.home.example A", "grafana.home.example AAAA", "missing.home.example A"] {
        matrix.ask("ready", question, PATIENT, is_right);
    }
    drop(gateway);

    let stand_in = not_ready.start(&home, FIRST);
    matrix.start(Past::Cold);
    // Where one refuses, its client hears it at once.
    let client = if stand_in.is_some() { PATIENT } else { BRIEF };
    for question in ["photos.home.example A", "photos.home.example AAAA", "photos.home.example A"] {
        matrix.ask("not ready", question, client, |combination, _, answer| {
            let refused = answer == "REFUSED" || (combination.dnssec != Dnssec::Off && answer == "SERVFAIL");
            if not_ready == NotReady::Refuses { refused } else { answer == "no answer" }
        });
    }
    // What was right before may still be told.
    matrix.ask("not ready", "grafana.home.example A", client, |combination, question, answer| {
        let failed = ["REFUSED", "SERVFAIL", "no answer"].iter().any(|it| answer == it);
        failed || (combination.past == Past::Warm && is_right(combination, question, answer))
    });
    drop(stand_in);

    let _gateway = Gateway::start(&home, FIRST);
    for question in ["app-#.apps.home.example A", "app-#.apps.home.example AAAA", "missing-#.home.example A"] {
        matrix.ask("ready again", question, PATIENT, is_right);
    }
    // For two seconds dnsmasq takes a question that is like an unanswered one for the same, and sends it
    // only when its client asks again.
    let client = if not_ready == NotReady::Refuses { PATIENT } else { RETRYING };
    for question in ["photos.home.example A", "photos.home.example AAAA", "grafana.home.example A"] {
        matrix.ask("ready again", question, client, is_right);
    }
    matrix.end();
}

fn two_gateways(not_ready: NotReady) {
    let home = home();
    let mut matrix = Matrix::new(&home, &[FIRST, SECOND]);
    let mut gateways = [FIRST, SECOND].map(|last| Some(Gateway::start(&home, last)));
    let client = if not_ready == NotReady::Refuses { PATIENT } else { RETRYING };
    matrix.start(Past::Warm);
    matrix.ask("both ready", "grafana.home.example A", client, is_right);
    for (index, last) in [(0, FIRST), (1, SECOND)] {
        gateways[index] = None;
        let stand_in = not_ready.start(&home, last);
        let when = format!("the one at .{last} is not ready");
        if index == 0 {
            matrix.start(Past::Cold);
        }
        // After 50 queries dnsmasq asks both again.
        for round in 0..60 {
            let question = match round % 4 {
                0 => "grafana.home.example A",
                1 => "app-#.apps.home.example AAAA",
                2 => "missing-#.home.example A",
                _ => "app-#.apps.home.example A",
            };
            matrix.ask(&when, question, client, is_right);
        }
        drop(stand_in);
        gateways[index] = Some(Gateway::start(&home, last));
        for question in ["app-#.apps.home.example A", "photos.home.example AAAA", "photos.home.example A"] {
            matrix.ask("both are ready again", question, client, is_right);
        }
    }
    matrix.end();
}

const FIRST: u8 = 22;
const SECOND: u8 = 25;

/// What is at a gateway's address while it is not ready.
#[derive(Clone, Copy, PartialEq)]
enum NotReady {
    /// A gateway without objects.
    Refuses,
    /// Nothing: a Service without endpoints.
    Away,
}

impl NotReady {
    fn start(self, home: &Home, last: u8) -> Option<Gateway> {
        (self == Self::Refuses).then(|| Gateway::start_without_cluster(home, last))
    }
}

#[derive(Clone, Copy)]
struct Combination {
    past: Past,
    /// Whether dnsmasq also sends us single labels and addresses of the LAN.
    conditional: bool,
    dnssec: Dnssec,
    stale: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Dnssec {
    Off,
    On,
    /// With the line that says that our zone is not signed.
    NegativeAnchor,
}

impl Dnssec {
    /// What works with this version: `dnssec.rs` says why.
    fn all() -> Vec<Self> {
        match (version(), knows_negative_trust_anchors()) {
            ((2, 93), _) => vec![Self::Off, Self::NegativeAnchor],
            (_, true) => vec![Self::Off, Self::On, Self::NegativeAnchor],
            (_, false) => vec![Self::Off, Self::On],
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Past {
    /// Answered, and remembered, while the gateways were ready.
    Warm,
    /// Started while one was not.
    Cold,
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { past, conditional, dnssec, stale } = *self;
        let past = if past == Past::Warm { "warm" } else { "cold" };
        let lines = if conditional { "conditional forwarding" } else { "server=" };
        let dnssec = match dnssec {
            Dnssec::Off => "no DNSSEC",
            Dnssec::On => "DNSSEC",
            Dnssec::NegativeAnchor => "DNSSEC with a negative anchor",
        };
        let stale = if stale { "stale cache" } else { "no stale cache" };
        write!(f, "{past}, {lines}, {dnssec}, {stale}")
    }
}

/// One dnsmasq for each combination, all in front of the same gateways.
struct Matrix<'a> {
    home: &'a Home,
    gateways: &'a [u8],
    internet: SignedInternet,
    cases: Vec<(Combination, Dnsmasq)>,
    wrong: Vec<String>,
    /// Makes names that no cache has.
    number: usize,
}

impl<'a> Matrix<'a> {
    fn new(home: &'a Home, gateways: &'a [u8]) -> Self {
        let internet = SignedInternet::start(home, 9);
        Self { home, gateways, internet, cases: Vec::new(), wrong: Vec::new(), number: 0 }
    }

    /// All combinations with this past.
    fn start(&mut self, past: Past) {
        for dnssec in Dnssec::all() {
            for (conditional, stale) in [(false, false), (false, true), (true, false), (true, true)] {
                self.start_one(Combination { past, conditional, dnssec, stale });
            }
        }
    }

    fn start_one(&mut self, combination: Combination) {
        let mut lines = vec![self.internet.line()];
        for last in self.gateways {
            let all = conditional_forward(self.home.socket(*last, DNS));
            lines.extend_from_slice(if combination.conditional { &all } else { &all[1..2] });
        }
        if combination.dnssec != Dnssec::Off {
            lines.extend(self.internet.validation());
        }
        if combination.dnssec == Dnssec::NegativeAnchor {
            lines.push("trust-anchor=home.example".to_owned());
        }
        if combination.stale {
            lines.push("use-stale-cache=3600".to_owned());
        }
        let last = 100 + u8::try_from(self.cases.len()).expect("a few dozen");
        self.cases.push((combination, Dnsmasq::start(self.home, last, &lines)));
    }

    /// Asks all of them at once, each with a number of its own for `#`.
    fn ask(
        &mut self,
        when: &str,
        question: &str,
        client: Client,
        is_right: impl Fn(Combination, &str, &Answer) -> bool + Sync,
    ) {
        let first = self.number;
        self.number += self.cases.len();
        let ask_one = &|(number, (combination, dnsmasq)): (usize, &(Combination, Dnsmasq))| {
            let question = question.replace('#', &number.to_string());
            let before = self.packets(dnsmasq);
            let answer = client.ask(dnsmasq.address(), &question);
            let packets = self.packets(dnsmasq) - before;
            let is_flooded = combination.dnssec == Dnssec::Off && packets > 3 * answer.tries.max(1);
            let heard = || format!("{combination}: {when}: {question}: {answer:?} after {packets} packets");
            let is_wrong = is_flooded || !is_right(*combination, &question, &answer);
            is_wrong.then(|| format!("{}\n{}\n", heard(), dnsmasq.last_words()))
        };
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let asking = (first..).zip(&self.cases).map(|case| scope.spawn(move || ask_one(case)));
            // All are spawned before the first is waited for.
            let asking: Vec<_> = asking.collect();
            asking.into_iter().filter_map(|it| it.join().expect("no client panics")).collect()
        });
        self.wrong.extend(wrong);
    }

    /// How many it has sent to the gateways so far.
    fn packets(&self, dnsmasq: &Dnsmasq) -> usize {
        self.gateways.iter().map(|last| dnsmasq.sent_to(self.home.socket(*last, DNS)).len()).sum()
    }

    fn end(self) {
        let Self { cases, wrong, .. } = self;
        // Of their logs a failure tells the part that matters.
        drop(cases);
        let told = wrong.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{} answers are wrong, first of all:\n{told}", wrong.len());
    }
}

/// What a ready gateway has to say.
fn is_right(_: Combination, question: &str, answer: &Answer) -> bool {
    let expected = match question {
        _ if question.starts_with("missing") => "NXDOMAIN".to_owned(),
        _ if question.ends_with(" AAAA") => "NOERROR".to_owned(),
        _ => format!("NOERROR {LAN}"),
    };
    answer == &expected
}
