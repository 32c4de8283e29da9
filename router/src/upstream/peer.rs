//! An endpoint as pingora's peer.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context;
use foldhash::fast::FixedState;
use k8s::model::{Protocol, ServerValidation, TrustedBy};
use pingora_core::{
    ErrorType, OrErr, Result,
    protocols::{ALPN, TcpKeepalive, tls::CaType},
    upstreams::peer::HttpPeer,
    utils::tls::{WrappedX509, parse_x509},
};
use rustls::RootCertStore;
use socket2::SockRef;
use tokio::net::TcpSocket;
use tracing::error;

use super::{
    alternative_names::{Presenting, Tls},
    client_certificate::ClientCertificate,
    raw::RawTls,
    websocket::{self, Upgraded},
};

/// In a homelab an endpoint that has not answered a SYN after this long is gone.
const CONNECT: Duration = Duration::from_secs(1);
/// Where no other endpoint is left, a SYN that was lost is sent once more: after 1 s.
const LAST_CONNECT: Duration = Duration::from_secs(3);
/// A small machine that has just started has more to do than this one handshake, and is not gone.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// Both together.
const CONNECT_ALL: Duration = Duration::from_secs(10);
/// pingora's default of one stream per connection is no multiplexing at all.
const STREAMS: usize = 100;
/// What is held of one answer while its client is slow. 100 MB a second where a packet needs 2 ms there and back.
const STREAM_WINDOW: u32 = 256 << 10;
/// As much for all of them, so that slow clients do not stop the others of the same connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// A backend whose node has lost its power says nothing; a stream to it ends after about a minute.
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    count: 3,
    user_timeout: Duration::from_secs(60),
};

/// How one try is made.
#[derive(Clone, Debug)]
pub struct Terms {
    /// A WebSocket begins as HTTP/1.1, whatever else the endpoint speaks, and may be silent for ever once it is one.
    pub websocket: Option<Upgraded>,
    /// How long a connection may take, without TLS.
    pub connect: Duration,
    /// How long the connection is kept for another request.
    pub idle: Duration,
    /// How long the endpoint may take; None is for ever. pingora has a limit for each read, so whoever counts to the
    /// end of the answer has to look at the clock with each piece of it: what drips, and then is silent, ends before
    /// twice this time.
    pub left: Option<Duration>,
    /// A connection of its own: one that has waited may be as dead as the last one was.
    pub is_fresh: bool,
    /// Shown where the endpoint asks for one, in TLS.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

/// For [`Terms::connect`].
pub fn connect_limit(has_other_endpoints: bool) -> Duration {
    if has_other_endpoints { CONNECT } else { LAST_CONNECT }
}

pub fn peer(address: SocketAddr, protocol: Protocol, verified: Option<&Verified>, terms: &Terms) -> HttpPeer {
    let Terms { websocket, connect, idle, left, is_fresh, client_certificate } = terms;
    let (connect, idle, left, is_websocket) = (*connect, *idle, *left, websocket.is_some());
    let within = |limit: Duration| Some(left.map_or(limit, |left| left.min(limit)));
    let how = verified.map(|verified| &verified.how);
    let server = match how {
        Some(How::ByHostname { hostname, .. }) => Some(hostname.clone()),
        Some(How::ByAlternativeNames(_)) => None,
        // rustls names no server to a server that is an address, and takes nothing for a name.
        None => (protocol == Protocol::Https).then(|| address.ip().to_string()),
    };
    let is_tls = server.is_some();
    let mut peer = HttpPeer::new(address, is_tls, server.unwrap_or_default());
    let options = &mut peer.options;
    // pingora's limit is one for the connection and one more for the handshake. With TLS it is the latter's, and the
    // kernel has the former's.
    options.connection_timeout = within(if is_tls { HANDSHAKE } else { connect });
    options.upstream_tcp_sock_tweak_hook = is_tls.then(|| limit_connect(connect));
    options.total_connection_timeout = within(CONNECT_ALL);
    options.idle_timeout = Some(if *is_fresh { Duration::ZERO } else { idle });
    options.tcp_keepalive = Some(KEEPALIVE);
    options.read_timeout = left.filter(|_| !is_websocket);
    // pingora offers connections of HTTP/2 to others while they are in use, and keeps what is never given back: unless
    // they are full.
    options.max_h2_streams = if *is_fresh { 1 } else { STREAMS };
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.alpn = match protocol {
        Protocol::H2c if !is_websocket => ALPN::H2,
        Protocol::Http | Protocol::Https if is_tls && !is_websocket => ALPN::H2H1,
        Protocol::H2c | Protocol::Http | Protocol::Https | Protocol::Udp => ALPN::H1,
    };
    let mut below = None;
    match how {
        // What pingora does by itself, where the server has a name, as all that is verified has.
        Some(How::ByHostname { authorities, .. }) => options.ca = authorities.clone(),
        Some(How::ByAlternativeNames([h1, h2])) => {
            let tls = if matches!(options.alpn, ALPN::H2) { h2 } else { h1 };
            let tls = Presenting { tls: Arc::clone(tls), client_certificate: client_certificate.clone() };
            websocket::apply(options, connect, None, Some(&tls));
            below = Some(tls);
        }
        None if is_tls => {
            // What `appProtocol: https` promises is encryption. Whose certificate it is nobody has said.
            options.verify_cert = false;
            options.verify_hostname = false;
            options.ca = Some(nobody());
        }
        None => {}
    }
    let client_certificate = client_certificate.as_deref().filter(|_| is_tls || below.is_some());
    if is_tls && let Some(certificate) = client_certificate {
        certificate.show_to(&mut peer);
    }
    let options = &peer.options;
    // pingora's pool does not tell protocols apart, and would hand an HTTP/1.1 connection to h2c; nor authorities, and
    // would hand on what was verified in another way, or not at all; nor, but by their serial numbers, the certificates
    // that were shown, and would let one entry point be taken for another.
    let protocol = match options.alpn {
        ALPN::H2 => 2,
        ALPN::H2H1 => 3,
        _ => 1,
    };
    peer.group_key = match (verified.map(|it| it.identity), client_certificate.map(|it| it.identity)) {
        (None, None) => protocol,
        identities => FixedState::default().hash_one((identities, protocol)),
    };
    if *is_fresh {
        peer.group_key ^= FRESH;
    }
    if let Some(upgraded) = websocket {
        // Nothing of it is used again.
        let due = left.map(|left| (Instant::now() + left, upgraded));
        websocket::apply(&mut peer.options, connect, due, below.as_ref());
        peer.group_key = 4;
    }
    peer
}

/// How long a socket waits for the answer to its SYN. What is connected gets the limit of [`KEEPALIVE`] instead.
fn limit_connect(limit: Duration) -> Arc<SocketTweak> {
    Arc::new(move |socket| {
        let limited = SockRef::from(socket).set_tcp_user_timeout(Some(limit));
        limited.or_err(ErrorType::SocketError, "cannot limit how long a connection may take")
    })
}

type SocketTweak = dyn Fn(&TcpSocket) -> Result<()> + Send + Sync;

/// A [`ServerValidation`] as it is used, made once for each backend.
#[derive(Debug)]
pub struct Verified {
    how: How,
    /// Differs where anything of the validation does.
    identity: u64,
    pub(super) raw: RawTls,
}

#[derive(Debug)]
enum How {
    /// By pingora.
    ByHostname {
        /// None is those that the machine believes.
        authorities: Option<Arc<CaType>>,
        hostname: String,
    },
    /// For HTTP/1.1 and for HTTP/2, which pingora takes for such in the clear.
    ByAlternativeNames([Arc<Tls>; 2]),
}

impl Verified {
    pub(super) fn new(validation: &ServerValidation) -> Self {
        let identity = identity(validation);
        let by_hostname = |authorities| How::ByHostname { authorities, hostname: validation.hostname.to_string() };
        let how = match &validation.authorities {
            _ if !validation.alternative_names.is_empty() => {
                Tls::both(validation).map(How::ByAlternativeNames).unwrap_or_else(|error| {
                    error!(hostname = %validation.hostname, "cannot verify a backend, and so reaches it never: {error:#}");
                    by_hostname(Some(nobody()))
                })
            }
            // The translation has had each of them parsed.
            TrustedBy::These(these) => {
                by_hostname(Some(these.0.iter().map(|it| WrappedX509::new(it.to_vec(), parse_x509)).collect()))
            }
            TrustedBy::System => by_hostname(None),
        };
        Self { how, identity, raw: RawTls::default() }
    }
}

/// A number that stands for `value` where pingora's pool compares nothing else. Its key is new with each process: nobody
/// who may choose a value can choose one that has the number of another.
pub(super) fn identity(value: &impl Hash) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(value)
}

/// # Errors
/// When the machine's authorities (`SSL_CERT_FILE`, `SSL_CERT_DIR`, or where its distribution has them) cannot be read,
/// where pingora would panic. No authority at all is fine.
pub fn check_authorities() -> anyhow::Result<()> {
    let found = rustls_native_certs::load_native_certs()
        .context("cannot read the certificates of authorities (SSL_CERT_FILE, SSL_CERT_DIR)")?;
    let mut anchors = RootCertStore::empty();
    found
        .into_iter()
        .try_for_each(|authority| anchors.add(authority))
        .context("one of this machine's certificates of authorities cannot be used (SSL_CERT_FILE, SSL_CERT_DIR)")
}

/// Changes the key of connections that are not shared.
const FRESH: u64 = 16;

/// A certificate authority whose key was thrown away. pingora wants one even for what it does not verify,
/// and takes the machine's; an image with nothing in it has none.
fn nobody() -> Arc<CaType> {
    static NOBODY: OnceLock<Arc<CaType>> = OnceLock::new();
    let make = || Arc::from([WrappedX509::new(include_bytes!("nobody.der").to_vec(), parse_x509)]);
    Arc::clone(NOBODY.get_or_init(make))
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_nobody_answers_ends_at_its_limit() {
        let listening = TcpSocket::new_v4().expect("a socket");
        listening.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = listening.listen(1).expect("open");
        let address = listener.local_addr().expect("bound");
        // Once its queue is full, the kernel answers no SYN.
        let mut waiting = Vec::new();
        let connect = async || {
            let socket = TcpSocket::new_v4().expect("a socket");
            limit_connect(Duration::from_millis(500))(&socket).expect("it is limited");
            socket.connect(address).await
        };
        let ended = timeout(Duration::from_secs(60), async {
            loop {
                match connect().await {
                    Ok(stream) => waiting.push(stream),
                    Err(error) => return error.kind(),
                }
            }
        });
        assert_eq!(ended.await.expect("less than the two minutes of the kernel"), io::ErrorKind::TimedOut);
    }
}
