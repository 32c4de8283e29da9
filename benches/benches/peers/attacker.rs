//! Who floods a router: sends what it has made before, and as fast as it is let.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};
use tests::{
    floods,
    frames::{END_HEADERS, END_STREAM, INITIAL_WINDOW, PREFACE, SETTINGS, WINDOW_UPDATE, frame, request},
};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring, pki_types::ServerName};

use crate::{
    beside,
    proxies::{HTTP, HTTPS},
};

/// The host that floods ask for.
pub(crate) const HOST: &str = "app.home.example";
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 6, 6, 6);
/// Connections of one who is slow, for each of another one, and how often any of them sends or takes a byte.
const SLOW: usize = 4;
const DRIP: Duration = Duration::from_millis(1);
/// Answers that nobody takes: more than the kernel does.
const UNREAD: usize = 50;
/// In which they are all made.
const ANSWERED: Duration = Duration::from_millis(5);

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    way: Way,
}

enum Way {
    /// Attacks nobody, and keeps the core awake as the others do.
    Spin,
    /// Sends this on one connection after another, each until it is ended.
    UntilCut(Vec<u8>),
    /// The same, each until there is an answer.
    UntilAnswered(Vec<u8>),
    /// The same, each until it is sent.
    UntilSent(Vec<u8>),
    /// Begins with this on many connections, and goes on by a byte of one of them now and then.
    Drip(String),
    /// The same, but takes a byte.
    Sip(String),
}

impl Attack {
    pub(crate) fn none() -> Self {
        Self { name: "nothing", way: Way::Spin }
    }

    pub(crate) fn all() -> Vec<Self> {
        let http2 = floods::floods().into_iter().map(|(name, flood)| Self {
            name,
            way: Way::UntilCut([PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood].concat()),
        });
        let others = [
            ("answers taken by the byte (CVE-2019-9511)", Way::UntilSent(dribble())),
            ("TLS handshakes that are not finished", Way::UntilAnswered(client_hello())),
            ("slow heads", Way::Drip(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: "))),
            ("slow bodies", Way::Drip(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n"))),
            ("slow readers", Way::Sip(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(UNREAD))),
        ];
        http2.chain(others.map(|(name, way)| Self { name, way })).collect()
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().chain([Self::none()]).find(|it| it.name == name)
    }

    /// On as many connections at once, until it is told to end. Those who are slow open all theirs before they begin: to
    /// open them is another attack. Counts connections that are over, or bytes of those that are slow.
    pub(crate) fn run(self, router: IpAddr, at_once: usize) {
        let port = if matches!(self.way, Way::UntilAnswered(_)) { HTTPS } else { HTTP };
        let router = SocketAddr::from((router, port));
        let done = Arc::new(AtomicU64::new(0));
        match self.way {
            way @ (Way::Drip(_) | Way::Sip(_)) => {
                let mut slow = way.open(router, at_once * SLOW);
                let done = Arc::clone(&done);
                thread::spawn(move || way.go_on(router, &mut slow, &done));
            }
            way => {
                let way = Arc::new(way);
                for _ in 0..at_once {
                    let (way, done) = (Arc::clone(&way), Arc::clone(&done));
                    thread::spawn(move || way.follow(router, &done));
                }
            }
        }
        beside::count_until_told(&done);
    }
}

impl Way {
    fn follow(&self, router: SocketAddr, done: &AtomicU64) {
        loop {
            match self {
                Self::Spin => std::hint::spin_loop(),
                _ => {
                    // What is cut in the middle takes no more bytes, and a router may refuse a connection, too.
                    let _ = self.once(router);
                    done.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// As many connections as one who is slow holds. What a reader asks for is answered before the next one asks: many
    /// requests are another attack.
    fn open(&self, router: SocketAddr, count: usize) -> Vec<Option<TcpStream>> {
        let open = || {
            let stream = self.begin(router).ok();
            if let Self::Sip(_) = self {
                thread::sleep(ANSWERED);
            }
            stream
        };
        (0..count).map(|_| open()).collect()
    }

    fn begin(&self, router: SocketAddr) -> std::io::Result<TcpStream> {
        let (Self::Drip(first) | Self::Sip(first)) = self else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let mut stream = connect(router, matches!(self, Self::Sip(_)))?;
        stream.write_all(first.as_bytes())?;
        Ok(stream)
    }

    fn go_on(&self, router: SocketAddr, slow: &mut [Option<TcpStream>], done: &AtomicU64) {
        loop {
            for stream in &mut *slow {
                let is_open = stream.as_mut().is_some_and(|stream| match self {
                    Self::Sip(_) => stream.read_exact(&mut [0]).is_ok(),
                    _ => stream.write_all(b"x").is_ok(),
                });
                if is_open {
                    done.fetch_add(1, Relaxed);
                } else {
                    *stream = self.begin(router).ok();
                }
                thread::sleep(DRIP);
            }
        }
    }

    fn once(&self, router: SocketAddr) -> std::io::Result<()> {
        let (Self::UntilCut(bytes) | Self::UntilAnswered(bytes) | Self::UntilSent(bytes)) = self else { return Ok(()) };
        let mut stream = connect(router, false)?;
        let sent = stream.write_all(bytes);
        let mut answer = [0; 16 << 10];
        match self {
            Self::UntilCut(_) => while stream.read(&mut answer)? > 0 {},
            Self::UntilAnswered(_) => {
                let _ = stream.read(&mut answer)?;
                // Who ends a connection in order has its port taken for a minute, and there are only so many.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
            _ => stream.shutdown(Shutdown::Both)?,
        }
        sent
    }
}

/// From an address of its own: what one client has too much of, others may have.
fn connect(router: SocketAddr, is_narrow: bool) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if is_narrow {
        // The least that there is.
        socket.set_recv_buffer_size(1)?;
    }
    socket.bind(&SocketAddr::from((ATTACKER, 0)).into())?;
    socket.connect(&router.into())?;
    Ok(socket.into())
}

/// A hundred answers of which each byte is asked for by a frame.
fn dribble() -> Vec<u8> {
    let settings = [&INITIAL_WINDOW.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    let streams = || (1..200).step_by(2);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
    bytes.extend(streams().flat_map(|stream| request(END_HEADERS | END_STREAM, stream, "GET", "/", &[])));
    for _ in 0..200 {
        bytes.extend(streams().flat_map(|stream| frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes())));
    }
    bytes
}

/// The same each time, which nobody can tell from one that is new: it makes the router agree on a key and sign.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that ring has")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("a configuration that is complete");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("memory takes all");
    hello
}
