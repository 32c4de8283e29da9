//! Knot and NSD, with the zones in files, and one client for all servers.

use std::{
    fmt::Write,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use tests::{Home, Program, eventually};

use super::query::{IN, Query, RECURSION_DESIRED, SOA};

/// Few enough for every socket's buffer.
const WINDOW: usize = 64;

pub(crate) fn knot(home: &Home, address: SocketAddr, zones: &[(&str, String)]) -> Program {
    let directory = directory(home, "knot", zones);
    let mut text = format!(
        "server:
  listen: {}@{}
  rundir: {directory}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {directory}
log:
- target: stderr
  any: warning
zone:
",
        address.ip(),
        address.port()
    );
    for (zone, _) in zones {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "- domain: {zone}\n  storage: {directory}\n  file: {zone}\n  zonefile-sync: -1\n  journal-content: none"
        );
    }
    start(home, "knotd", &[], &text, address)
}

pub(crate) fn nsd(home: &Home, address: SocketAddr, zones: &[(&str, String)]) -> Program {
    let directory = directory(home, "nsd", zones);
    // Without limits, and with no more in a response than was asked for, as Knot and we do.
    let mut text = format!(
        "server:
  ip-address: {}@{}
  server-count: 1
  username: \"\"
  database: \"\"
  zonesdir: {directory}
  pidfile: {directory}/pid
  xfrdfile: {directory}/xfrd
  zonelistfile: {directory}/list
  xfrdir: {directory}
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
",
        address.ip(),
        address.port()
    );
    for (zone, _) in zones {
        let _ = writeln!(text, "zone:\n  name: {zone}\n  zonefile: {zone}");
    }
    start(home, "nsd", &["-d"], &text, address)
}

/// With the zones in it.
fn directory(home: &Home, name: &str, zones: &[(&str, String)]) -> String {
    let directory = home.path(name);
    fs::create_dir(&directory).expect("a new directory");
    for (zone, text) in zones {
        fs::write(directory.join(zone), text).expect("a file can be written");
    }
    directory.display().to_string()
}

fn start(home: &Home, program: &str, flags: &[&str], configuration: &str, address: SocketAddr) -> Program {
    let file = format!("{program}.conf");
    home.write(&file, configuration);
    let mut command = Command::new(program);
    // Debian has servers where only root looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command.env("PATH", path).args(flags).arg("-c").arg(home.path(&file));
    let mut program = Program::start(&mut command, home.path(&format!("{program}.log")));
    eventually("the zones", || {
        assert!(program.is_running(), "{}", program.log());
        let apex = soa_query(super::description::ZONES[0]);
        match ask(address, &[apex]).pop().flatten() {
            Some(bytes) if bytes.get(3).is_some_and(|byte| byte & 15 == 0) => Ok(()),
            other => Err(other),
        }
    });
    program
}

pub(crate) fn soa_query(zone: &str) -> Query {
    let name = zone.split('.').map(|label| label.as_bytes().to_vec()).collect();
    Query { flags: RECURSION_DESIRED, name, kind: SOA, class: IN, ..Query::default() }
}

/// What comes back for each, over UDP: None where nothing does, however often it is asked. Ids tell them apart.
pub(crate) fn ask(server: SocketAddr, queries: &[Query]) -> Vec<Option<Vec<u8>>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.connect(server).expect("loopback has a route");
    let mut answers = vec![None; queries.len()];
    for patience in [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)] {
        let open: Vec<usize> = (0..queries.len()).filter(|index| answers[*index].is_none()).collect();
        pipeline(&socket, queries, &open, patience, &mut answers);
    }
    answers
}

fn pipeline(
    socket: &UdpSocket,
    queries: &[Query],
    open: &[usize],
    patience: Duration,
    answers: &mut [Option<Vec<u8>>],
) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let mut next = open.iter().copied();
    let mut waiting: Vec<(usize, Instant)> = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while waiting.len() < WINDOW {
            let Some(index) = next.next() else { break };
            // Where nobody listens yet, the last packet's rejection is told here.
            let _ = socket.send(&queries[index].to_bytes());
            waiting.push((index, Instant::now()));
        }
        if waiting.is_empty() {
            return;
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            if let Some(position) = waiting.iter().position(|(index, _)| queries[*index].id == id) {
                let (index, _) = waiting.swap_remove(position);
                answers[index] = Some(buffer[..length].to_vec());
            }
        }
        waiting.retain(|(_, sent)| sent.elapsed() < patience);
    }
}
