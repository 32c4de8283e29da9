//! The servers, each started on one core with the same zone and an address of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    load::{Client, Pace},
    usage,
    zone::{self, Query, ZONE},
};

/// The load has the other one to itself.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
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
        // Two runs at once do not meet.
        let run = u8::try_from(std::process::id() % 200).unwrap_or_default() + 20;
        let address = SocketAddr::from((Ipv4Addr::new(127, run, 53, self as u8 + 1), 5300));
        let log = place.directory.join(format!("{self:?}.log"));
        let file = File::create(&log).expect("a log can be written");
        let also = file.try_clone().expect("a file has two handles");
        let mut command = self.command(address, place);
        let child = command.stdin(Stdio::null()).stdout(file).stderr(also).spawn();
        let mut program = Program { child: child.expect("setpriv starts"), log };
        wait(self.name(), address, queries, || program.is_running());
        let family = usage::family(program.child.id());
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

/// Keeps this process, and what it starts unless that is pinned otherwise, on the load's core.
pub(crate) fn pin_the_load() {
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-pc", LOAD_CORE, &own]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "two cores are needed: one for the server, one for the load");
}

/// On the servers' core, and ended when this process ends, however that happens.
fn pinned(program: &str, arguments: &[PathBuf]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", SERVER_CORE, program]).args(arguments);
    command
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

struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // First it is asked to end, so that it ends what it has started too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let started = Instant::now();
        while self.is_running() && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
