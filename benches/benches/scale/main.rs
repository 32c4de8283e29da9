//! `router` on a cluster with very many routes: what `benches/scale` runs.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use benches::rounds::figure;
use tests::{Home, Program, backend, cluster::Api, home::HTTP, many::Many, within};
use tokio::runtime::Runtime;

/// How many routes are changed, one after another.
const CHANGES: usize = 100;
/// How many objects have an annotation touched, of Gateways and of routes.
const TOUCHED: usize = 20;
const QUIET: Duration = Duration::from_secs(60);
/// Whoever writes statuses does it within this after what calls for it.
const SETTLED: Duration = Duration::from_secs(10);
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(600);
const MEBIBYTE: f64 = 1024.0;
/// What the router counts status writes in, and says that it is the one that writes.
const WRITES: &str = "doorward_status_writes_total";
const LEADER: &str = "doorward_leader";

fn main() {
    // cargo says `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let [router, address, n_routes, n_gateways, then] = &arguments[..] else { panic!("run benches/scale") };
    let (n_routes, n_gateways) = (n_routes.parse().expect("a number"), n_gateways.parse().expect("a number up to 100"));
    let address = address.parse().expect("an address that an EndpointSlice may name");
    let scale = Scale::new(Path::new(router), address, n_routes, n_gateways);
    match then.as_str() {
        "measure" => scale.measure(),
        "change" => scale.keep_changing(),
        _ => panic!("run benches/scale"),
    }
}

struct Scale {
    router: PathBuf,
    home: Home,
    many: Many,
    api: Api,
    /// Of the backend.
    _runtime: Runtime,
}

impl Scale {
    /// With all objects in the API server, and no router yet.
    fn new(router: &Path, address: IpAddr, n_routes: usize, n_gateways: u8) -> Self {
        let home = Home::new();
        let runtime = Runtime::new().expect("a runtime");
        let backend = runtime.block_on(backend::serve(SocketAddr::new(address, 0), "app")).expect("a free port");
        let controller = "doorward.dev/gateway".to_owned();
        let many = Many {
            namespace: "default".to_owned(),
            class: "doorward".to_owned(),
            controller,
            addresses: (1..=n_gateways).map(|number| home.address(100 + number)).collect(),
            port: HTTP,
            n_routes,
            backend,
        };
        let api = Api::new();
        let started = Instant::now();
        many.create(&api);
        println!("{n_routes} routes, as many Services and EndpointSlices, {n_gateways} Gateways");
        println!("{}\n", figure("created in", started.elapsed().as_secs_f64(), "s", None));
        Self { router: router.to_owned(), home, many, api, _runtime: runtime }
    }

    fn measure(&self) {
        let router = self.start("start");
        let served = Instant::now();
        let unserved = self.many.unserved();
        assert!(unserved.is_empty(), "routes {unserved:?} are not served");
        println!("{}", figure("all routes asked, and served, in", served.elapsed().as_secs_f64(), "s", None));
        let mut phase = Phase::begin(self, &router, "statuses");
        self.wait_for_writes();
        phase.end();

        phase = Phase::begin(self, &router, "changes of a route");
        let mut took: Vec<f64> = (0..CHANGES).map(|round| self.change(round).as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        for (name, place, goal) in [("p50", 49, None), ("p99", 98, Some(1000.0)), ("longest", 99, None)] {
            let what = format!("  one changed route until it is served, {name} of {CHANGES}");
            println!("{}", figure(&what, took[place], "ms", goal));
        }
        self.wait_for_writes();
        phase.end();

        phase = Phase::begin(self, &router, "a minute in which nothing changes");
        thread::sleep(QUIET);
        phase.end();

        phase = Phase::begin(self, &router, "annotations that nobody reads");
        for number in 0..TOUCHED {
            let patch = r#"{"metadata": {"annotations": {"example.com/touched": "yes"}}}"#;
            self.api.patch(&self.many.gateway_path(number % self.many.addresses.len()), patch);
            self.api.patch(&self.many.route_path(number), patch);
        }
        thread::sleep(SETTLED);
        phase.end();

        let mut router = router;
        router.terminate();
        assert!(router.wait().success());
        let router = self.start("restart");
        phase = Phase::begin(self, &router, "statuses that are there already");
        self.wait_for_writes();
        phase.end();
    }

    /// For a profiler.
    fn keep_changing(&self) {
        let router = self.start("start");
        println!("router is process {}", router.id());
        for round in 0.. {
            let took = self.change(round);
            println!("{}", figure("served after", took.as_secs_f64() * 1e3, "ms", None));
        }
    }

    fn start(&self, name: &str) -> Program {
        let started = Instant::now();
        let mut router = self.home.launch_file_on_cluster(&self.router, "router");
        within(PATIENCE, "readiness", || {
            assert!(router.is_running(), "router has ended:\n{}", router.log());
            match self.home.admin("router", "/readyz").as_str() {
                "ok\n" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        println!("{}", figure(&format!("{name} until ready"), started.elapsed().as_secs_f64(), "s", None));
        tell_usage(&router, Duration::ZERO);
        router
    }

    /// Gives a route a host that it has not had yet, and returns how long after the API server's yes it is served.
    fn change(&self, round: usize) -> Duration {
        let number = round * 97 % self.many.n_routes;
        let host = format!("changed-{round}.home.example");
        let patch = serde_json::json!({"spec": {"hostnames": [self.many.host(number), host]}});
        let accepted = self.api.patch(&self.many.route_path(number), &patch.to_string());
        while self.many.status(number, &host) != Some(200) {
            assert!(accepted.elapsed() < PATIENCE, "route {number} is never served as {host}");
            thread::sleep(Duration::from_millis(1));
        }
        accepted.elapsed()
    }

    fn count(&self, name: &str) -> Option<f64> {
        self.home.counted("router", name)
    }

    /// Until none has come for a while; at once where the router does not write any.
    fn wait_for_writes(&self) {
        if self.count(LEADER).is_none() {
            return;
        }
        within(PATIENCE, "a leader", || if self.count(LEADER) == Some(1.0) { Ok(()) } else { Err(()) });
        let mut before = None;
        loop {
            thread::sleep(SETTLED);
            let now = self.count(WRITES);
            if before == Some(now) {
                return;
            }
            before = Some(now);
        }
    }
}

/// What happens between two looks at the router.
struct Phase<'a> {
    scale: &'a Scale,
    router: &'a Program,
    processor: Duration,
    writes: Option<f64>,
}

impl<'a> Phase<'a> {
    fn begin(scale: &'a Scale, router: &'a Program, name: &str) -> Self {
        println!("\n{name}:");
        router.forget_peak_memory();
        Self { scale, router, processor: router.processor_time(), writes: scale.count(WRITES) }
    }

    fn end(self) {
        match self.scale.count(WRITES) {
            Some(writes) => println!("  {} status writes", writes - self.writes.unwrap_or_default()),
            None => println!("  no status writes"),
        }
        tell_usage(self.router, self.processor);
    }
}

/// `before`: what of the processor's time it had had.
fn tell_usage(router: &Program, before: Duration) {
    let (memory, peak) = (router.memory() as f64 / MEBIBYTE, router.peak_memory() as f64 / MEBIBYTE);
    let processor = (router.processor_time() - before).as_secs_f64();
    println!("  {processor:.2} s of CPU, {memory:.1} MB resident, {peak:.1} MB at most");
}
