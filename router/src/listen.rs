//! Listening sockets: opened, changed and closed at run time, each without touching the others.
//!
//! A connection's way: accept → [`admission`] → PROXY header where the peer sends one → [`edge_io`] → TLS, or a
//! look for the HTTP/2 preface → [`h1`] or [`h2`], which check what comes → pingora. Handshakes, and all of who floods,
//! wait for their client's [`turns`]. What is not HTTP leaves it before TLS ([`streams`]); datagrams have nothing of it.

mod admission;
mod door;
mod edge_io;
mod first;
mod gathered;
mod h1;
mod h2;
mod metrics;
pub mod phase;
mod plan;
mod signals;
mod streams;
mod through;
mod turns;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use k8s::config::DrainConfig;
use pingora_core::apps::HttpServerApp;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    admission::Whole,
    door::{Door, accept, accept_waiting},
    plan::{Bound, Transport},
    signals::Signals,
};
pub(crate) use self::{
    admission::{Counted, Place, Room, one_client},
    metrics::Metrics,
    turns::Turns,
};
pub use self::{
    admission::{OneRequest, Requests},
    plan::{Kind, Wanted},
    signals::Leaving,
};
use crate::{datagram, dataplane::SharedDataplane, framing::Refusal, stream, tls};

/// A client that was sent something this recently may have its next request on the way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How long a connection waits for its next request. cloudflared keeps idle connections for 90 s, and must not be the
/// one who finds them closed.
pub const IDLE: Duration = Duration::from_secs(300);

/// What one client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections per listening socket; more wait in the kernel's queue.
    pub connections: usize,
    /// Of these, by one client (an address of IPv4, a /64 of IPv6). Where nodes hide clients from the router, they
    /// are all one, and those whose word about their clients is believed are many: they are not counted.
    pub of_one_client: usize,
    /// For a whole HTTP/1 request head, from its first byte, and for the first bytes of a connection: in the clear, and
    /// of HTTP/2.
    pub head: Duration,
    /// For a TLS handshake, and before it for its first message where other listeners than HTTPS are asked for, too.
    pub handshake: Duration,
    /// Until the first request of HTTP/1 over TLS. Browsers open connections that they may need.
    pub unused: Duration,
    /// Between two requests of HTTP/1.
    pub idle: Duration,
    /// How long an HTTP/1 client that has closed its sending side waits for the next byte of its answer.
    pub half_closed: Duration,
    pub datagrams: datagram::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self {
            connections: 16_384,
            of_one_client: 4_096,
            head: ten_seconds,
            handshake: ten_seconds,
            unused: Duration::from_secs(60),
            idle: IDLE,
            half_closed: Duration::from_secs(30),
            datagrams: datagram::Limits::default(),
        }
    }
}

/// The answer to a request that is refused before anybody could read it, as bytes; by the socket that was bound and
/// the client.
pub type Refuse = dyn Fn(SocketAddr, SocketAddr, Refusal) -> Vec<u8> + Send + Sync;

/// What connections are handed to.
pub trait App: HttpServerApp + Send + Sync + 'static {}

impl<A: HttpServerApp + Send + Sync + 'static> App for A {}

/// Who serves what comes.
pub struct Apps<A> {
    pub http: Arc<A>,
    pub refuse: Arc<Refuse>,
    pub streams: stream::Shared,
}

/// All open sockets of the router.
pub struct Listeners<A> {
    runtime: Handle,
    apps: Arc<Apps<A>>,
    /// For the connections of all sockets.
    room: Arc<Whole>,
    dataplane: SharedDataplane,
    limits: Limits,
    drain: DrainConfig,
    leaving: Leaving,
    open: BTreeMap<Bound, Open>,
    /// Sockets that are closed, and whose requests are not.
    draining: TaskTracker,
}

/// One listening socket.
struct Open {
    kind: Kind,
    /// Owns the socket.
    serving: JoinHandle<()>,
    stop: CancellationToken,
    then: Then,
}

/// What becomes of clients when a socket closes.
enum Then {
    /// They go on without it.
    Connections(Connections),
    /// They are answered on it, as long as the router leaves, until this is cancelled or they are silent.
    Datagrams(CancellationToken),
}

#[derive(Clone)]
struct Connections {
    tracker: TaskTracker,
    /// pingora's word for "finish what runs": GOAWAY on HTTP/2, no more keep-alive on HTTP/1.
    finish: watch::Sender<bool>,
    signals: Arc<Signals>,
}

impl<A: App> Listeners<A> {
    /// Connections are served on `runtime`.
    pub fn new(runtime: Handle, apps: Apps<A>, dataplane: SharedDataplane, limits: Limits, drain: DrainConfig) -> Self {
        let room = Whole::for_process();
        let datagrams = limits.datagrams.of_room(room.n_free());
        Self {
            runtime,
            apps: Arc::new(apps),
            room,
            dataplane,
            limits: Limits { datagrams, ..limits },
            drain,
            leaving: Leaving::default(),
            open: BTreeMap::new(),
            draining: TaskTracker::new(),
        }
    }

    /// To be set before [`Listeners::leave`], by as long as clients may take to find another router.
    pub fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }

    /// Opens and closes until exactly `wanted` is open. What could not be opened is returned, and
    /// tried again by the next call.
    pub async fn apply(&mut self, wanted: &[Wanted]) -> Vec<(SocketAddr, io::Error)> {
        let open: Vec<Wanted> =
            self.open.iter().map(|((address, _), open)| Wanted { address: *address, kind: open.kind }).collect();
        let plan = plan::plan(&open, wanted);
        for bound in plan.close {
            if let Some(open) = self.open.remove(&bound) {
                info!(address = %bound.0, kind = ?open.kind, "closing");
                self.drain(open).await;
            }
        }
        let mut failures = Vec::new();
        for wanted in plan.open {
            match self.listen(wanted) {
                Ok(open) => {
                    info!(address = %wanted.address, kind = ?wanted.kind, "open");
                    self.open.insert(wanted.bound(), open);
                }
                Err(error) => failures.push((wanted.address, error)),
            }
        }
        failures
    }

    /// Closes all sockets, lets requests finish, and ends what is left after the drain timeout.
    pub async fn leave(mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            match open.then {
                Then::Connections(_) => self.drain(open).await,
                Then::Datagrams(ref finish) => {
                    finish.cancel();
                    let limit = Duration::from_secs(self.drain.timeout);
                    self.draining.spawn(async move {
                        let Open { mut serving, stop, .. } = open;
                        if timeout(limit, &mut serving).await.is_err() {
                            stop.cancel();
                            let _ = serving.await;
                        }
                    });
                }
            }
        }
        self.draining.close();
        self.draining.wait().await;
    }

    /// Returns when the address can be bound again; requests may go on until the drain timeout. Who has sent a datagram
    /// is not answered any more, as that would take the address.
    async fn drain(&self, open: Open) {
        open.stop.cancel();
        // The task owns the socket; it cannot fail, only end.
        let _ = open.serving.await;
        if let Then::Connections(connections) = open.then {
            self.draining.spawn(connections.finish(Duration::from_secs(self.drain.timeout)));
        }
    }

    fn listen(&self, wanted: Wanted) -> io::Result<Open> {
        // Sockets and tasks belong to the runtime in which they are made.
        let _in = self.runtime.enter();
        match wanted.bound() {
            (_, Transport::Tcp) => self.listen_for_connections(wanted),
            (address, Transport::Udp) => self.listen_for_datagrams(address),
        }
    }

    fn listen_for_connections(&self, Wanted { address, kind }: Wanted) -> io::Result<Open> {
        let listener = bind(address)?;
        let acceptor = || tls::Acceptor { dataplane: Arc::clone(&self.dataplane), socket: address };
        let connections =
            Connections { tracker: TaskTracker::new(), finish: watch::Sender::new(false), signals: Arc::default() };
        let stop = CancellationToken::new();
        let door = Door {
            apps: Arc::clone(&self.apps),
            dataplane: Arc::clone(&self.dataplane),
            room: Room::new(Arc::clone(&self.room), self.limits.connections, self.limits.of_one_client),
            address,
            kind,
            acceptor: (kind == Kind::Tls).then(acceptor),
            limits: self.limits,
            metrics: Metrics::new(&address.to_string()),
            leaving: self.leaving.clone(),
            connections: connections.clone(),
        };
        let (door, stopped) = (Arc::new(door), stop.clone());
        let serving = tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = accept(&listener, &door) => {}
            }
            accept_waiting(listener, &door);
        });
        Ok(Open { kind, serving, stop, then: Then::Connections(connections) })
    }

    fn listen_for_datagrams(&self, address: SocketAddr) -> io::Result<Open> {
        let limits = self.limits.datagrams;
        let server = datagram::Server {
            socket: Arc::new(datagram::Socket::bind(address)?),
            address,
            dataplane: Arc::clone(&self.dataplane),
            room: Room::new(Arc::clone(&self.room), limits.sessions, limits.of_one_client),
            limits,
            metrics: Metrics::new(&format!("{address}/udp")),
            log: self.apps.streams.log.clone(),
            told_of_refused: None,
        };
        let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
        let serving = tokio::spawn(datagram::serve(server, finish.clone(), stop.clone()));
        Ok(Open { kind: Kind::Udp, serving, stop, then: Then::Datagrams(finish) })
    }
}

impl Connections {
    async fn finish(self, limit: Duration) {
        self.finish.send_replace(true);
        self.signals.close_idle();
        self.tracker.close();
        if timeout(limit, self.tracker.wait()).await.is_err() {
            warn!(connections = self.tracker.len(), "ended at the drain timeout");
            self.signals.cancel();
            self.tracker.wait().await;
        }
    }
}

/// Without SO_REUSEPORT: a second router on the address is a mistake worth an error.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Old connections of a router that has just ended do not hold the address.
    socket.set_reuse_address(true)?;
    // What is accepted inherits these; without them it works, too.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}
