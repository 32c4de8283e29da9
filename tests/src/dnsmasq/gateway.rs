//! `gateway` at any address of a home, so that there can be several.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use super::{Answer, PATIENT};
use crate::{Home, PATIENCE, Program, binary, eventually, home::DNS};

/// Where the LAN's entry point would be. Nobody asks there.
pub const LAN: &str = "192.168.8.21";
const ADMIN: u16 = 9150;

pub struct Gateway {
    program: Program,
    address: SocketAddr,
    admin: SocketAddr,
}

/// What differs between configurations.
pub struct Settings {
    /// Seconds that an answer, and that its absence, may be cached.
    pub ttl: u32,
    pub negative_ttl: u32,
    /// The entry point's addresses, as a list in YAML.
    pub addresses: String,
}

impl Default for Settings {
    /// As short as dnsmasq can count.
    fn default() -> Self {
        Self { ttl: 1, negative_ttl: 1, addresses: LAN.to_owned() }
    }
}

impl Gateway {
    /// At the address that ends in `last`, ready, with the home's manifests.
    pub fn start(home: &Home, last: u8) -> Self {
        Self::start_with(home, last, &Settings::default())
    }

    /// # Panics
    /// When it does not become ready, with what it says.
    pub fn start_with(home: &Home, last: u8, settings: &Settings) -> Self {
        let mut command = command(home, last, settings);
        command.arg("--manifests").arg(home.manifests());
        let mut started = Self::run(home, last, &mut command);
        eventually("readiness", || {
            assert!(started.program.is_running(), "gateway has ended:\n{}", started.program.log());
            match started.admin("/readyz") {
                answer if answer.ends_with("ok\n") => Ok(()),
                other => Err(other),
            }
        });
        started
    }

    /// One whose cluster never answers, so that it has no list of objects. It listens, and is not ready.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start_without_cluster(home: &Home, last: u8) -> Self {
        let kubeconfig = format!("kubeconfig-{last}");
        let nobody = home.socket(99, 6443);
        home.write(
            &kubeconfig,
            &format!(
                "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: 'http://{nobody}'}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"
            ),
        );
        let mut command = command(home, last, &Settings::default());
        command.env("KUBECONFIG", home.path(&kubeconfig));
        let mut started = Self::run(home, last, &mut command);
        eventually("any answer", || {
            assert!(started.program.is_running(), "gateway has ended:\n{}", started.program.log());
            match started.ask("ready.home.example A") {
                silence if silence == "no answer" => Err(silence),
                _ => Ok(()),
            }
        });
        started
    }

    fn run(home: &Home, last: u8, command: &mut Command) -> Self {
        let program = Program::start(command, home.path(&format!("gateway-{last}.log")));
        Self { program, address: home.socket(last, DNS), admin: home.socket(last, ADMIN) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Without anybody between.
    pub fn ask(&self, question: &str) -> Answer {
        PATIENT.ask(self.address, question)
    }

    /// Waits until it answers so: a changed manifest takes a moment.
    ///
    /// # Panics
    /// When it never does.
    pub fn comes_to_answer(&self, question: &str, expected: &str) {
        eventually(question, || match self.ask(question) {
            answer if answer == expected => Ok(()),
            other => Err(other),
        });
    }

    /// How many queries it has answered.
    pub fn answered(&self) -> u64 {
        let metrics = self.admin("/metrics");
        let counts = metrics.lines().filter(|line| line.starts_with("coredns_dns_responses_total{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// What the admin port says, head and body; nothing while it is closed.
    fn admin(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.admin) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            // It may end while it is asked.
            let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer).map(drop));
        }
        answer
    }
}

fn command(home: &Home, last: u8, settings: &Settings) -> Command {
    let name = format!("gateway-{last}.yaml");
    let address = home.address(last);
    let Settings { ttl, negative_ttl, addresses } = settings;
    home.write(
        &name,
        &format!(
            "zones: [{{name: home.example, ttl: {ttl}, negativeTtl: {negative_ttl}}}]
entryPoints: {{lan: {{addresses: [{addresses}], http: 80}}}}
ingress: {{classes: {{internal: lan}}}}
gatewayApi: {{address: 192.168.8.24}}
dns: {{listen: [\"{address}:{DNS}\"], addresses: [{address}]}}
admin: {{gateway: \"{address}:{ADMIN}\", router: \"{address}:9151\"}}
drain: {{delay: 0, timeout: 1}}
"
        ),
    );
    let mut command = Command::new(binary("gateway"));
    command.arg("--config").arg(home.path(&name));
    command
}
