//! The servers, each started on one core with the same zone and an address of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use benches::{
    program::{self, Program, pinned},
    usage,
};

use crate::{
    load::{Client, Pace},
    zone::{self, Query, ZONE},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Where servers keep their files, and what they are started with.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) gateway: &'a str,
    pub(crate) coredns: &'a str,
}

/// A server that answers.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Its processes.
    pub(crate) family: Vec<u32>,
    /// None for one that was there before.
    _program: Option<Program>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    CoreDns,
    Gateway,
    Knot,
    Nsd,
    PlainHickory,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Gateway, Self::Knot, Self::Nsd, Self::PlainHickory, Self::CoreDns];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CoreDns => "CoreDNS, file plugin",
            Self::Gateway => "gateway",
            Self::Knot => "Knot",
            Self::Nsd => "NSD",
            Self::PlainHickory => "plain hickory-server",
        }
    }

    fn command(self, address: SocketAddr, place: &Place<'_>) -> Command {
        let directory = place.directory.join(self.name().split([' ', ',']).next().unwrap_or_default());
        fs::create_dir_all(directory.join("manifests")).expect("a new directory");
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file can be written");
            path
        };
        let zone_file = |directory: &Path| directory.join("zone");
        let here = directory.display();
        let (ip, port) = (address.ip(), address.port());
        match self {
            Self::CoreDns => {
                write("zone", zone::file());
                let file = zone_file(&directory);
                let text = format!("{ZONE}:{port} {{\n  bind {ip}\n  file {}\n}}\n", file.display());
                pinned(place.coredns, &["-conf".into(), write("Corefile", text)])
            }
            Self::Gateway => {
                write("manifests/apps.yaml", zone::manifests());
                let configuration = write("doorward.yaml", zone::configuration(address));
                let arguments = ["--config".into(), configuration, "--manifests".into(), directory.join("manifests")];
                let mut command = pinned(place.gateway, &arguments);
                // As deploy/kustomize starts it.
                command.env("MALLOC_ARENA_MAX", "1");
                command
            }
            Self::Knot => {
                write("zone", zone::file());
                let text = format!(
                    "server:
  listen: {ip}@{port}
  rundir: {here}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {here}
log:
- target: stderr
  any: warning
zone:
- domain: {ZONE}
  storage: {here}
  file: zone
  zonefile-sync: -1
  journal-content: none
"
                );
                pinned("knotd", &["-c".into(), write("knot.conf", text)])
            }
            Self::Nsd => {
                write("zone", zone::file());
                let text = format!(
                    "server:
  ip-address: {ip}@{port}
  server-count: 1
  username: \"\"
  database: \"\"
  zonesdir: \"{here}\"
  pidfile: \"{here}/nsd.pid\"
  xfrdfile: \"{here}/xfrd.state\"
  zonelistfile: \"{here}/zone.list\"
  xfrdir: \"{here}\"
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control: 
  control-enable: no
zone:
  name: {ZONE}
  zonefile: zone
"
                );
                pinned("nsd", &["-d".into(), "-c".into(), write("nsd.conf", text)])
            }
            Self::PlainHickory => {
                let own = std::env::current_exe().expect("a program has a path");
                pinned(&own.to_string_lossy(), &["plain-hickory".into(), address.to_string().into()])
            }
        }
    }

    pub(crate) fn start(self, place: &Place<'_>, queries: &[Query]) -> Peer {
        let address = SocketAddr::from((Ipv4Addr::new(127, program::number_of_run(), 53, self as u8 + 1), 5300));
        let log = place.directory.join(format!("{self:?}.log"));
        let mut program = Program::start(self.command(address, place), log);
        wait(self.name(), address, queries, || program.is_running());
        let family = usage::family(program.id());
        Peer { name: self.name().into(), address, family, _program: Some(program) }
    }
}

impl Peer {
    /// One that runs already and serves the same names: `NAME=ADDRESS:PORT,PID`.
    pub(crate) fn given(text: &str, queries: &[Query]) -> Option<Self> {
        let (name, place) = text.split_once('=')?;
        let (address, process) = place.split_once(',')?;
        let (address, process) = (address.parse().ok()?, process.parse().ok()?);
        wait(name, address, queries, || true);
        Some(Self { name: name.into(), address, family: usage::family(process), _program: None })
    }
}

/// Until the first queries are answered, and rightly.
fn wait(name: &str, address: SocketAddr, queries: &[Query], mut is_running: impl FnMut() -> bool) {
    let started = Instant::now();
    loop {
        let outcome = Client::new(address, queries).ask(20, Pace::Window(1));
        match &outcome {
            Ok(outcome) if outcome.wrong + outcome.lost == 0 => return,
            _ => {}
        }
        assert!(is_running(), "{name} has ended");
        assert!(started.elapsed() < PATIENCE, "{name} does not answer as it should: {outcome:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
