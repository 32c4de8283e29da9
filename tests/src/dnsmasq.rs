//! dnsmasq, which is what answers inside Pi-hole, in front of gateways, on loopback addresses alone.
//!
//! It is the one in PATH, or the one that the environment names: `DNSMASQ=/path/to/dnsmasq`.

mod client;
mod gateway;
mod internet;

pub use self::{
    client::{Answer, BRIEF, Client, PATIENT, RETRYING},
    gateway::{Gateway, LAN, Settings},
    internet::{Internet, SignedInternet},
};

use std::{env, ffi::OsString, fmt::Write, net::SocketAddr, process::Command, time::Duration};

use crate::{Home, Program, eventually, home::DNS, output};

pub struct Dnsmasq {
    program: Program,
    address: SocketAddr,
}

impl Dnsmasq {
    /// At the home's address that ends in `last`, with `lines` added to what Pi-hole always sets.
    ///
    /// # Panics
    /// When it does not start, with what it says.
    pub fn start(home: &Home, last: u8, lines: &[impl AsRef<str>]) -> Self {
        let address = home.socket(last, DNS);
        let mut config = format!(
            "listen-address={}\nport={DNS}\nbind-interfaces\nno-resolv\nno-hosts\npid-file\nuser=root\nkeep-in-foreground\nlog-facility=-\nlog-queries\ncache-size=10000\ncache-rr=ANY\n",
            address.ip()
        );
        for line in lines {
            // Into a String.
            let _ = writeln!(config, "{}", line.as_ref());
        }
        let name = format!("dnsmasq-{last}.conf");
        home.write(&name, &config);
        let mut command = Command::new(path());
        command.arg(format!("--conf-file={}", home.path(&name).display()));
        let mut program = Program::start(&mut command, home.path(&format!("dnsmasq-{last}.log")));
        eventually("dnsmasq", || {
            assert!(program.is_running(), "dnsmasq has ended:\n{}\n{config}", program.log());
            if program.log().contains("started, version") { Ok(()) } else { Err(program.log()) }
        });
        Self { program, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client gets that asks once and waits.
    pub fn ask(&self, question: &str) -> Answer {
        PATIENT.ask(self.address, question)
    }

    /// What it has sent to `server` so far: `name`, or `DS name` and the like for what it asks on its own behalf.
    pub fn sent_to(&self, server: SocketAddr) -> Vec<String> {
        let log = self.program.log();
        let to = format!(" to {}", server.ip());
        let sent = log.lines().filter_map(|line| {
            let (_, event) = line.split_once("]: ")?;
            let (event, port) = event.split_once(&to)?;
            if !(port.is_empty() || port.starts_with('#')) {
                return None;
            }
            let (verb, name) = event.split_once(' ')?;
            match verb.split_once('[') {
                None if verb == "forwarded" => Some(name.to_owned()),
                Some(("dnssec-query" | "dnssec-retry", kind)) => Some(format!("{} {name}", kind.trim_end_matches(']'))),
                _ => None,
            }
        });
        sent.collect()
    }

    /// Whether it has had an answer to everything that it has sent for this name.
    ///
    /// # Errors
    /// When one is still missing, with what it said of the name.
    pub fn has_heard(&self, name: &str) -> Result<(), String> {
        let log = self.program.log();
        let about = log.lines().filter(|line| line.contains(name));
        let is_reply = |line: &str| line.contains(": reply ") || line.contains(": cached ");
        let about: Vec<&str> = about.filter(|line| is_reply(line) || line.contains(": forwarded ")).collect();
        if about.last().is_some_and(|line| line.contains(": reply ")) { Ok(()) } else { Err(about.join("\n")) }
    }

    /// The end of what it said, for a failure's message.
    pub fn last_words(&self) -> String {
        let log = self.program.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

/// Waits until no cache has what may be kept for `ttl` seconds. dnsmasq counts whole seconds.
pub fn outlive(ttl: u32) {
    std::thread::sleep(Duration::from_secs(u64::from(ttl) + 1));
}

/// `2.90` is (2, 90), and so are `2.90test1` and `pi-hole-v2.90+1`.
///
/// # Panics
/// When it is not installed.
pub fn version() -> (u32, u32) {
    let said = output(Command::new(path()).arg("--version"));
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    let mut numbers = version.split(|it: char| !it.is_ascii_digit()).filter_map(|text| text.parse().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// Whether `trust-anchor=zone` says that the zone is not signed. To 2.90 it is an error.
///
/// # Panics
/// When it is not installed.
pub fn knows_negative_trust_anchors() -> bool {
    let mut command = Command::new(path());
    command.args(["--test", "--conf-file=/dev/null", "--dnssec", "--trust-anchor=home.example"]);
    command.output().expect("dnsmasq is installed").status.success()
}

/// Whether this version knows `--option`.
pub fn has(option: &str) -> bool {
    output(Command::new(path()).arg("--help")).contains(option)
}

fn path() -> OsString {
    env::var_os("DNSMASQ").unwrap_or_else(|| "dnsmasq".into())
}
