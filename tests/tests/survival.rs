//! `gateway` as a process among clients that are broken, slow, many, or mean harm: it lives, and answers the others.

#[path = "survival/connections.rs"]
mod connections;
#[path = "survival/descriptors.rs"]
mod descriptors;
#[path = "survival/malformed.rs"]
mod malformed;
#[path = "survival/tcp.rs"]
mod tcp;
#[path = "survival/tls.rs"]
mod tls;
#[path = "survival/udp.rs"]
mod udp;

use std::{
    net::{SocketAddr, TcpStream},
    process::{self, Command},
    str::FromStr,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use tests::{
    Home, Program,
    dns::{A, Asker},
    home::{DNS, classes, ingress, number_of_process, service},
    output,
    raw::connect,
};

/// A gateway that answers for `app` with the address that ends in `.21`, and for every name below `apps`.
struct Survivor {
    gateway: Program,
    server: SocketAddr,
    // Last, as it has the program's log.
    home: Home,
}

const APP: &str = "app.home.example";

impl Survivor {
    fn start() -> Self {
        Self::start_in(home())
    }

    fn start_in(home: Home) -> Self {
        Self { gateway: home.start("gateway"), server: home.socket(22, DNS), home }
    }

    /// One that is bound to all addresses.
    fn start_wide() -> Self {
        // Nobody else may have this port on any address, so that it is not the one of all other tests.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = 20_000 + 10 * u16::from(number_of_process()) + NEXT.fetch_add(1, Relaxed);
        let home = home();
        configure(&home, &format!("listen: [\"{}\"]", home.socket(22, DNS)), &format!("listen: [\"0.0.0.0:{port}\"]"));
        Self { server: home.socket(22, port), ..Self::start_in(home) }
    }

    /// A client with the address that ends in `last`.
    fn asker(&self, last: u8) -> Asker {
        Asker::new(self.home.socket(last, 0), self.server)
    }

    /// What every client is to be told of [`APP`].
    fn right(&self) -> String {
        format!("NoError aa {}", self.home.address(21))
    }

    /// # Panics
    /// When UDP does not answer what is right.
    fn assert_answers_udp(&self, last: u8) {
        assert_eq!(self.asker(last).ask(APP, A), self.right());
    }

    /// A connection from the address that ends in `last`.
    fn connect(&self, last: u8) -> TcpStream {
        connect(self.home.socket(last, 0), self.server)
    }

    /// The value of a metric, with its labels as they are written.
    fn metric(&self, name: &str) -> u64 {
        let metrics = self.home.admin("gateway", "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
    }

    /// # Panics
    /// When it has ended, or anything in it has panicked.
    fn assert_unharmed(&mut self) {
        assert!(self.gateway.is_running(), "{}", self.gateway.log());
        assert_eq!(self.metric("coredns_panics_total"), 0);
        assert!(!self.gateway.log().contains("panick"), "{}", self.gateway.log());
    }
}

fn home() -> Home {
    let home = Home::new();
    let objects =
        [classes(), service("web", &[]), ingress("app", APP, "web"), ingress("wild", "*.apps.home.example", "web")];
    home.apply("apps.yaml", &objects.concat());
    home
}

/// Has the configuration say something else.
fn configure(home: &Home, what: &str, instead: &str) {
    let text = home.read("doorward.yaml");
    assert!(text.contains(what), "{text}");
    home.write("doorward.yaml", &text.replace(what, instead));
}

/// A number that somebody may set to have more done, or less.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(default, parse)
}

/// Lets this process have `n_files` open.
fn allow_files(n_files: usize) {
    let pid = process::id().to_string();
    let said = output(Command::new("prlimit").args(["--pid", &pid, "--nofile", "--output=SOFT", "--noheadings"]));
    if said.trim().parse::<usize>().is_ok_and(|soft| soft < n_files) {
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={n_files}:")]).status();
        assert!(status.is_ok_and(|status| status.success()), "{n_files} file descriptors are more than may be had");
    }
}
