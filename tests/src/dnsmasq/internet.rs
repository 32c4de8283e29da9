//! What dnsmasq asks about everything else: a resolver that answers anything, and a signed one with its own root.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
};

use hickory_proto::{
    op::Message,
    rr::{
        RData, Record, RecordType,
        rdata::{A, NULL},
    },
};

use super::{Client, PATIENT};
use crate::{Home, Program, eventually, home::DNS, output};

/// Answers every name: it lives at a CDN, which offers encrypted ClientHello in its HTTPS records.
pub struct Internet {
    address: SocketAddr,
    questions: Receiver<String>,
}

impl Internet {
    /// Where every name of the Internet is.
    pub const ADDRESS: &str = "203.0.113.9";

    /// At the home's address that ends in `last`, for as long as the test runs.
    ///
    /// # Panics
    /// When that is taken.
    pub fn start(home: &Home, last: u8) -> Self {
        let address = home.socket(last, DNS);
        let socket = UdpSocket::bind(address).expect("an address of this home's own");
        let (sender, questions) = channel();
        std::thread::spawn(move || answer_all(&socket, &sender));
        Self { address, questions }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked since the last time: `name. TYPE`.
    pub fn asked(&self) -> Vec<String> {
        self.questions.try_iter().collect()
    }
}

fn answer_all(socket: &UdpSocket, asked: &Sender<String>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        for question in query.queries {
            // The test may have ended.
            let _ = asked.send(format!("{} {}", question.name().to_lowercase(), question.query_type()));
            let data = match question.query_type() {
                RecordType::A => Internet::ADDRESS.parse().ok().map(|address: std::net::Ipv4Addr| RData::A(A(address))),
                kind @ (RecordType::HTTPS | RecordType::SVCB) => {
                    // Priority 1, the name itself, and a key 5 (ech) whose value only its length says something of.
                    let rdata = [&[0, 1, 0, 0, 5, 0, 4][..], b"keys"].concat();
                    Some(RData::Unknown { code: kind, rdata: NULL::with(rdata) })
                }
                _ => None,
            };
            answer.answers.extend(data.map(|data| Record::from_rdata(question.name().clone(), 300, data)));
            answer.add_query(question);
        }
        if let Ok(bytes) = answer.to_vec() {
            // The client may have gone.
            let _ = socket.send_to(&bytes, client);
        }
    }
}

/// Knot, which serves what an honest recursive resolver would find: a signed root, `com` and `example`
/// below it, and in `example` what the owner of `home.example` shows to the world, signed as well.
pub struct SignedInternet {
    _program: Program,
    address: SocketAddr,
    trust_anchor: String,
}

/// A zone, its parent, and what is in it beside its SOA and its name server.
const ZONES: [(&str, &str, &str); 4] = [
    ("home.example.", "example.", "@ A 203.0.113.9\ngrafana A 203.0.113.9\n*.apps A 203.0.113.9\n"),
    ("example.", ".", "home NS ns.example.\n"),
    ("com.", ".", "www.shop A 203.0.113.10\n"),
    (".", "", "com. NS ns.example.\nexample. NS ns.example.\n"),
];

impl SignedInternet {
    /// At the home's address that ends in `last`.
    ///
    /// # Panics
    /// When Knot is not installed; `tests/run` installs it.
    pub fn start(home: &Home, last: u8) -> Self {
        let address = home.socket(last, DNS);
        let directory = home.path(&format!("knot-{last}"));
        fs::create_dir(&directory).expect("a new directory");
        let config = directory.join("knot.conf");
        fs::write(&config, configuration(&directory, address.ip())).expect("a file can be written");
        let keymgr = |arguments: &[&str]| output(Command::new("keymgr").arg("-c").arg(&config).args(arguments));
        let mut trust_anchor = String::new();
        // Children first: their parents have to name their keys.
        let mut delegations: Vec<(&str, String)> = Vec::new();
        for (zone, parent, content) in ZONES {
            keymgr(&[zone, "generate", "algorithm=13", "ksk=yes", "zsk=yes"]);
            // One line for each digest; the first is SHA-256.
            let ds = keymgr(&[zone, "ds"]).lines().next().unwrap_or_default().to_owned();
            let own: String = delegations.iter().filter(|(of, _)| *of == zone).map(|(_, ds)| ds.as_str()).collect();
            let text = format!(
                "$ORIGIN {zone}\n$TTL 300\n@ SOA ns.example. admin.example. 1 7200 3600 86400 300\n@ NS ns.example.\n{content}{own}"
            );
            fs::write(directory.join(file(zone)), text).expect("a file can be written");
            let data = ds.split_once(" DS ").map(|(_, data)| data.replace(' ', ","));
            trust_anchor = format!("trust-anchor=.,{}", data.unwrap_or_default());
            delegations.push((parent, format!("{ds}\n")));
        }
        let mut command = Command::new("knotd");
        command.arg("-c").arg(&config);
        let program = Program::start(&mut command, home.path(&format!("knot-{last}.log")));
        let started = Self { _program: program, address, trust_anchor };
        eventually("signatures", || {
            let answer = Client { dnssec: true, ..PATIENT }.ask(address, "home.example RRSIG");
            if answer.ttl.is_some() { Ok(()) } else { Err(answer) }
        });
        started
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line that makes dnsmasq ask here.
    pub fn line(&self) -> String {
        format!("server={}#{}", self.address.ip(), self.address.port())
    }

    /// The lines that make it validate what it hears here.
    pub fn validation(&self) -> [String; 2] {
        ["dnssec".to_owned(), self.trust_anchor.clone()]
    }
}

fn file(zone: &str) -> String {
    format!("zone-{zone}txt")
}

fn configuration(directory: &Path, address: IpAddr) -> String {
    let directory = directory.display();
    let zones: String =
        ZONES.iter().map(|(zone, ..)| format!("  - domain: \"{zone}\"\n    file: \"{}\"\n", file(zone))).collect();
    format!(
        "server:
    rundir: \"{directory}\"
    listen: {address}@{DNS}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: \"{directory}\"
policy:
  - id: keys-made-before
    manual: on
    single-type-signing: on
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: \"{directory}\"
    dnssec-signing: on
    dnssec-policy: keys-made-before
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
{zones}"
    )
}
