//! `router` as a process among clients that are hostile, slow, many or odd: it lives, stays small, serves the others,
//! and lets nothing through that it refuses.

#[path = "attack/bystander.rs"]
mod bystander;
#[path = "attack/descriptors.rs"]
mod descriptors;
#[path = "attack/floods.rs"]
mod floods;
#[path = "attack/frames.rs"]
mod frames;
#[path = "attack/idle.rs"]
mod idle;
#[path = "attack/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "attack/random.rs"]
mod random;
#[path = "attack/recorder.rs"]
mod recorder;
#[path = "attack/refusals.rs"]
mod refusals;
#[path = "attack/stalls.rs"]
mod stalls;

use std::net::{SocketAddr, TcpStream};

use tests::{
    Home, Program,
    backend::Backends,
    certificate,
    home::{HTTP, HTTPS, app},
    raw, tls_secret,
};

use self::recorder::Recorder;

/// A router that serves `app.home.example` by one backend, over HTTP and HTTPS.
struct Besieged {
    router: Program,
    // Who asks for a backend of its own starts it here.
    #[expect(dead_code, reason = "they live as long as this")]
    backends: Backends,
    home: Home,
}

impl Besieged {
    fn start() -> Self {
        let (home, backends) = (Home::new(), Backends::new());
        home.configure("defaultCertificate: default/home-tls");
        let web = backends.start(&home, "web");
        Self::start_in(home, backends, web)
    }

    /// The same in front of a backend that keeps what it is sent.
    fn before(recorder: impl FnOnce(&Home) -> Recorder) -> (Self, Recorder) {
        let home = Home::new();
        home.configure("defaultCertificate: default/home-tls");
        let recorder = recorder(&home);
        (Self::start_in(home, Backends::new(), recorder.address), recorder)
    }

    fn start_in(home: Home, backends: Backends, backend: SocketAddr) -> Self {
        home.apply("app.yaml", &[app(&[backend]), secret(&home)].concat());
        Self { router: home.start("router"), backends, home }
    }

    /// A connection to the plain HTTP door from the address that ends in `last`.
    fn connect(&self, last: u8) -> TcpStream {
        raw::connect(self.home.socket(last, 0), self.home.socket(21, HTTP))
    }

    /// The same to the TLS door.
    fn connect_tls(&self, last: u8) -> TcpStream {
        raw::connect(self.home.socket(last, 0), self.home.socket(21, HTTPS))
    }

    /// The sum of a metric's series whose labels have all of `labels` in them.
    fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let metrics = self.home.admin("router", "/metrics");
        let of_name = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        let values = metrics.lines().filter(of_name).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let sum = values.sum::<f64>() as u64;
        sum
    }

    /// # Panics
    /// When it has ended, or anything in it has panicked.
    fn assert_unharmed(&mut self) {
        assert!(self.router.is_running(), "{}", self.router.log());
        assert!(!self.router.log().contains("panick"), "{}", self.router.log());
        assert_eq!(self.home.status(21, "http://app.home.example/"), "200");
    }
}

/// The default certificate, which also lies in `home.pem`.
fn secret(home: &Home) -> String {
    let issued = certificate(&["home.example", "*.home.example"]);
    home.write("home.pem", &issued.0);
    tls_secret("default", "home-tls", &issued)
}

/// Has the configuration say something else.
fn replace_in_configuration(home: &Home, what: &str, instead: &str) {
    let text = home.read("doorward.yaml");
    assert!(text.contains(what), "{text}");
    // The first door is the LAN's.
    home.write("doorward.yaml", &text.replacen(what, instead, 1));
}
