//! What floods cost those who ask meanwhile.
//!
//! The attacker is [beside](Beside) the router: it attacks as fast as the router lets it. Who asks has the other core.

use std::{fs, time::Duration};

use benches::rounds::{median, microseconds};
use tokio::time::sleep;

use crate::{
    Bench,
    attacker::{Attack, HOST},
    beside::Beside,
    connection::Result,
    load::{Load, Pace},
    n_rounds,
    proxies::Kind,
    tell_progress,
};

/// `ROUNDS` may say another number.
const ROUNDS: usize = 5;
/// Connections of the attacker at a time.
const AT_ONCE: [usize; 3] = [1, 16, 256];
const ASKED: Pace = Pace::Calm { interval: Duration::from_millis(1), count: 500 };
/// What 99 of 100 others may wait, of what they wait without a flood.
const GOAL: f64 = 2.0;

/// One round of one flood.
struct Round {
    half: f64,
    most: f64,
    /// Connections of the attacker in a second, or bytes of one who is slow.
    attacks: f64,
    /// In a second, in microseconds.
    processor: f64,
}

/// Those whose names have one of `words` in them.
pub(crate) fn attack(bench: &Bench, words: &[&str]) {
    fs::write(bench.manifests().join("attacked.yaml"), manifest()).expect("a file can be written");
    let n_rounds = n_rounds(ROUNDS);
    let is_meant = |attack: &Attack| words.is_empty() || words.iter().any(|word| attack.name.contains(word));
    println!(
        "others' latency while somebody floods, of that without a flood: medians of {n_rounds} rounds;\n\
         done is a connection, or a byte on one of four times as many that are slow\n\
         {:<56} {:>7} {:>7} {:>7} {:>9} {:>7}",
        "", "at once", "p50", "p99", "done/s", "us each"
    );
    // For warming up.
    let _ = ask(bench, &Attack::none(), 1);
    for attack in Attack::all().into_iter().filter(is_meant) {
        for at_once in AT_ONCE {
            let mut rounds = Vec::new();
            for number in 0..n_rounds {
                tell_progress(number, n_rounds);
                let calm = ask(bench, &Attack::none(), 1).unwrap_or_else(|error| panic!("without a flood: {error}"));
                match ask(bench, &attack, at_once) {
                    Ok(flood) => rounds.push((calm, flood)),
                    Err(error) => println!("{}, {at_once} at once: {error}", attack.name),
                }
            }
            let ratio =
                |column: fn(&Round) -> f64| median(rounds.iter().map(|(calm, flood)| column(flood) / column(calm)));
            let each = rounds.iter().map(|(calm, flood)| (flood.processor - calm.processor) / flood.attacks);
            let most = ratio(|round| round.most);
            println!(
                "{:<56} {at_once:>7} {:>7.2} {most:>7.2} {:>9.0} {:>7.1} {}",
                attack.name,
                ratio(|round| round.half),
                median(rounds.iter().map(|(_, flood)| flood.attacks)),
                median(each),
                if most <= GOAL { "" } else { "(goal: at most 2.00; missed)" },
            );
        }
    }
}

fn ask(bench: &Bench, attack: &Attack, at_once: usize) -> Result<Round> {
    let router = Kind::Router.address().to_string();
    let attacker = Beside::start(&bench.runtime, &["flood", attack.name, &router, &at_once.to_string()]);
    let started = std::time::Instant::now();
    // It has begun.
    bench.runtime.block_on(async { sleep(Duration::from_millis(100)).await });
    let asked = bench.ask(Kind::Router, Load::Http1, &[ASKED]);
    let attacks = attacker.end() as f64 / started.elapsed().as_secs_f64();
    let outcomes = asked?;
    let [(outcome, processor)] = &outcomes[..] else { panic!("one pace has one outcome") };
    Ok(Round {
        half: microseconds(outcome.latency(0.5)),
        most: microseconds(outcome.latency(0.99)),
        attacks,
        processor: microseconds(*processor) / outcome.took.as_secs_f64(),
    })
}

fn manifest() -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: attacked, namespace: default}}
spec:
  ingressClassName: internal
  rules:
  - host: {HOST}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: backend-0, port: {{number: 80}}}}}}}}]}}
"
    )
}
