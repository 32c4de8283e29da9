//! What changes of routes and endpoints cost the requests meanwhile.
//!
//! Who changes them is [beside](Beside) the router. One request in a hundred is what is looked for, so that few rounds
//! have enough of them only together; and as the machine has its moods, idle is measured twice and compared with itself.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use benches::rounds::{figure, microseconds};

use crate::{
    Bench,
    beside::{self, Beside},
    load::{Load, Outcome, Pace},
    n_rounds,
    proxies::Kind,
    tell_progress,
};

/// Endpoints change with each, and routes with every fourth.
const EVERY: Duration = Duration::from_millis(100);
/// `ROUNDS` may say another number.
const ROUNDS: usize = 20;
const BUSY: Pace = Pace::Busy(Duration::from_millis(200));
const CALM: Pace = Pace::Calm { interval: Duration::from_millis(1), count: 1000 };
/// What 99 of 100 may wait while there are changes, of what they wait without.
const GOAL: f64 = 1.2;

/// All that was asked in one state of things.
#[derive(Default)]
struct Asked {
    busy: Outcome,
    processor: Duration,
    calm: Outcome,
}

impl Asked {
    fn ask(&mut self, bench: &Bench, load: Load) {
        let outcomes = bench.ask(Kind::Router, load, &[BUSY, CALM]);
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{load:?}: {error}"));
        let Ok([(busy, processor), (calm, _)]) = <[_; 2]>::try_from(outcomes) else {
            panic!("two paces, two outcomes")
        };
        self.busy.join(busy);
        self.processor += processor;
        self.calm.join(calm);
    }

    fn processor(&self) -> f64 {
        microseconds(self.processor) / self.busy.answered as f64
    }

    fn latency(&self, part: f64) -> f64 {
        microseconds(self.calm.latency(part))
    }
}

/// A thousand hosts as before; ten changes of endpoints a second and two or three of routes, or none.
pub(crate) fn churn(bench: &Bench) {
    let manifests = bench.manifests();
    let mut n_changes = 0;
    let n_rounds = n_rounds(ROUNDS);
    for load in [Load::Http1, Load::Http2Tls] {
        // For warming up.
        Asked::default().ask(bench, load);
        let [mut idle, mut churned, mut idle_again] = <[Asked; 3]>::default();
        for number in 0..n_rounds {
            tell_progress(number, n_rounds);
            idle.ask(bench, load);
            // Goes on where the last one ended.
            let changes =
                Beside::start(&bench.runtime, &["change", &manifests.to_string_lossy(), &n_changes.to_string()]);
            churned.ask(bench, load);
            n_changes += changes.end();
            idle_again.ask(bench, load);
        }
        let name = load.names().0;
        let tell = |what: &str, ratio: f64, goal| println!("{}", figure(&format!("{what}, {name}"), ratio, "x", goal));
        let changing = "while routes and endpoints change, of idle";
        tell(&format!("CPU per request {changing}"), churned.processor() / idle.processor(), None);
        tell(&format!("p50 {changing}"), churned.latency(0.5) / idle.latency(0.5), None);
        tell(&format!("p99 {changing}"), churned.latency(0.99) / idle.latency(0.99), Some(GOAL));
        tell("p99 of idle, of idle", idle_again.latency(0.99) / idle.latency(0.99), None);
    }
}

/// Changes a file among the manifests until it is told to end.
pub(crate) fn change(manifests: &Path, first: u64) {
    let done = Arc::new(AtomicU64::new(0));
    let (manifests, counter) = (manifests.to_owned(), Arc::clone(&done));
    thread::spawn(move || {
        loop {
            write(&manifests, first + counter.fetch_add(1, Relaxed));
            thread::sleep(EVERY);
        }
    });
    beside::count_until_told(&done);
}

fn write(manifests: &Path, number: u64) {
    let (endpoint, host) = (number % 200 + 1, number / 4);
    let text = format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: churn, namespace: default}}
spec:
  ingressClassName: internal
  rules:
  - host: churn-{host}.home.example
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: churn, port: {{number: 80}}}}}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: churn, namespace: default}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: churn, namespace: default, labels: {{kubernetes.io/service-name: churn}}}}
addressType: IPv4
endpoints: [{{addresses: [10.0.0.{endpoint}]}}]
ports: [{{port: 80}}]
"
    );
    // Whole, as a mounted ConfigMap changes.
    let new = manifests.with_file_name("churn.yaml");
    fs::write(&new, text).expect("a file can be written");
    fs::rename(new, manifests.join("churn.yaml")).expect("a file can be renamed");
}
