//! `router` beside other edge proxies: what `benches/peers` runs.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod attack;
mod attacker;
mod backend;
mod beside;
mod churn;
mod configuration;
mod connection;
mod load;
mod proxies;
mod requests;
mod tls;

use std::{
    convert::Infallible,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use benches::{
    program::{self, Program},
    rounds::{figure, median, microseconds},
    routes::PREFIXES,
    usage,
};
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    attacker::Attack,
    load::{Client, Load, Outcome, Pace},
    proxies::{Kind, Place},
    requests::Request,
    tls::{Certificate, Trust},
};

/// The proxies take turns, so that what disturbs the machine disturbs all of them alike. `ROUNDS` may say another number.
const ROUNDS: usize = 15;
const BUSY: Duration = Duration::from_millis(200);
/// 6,000 routes take a while to read.
const PATIENCE: Duration = Duration::from_secs(60);
const MEBIBYTE: f64 = (1 << 20) as f64;

fn main() {
    // cargo says `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["compare", router, programs, names @ ..] => {
            compare(&Bench::start(router, programs, names));
        }
        ["load", router, programs, load, seconds, name] => {
            let load = Load::ALL.into_iter().find(|it| it.names().1 == *load).expect("h1, h1-tls, h2-tls or new-tls");
            let time = Duration::from_secs(seconds.parse().expect("a number of seconds"));
            keep_busy(&Bench::start(router, programs, &[name]), load, time);
        }
        ["attack", router, programs, words @ ..] => {
            attack::attack(&Bench::start(router, programs, &[Kind::Router.name()]), words);
        }
        ["flood", name, router, at_once] => {
            let attack = Attack::named(name).expect("a flood");
            attack.run(router.parse().expect("an address"), at_once.parse().expect("a number"));
        }
        ["churn", router, programs] => churn::churn(&Bench::start(router, programs, &[Kind::Router.name()])),
        ["change", manifests, first] => churn::change(Path::new(manifests), first.parse().expect("a number")),
        _ => panic!("run benches/peers"),
    }
}

/// Proxies that answer, and who asks them.
struct Bench {
    proxies: Vec<(Kind, Program)>,
    requests: Arc<[Request]>,
    next: AtomicUsize,
    trust: Trust,
    /// Of the load and the backends, which are one thread.
    runtime: Runtime,
    directory: tempfile::TempDir,
}

impl Bench {
    /// `names` of proxies; all where there are none.
    fn start(router: &str, programs: &str, names: &[&str]) -> Self {
        program::pin_the_load();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let backends = runtime.block_on(backend::serve(PREFIXES.len())).expect("free ports");
        let directory = tempfile::tempdir().expect("a place for temporary files");
        let certificate = Certificate::issue();
        let kinds: Vec<Kind> = match names {
            [] => Kind::ALL.to_vec(),
            _ => names.iter().map(|name| Kind::named(name).unwrap_or_else(|| panic!("no proxy {name}"))).collect(),
        };
        let place = Place {
            directory: directory.path().to_owned(),
            router,
            programs: Path::new(programs),
            certificate: &certificate,
            backends: &backends,
        };
        let proxies = kinds.into_iter().map(|kind| (kind, kind.start(&place))).collect();
        let mut bench = Self {
            proxies,
            requests: requests::requests().into(),
            next: AtomicUsize::default(),
            trust: Trust::in_only(&certificate),
            runtime,
            directory,
        };
        bench.wait();
        bench
    }

    /// What the router reads.
    fn manifests(&self) -> PathBuf {
        self.directory.path().join(Kind::Router.name()).join("manifests")
    }

    /// Until the first requests are answered, and rightly, in each of the ways.
    fn wait(&mut self) {
        let mut proxies = std::mem::take(&mut self.proxies);
        for (kind, program) in &mut proxies {
            let started = Instant::now();
            for load in Load::ALL {
                let pace = Pace::Calm { interval: Duration::from_millis(1), count: 20 };
                while let Err(error) = self.ask(*kind, load, &[pace]) {
                    assert!(program.is_running(), "{} has ended", kind.name());
                    assert!(started.elapsed() < PATIENCE, "{}, {load:?}: {error}", kind.name());
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        self.proxies = proxies;
    }

    /// One after the other on the same connections, with the time of a processor that each has taken.
    fn ask(&self, kind: Kind, load: Load, paces: &[Pace]) -> connection::Result<Vec<(Outcome, Duration)>> {
        let client = Arc::new(Client {
            proxy: kind.address(),
            load,
            trust: self.trust.clone(),
            requests: Arc::clone(&self.requests),
            next: AtomicUsize::new(self.next.load(Relaxed)),
        });
        let program = self.proxies.iter().find(|(it, _)| *it == kind).map(|(_, program)| program.id());
        let family = program.map(usage::family).unwrap_or_default();
        let asking = async {
            let mut connections = timeout(PATIENCE, client.connect()).await??;
            let mut outcomes = Vec::new();
            for pace in paces {
                let before = usage::processor(&family).total;
                let (kept, outcome) = client.ask(connections, *pace).await?;
                // A thread that has ended in the meantime has taken its time with it.
                outcomes.push((outcome, usage::processor(&family).total.saturating_sub(before)));
                connections = kept;
            }
            Ok(outcomes)
        };
        let outcomes = self.runtime.block_on(async {
            tokio::select! {
                outcomes = asking => outcomes,
                never = stay_awake() => match never {},
            }
        });
        self.next.store(client.next.load(Relaxed), Relaxed);
        outcomes
    }

    fn round(&self, kind: Kind, load: Load) -> Round {
        let outcomes = self.ask(kind, load, &[Pace::Busy(BUSY), load.calm()]);
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{}, {load:?}: {error}", kind.name()));
        let [(busy, processor), (calm, _)] = &outcomes[..] else { panic!("two paces have two outcomes") };
        Round {
            processor: microseconds(*processor) / busy.answered as f64,
            requests_per_second: busy.answered as f64 / busy.took.as_secs_f64(),
            half: microseconds(calm.latency(0.5)),
            most: microseconds(calm.latency(0.99)),
        }
    }
}

/// What one round says of a proxy under a load, in microseconds.
struct Round {
    /// For one request.
    processor: f64,
    requests_per_second: f64,
    /// Latencies: half of the requests, and 99 of 100, take no longer.
    half: f64,
    most: f64,
}

fn compare(bench: &Bench) {
    let kinds: Vec<Kind> = bench.proxies.iter().map(|(kind, _)| *kind).collect();
    // By load, then by proxy.
    let mut rounds: Vec<Vec<Vec<Round>>> =
        Load::ALL.iter().map(|_| kinds.iter().map(|_| Vec::new()).collect()).collect();
    let n_rounds = n_rounds(ROUNDS);
    for number in 0..=n_rounds {
        tell_progress(number, n_rounds);
        for (load, its) in Load::ALL.into_iter().zip(&mut rounds) {
            for turn in 0..kinds.len() {
                let index = (turn + number) % kinds.len();
                let round = bench.round(kinds[index], load);
                // The first one is for warming up.
                if number > 0 {
                    its[index].push(round);
                }
            }
        }
    }

    println!(
        "{} hosts x {} routes, 1 KiB answers, one core for the proxy, one for the load and the backend; the median of\n\
         {n_rounds} rounds, in microseconds; `of` another is the median of the rounds' ratios",
        requests::N_HOSTS,
        PREFIXES.len()
    );
    for (load, its) in Load::ALL.into_iter().zip(&rounds) {
        table(load, &kinds, its);
    }
    println!();
    for (kind, program) in &bench.proxies {
        let resident = usage::resident(&usage::family(program.id())) as f64 / MEBIBYTE;
        println!("{}", figure(&format!("RSS of {}", kind.name()), resident, "MB", None));
    }
    println!();
    for (load, its) in Load::ALL.into_iter().zip(&rounds) {
        for (peer, goal) in [(Kind::Envoy, Some(1.0)), (Kind::Nginx, None)] {
            if let (Some(own), Some(those)) = (of(&kinds, its, Kind::Router), of(&kinds, its, peer)) {
                let what = format!("CPU per request against {}, {}", peer.name(), load.names().0);
                println!("{}", figure(&what, ratio(own, those, |round| round.processor), "x", goal));
            }
        }
    }
}

fn table(load: Load, kinds: &[Kind], rounds: &[Vec<Round>]) {
    let (connections, width) = load.width();
    let Pace::Calm { interval, .. } = load.calm() else { return };
    println!(
        "\n{}; busy: {connections} connections, {width} at a time on each; calm: {} requests a second",
        load.names().0,
        1000 / interval.as_millis()
    );
    println!(
        "{:<16} {:>9} {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8}",
        "",
        "busy: /s",
        "CPU",
        "of nginx",
        "of envoy",
        "calm p50",
        "of nginx",
        "of envoy",
        "calm p99",
        "of nginx",
        "of envoy"
    );
    for (kind, its) in kinds.iter().zip(rounds) {
        print!("{:<16} {:>9.0}", kind.name(), median(its.iter().map(|round| round.requests_per_second)));
        let columns: [fn(&Round) -> f64; 3] = [|round| round.processor, |round| round.half, |round| round.most];
        for (number, column) in columns.into_iter().enumerate() {
            let bar = if number > 0 { " |" } else { "" };
            print!("{bar} {:>8.1}", median(its.iter().map(column)));
            for peer in [Kind::Nginx, Kind::Envoy] {
                match of(kinds, rounds, peer) {
                    Some(those) => print!(" {:>8.2}", ratio(its, those, column)),
                    None => print!(" {:>8}", "-"),
                }
            }
        }
        println!();
    }
}

fn of<'a>(kinds: &[Kind], rounds: &'a [Vec<Round>], kind: Kind) -> Option<&'a [Round]> {
    let index = kinds.iter().position(|it| *it == kind)?;
    rounds.get(index).map(Vec::as_slice)
}

/// Each round against the other's of the same number.
fn ratio(these: &[Round], those: &[Round], column: fn(&Round) -> f64) -> f64 {
    median(these.iter().zip(those).map(|(this, that)| column(this) / column(that)))
}

/// Who sends to a thread that sleeps has to wake it, and a slow proxy would have to do so more often than a fast one.
async fn stay_awake() -> Infallible {
    loop {
        tokio::task::yield_now().await;
    }
}

/// What `ROUNDS` says, or else so many.
fn n_rounds(otherwise: usize) -> usize {
    std::env::var("ROUNDS").map_or(otherwise, |number| number.parse().expect("ROUNDS is a number"))
}

/// For somebody who waits.
fn tell_progress(round: usize, n_rounds: usize) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Who cannot be told need not know.
        let _ = write!(terminal, "\rround {round} of {n_rounds} ");
    }
}

/// For a profiler.
fn keep_busy(bench: &Bench, load: Load, time: Duration) {
    for (kind, program) in &bench.proxies {
        println!("{} is process {}", kind.name(), program.id());
        let outcomes = bench.ask(*kind, load, &[Pace::Busy(time)]);
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{}, {load:?}: {error}", kind.name()));
        for (outcome, processor) in outcomes {
            let each = microseconds(processor) / outcome.answered as f64;
            println!("{} requests; {each:.2} us of CPU for each", outcome.answered);
        }
    }
}
