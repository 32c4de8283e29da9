//! Listening sockets: opened, changed and closed at run time, each without touching the others.
//!
//! A connection's way: accept → [`admission`] → PROXY header where the peer sends one → [`edge_io`] → TLS, or a
//! look for the HTTP/2 preface → [`h1`] or [`h2`], which check what comes → pingora.

mod admission;
mod edge_io;
mod first;
mod h1;
mod h2;
mod metrics;
pub mod phase;
mod plan;
mod signals;
mod through;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use k8s::{config::DrainConfig, model::Trust, telemetry::now_and_then};
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, ServerApp},
    protocols::{ALPN, IO, Ssl, Stream, http::server::Session as HttpSession},
    server::ShutdownWatch,
};
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    admission::{Counted, Place, Room},
    edge_io::EdgeIo,
    h1::H1,
    h2::H2,
    metrics::Metrics,
    phase::Phase,
    signals::Signals,
};
pub use self::{plan::Wanted, signals::Leaving};
use crate::{dataplane::SharedDataplane, framing::Refusal, tls};

/// What a connection that has been ended may still need to say so.
const LAST_WORD: Duration = Duration::from_millis(500);

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
    pub handshake: Duration,
    /// Until the first request of HTTP/1 over TLS. Browsers open connections that they may need.
    pub unused: Duration,
    /// Between two requests of HTTP/1.
    pub idle: Duration,
    /// How long an HTTP/1 client that has closed its sending side waits for the next byte of its answer.
    pub half_closed: Duration,
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
        }
    }
}

/// The answer to a request that is refused before anybody could read it, as bytes; by the socket that was bound and
/// the client.
pub type Refuse = dyn Fn(SocketAddr, SocketAddr, Refusal) -> Vec<u8> + Send + Sync;

/// What connections are handed to.
pub trait App: HttpServerApp + Send + Sync + 'static {}

impl<A: HttpServerApp + Send + Sync + 'static> App for A {}

/// All open sockets of the router.
pub struct Listeners<A> {
    runtime: Handle,
    app: Arc<A>,
    refuse: Arc<Refuse>,
    /// For the connections of all sockets.
    room: Arc<Semaphore>,
    dataplane: SharedDataplane,
    limits: Limits,
    drain: DrainConfig,
    leaving: Leaving,
    open: BTreeMap<SocketAddr, Open>,
    /// Sockets that are closed, and whose requests are not.
    draining: TaskTracker,
}

/// One listening socket and its connections.
struct Open {
    tls: bool,
    accepting: JoinHandle<()>,
    stop_accepting: CancellationToken,
    connections: Connections,
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
    pub fn new(
        runtime: Handle,
        app: Arc<A>,
        refuse: Arc<Refuse>,
        dataplane: SharedDataplane,
        limits: Limits,
        drain: DrainConfig,
    ) -> Self {
        Self {
            runtime,
            app,
            refuse,
            room: admission::for_process(),
            dataplane,
            limits,
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
            self.open.iter().map(|(address, open)| Wanted { address: *address, tls: open.tls }).collect();
        let plan = plan::plan(&open, wanted);
        for address in plan.close {
            if let Some(open) = self.open.remove(&address) {
                info!(%address, "closing");
                self.drain(open).await;
            }
        }
        let mut failures = Vec::new();
        for wanted in plan.open {
            match self.listen(wanted) {
                Ok(open) => {
                    info!(address = %wanted.address, tls = wanted.tls, "open");
                    self.open.insert(wanted.address, open);
                }
                Err(error) => failures.push((wanted.address, error)),
            }
        }
        failures
    }

    /// Closes all sockets, lets requests finish, and ends what is left after the drain timeout.
    pub async fn leave(mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            self.drain(open).await;
        }
        self.draining.close();
        self.draining.wait().await;
    }

    /// Returns when the address can be bound again; requests may go on until the drain timeout.
    async fn drain(&self, open: Open) {
        let connections = open.stop().await;
        self.draining.spawn(connections.finish(Duration::from_secs(self.drain.timeout)));
    }

    fn listen(&self, Wanted { address, tls }: Wanted) -> io::Result<Open> {
        // Sockets and tasks belong to the runtime in which they are made.
        let _in = self.runtime.enter();
        let listener = bind(address)?;
        let acceptor = tls.then(|| tls::Acceptor { dataplane: Arc::clone(&self.dataplane), socket: address });
        let connections =
            Connections { tracker: TaskTracker::new(), finish: watch::Sender::new(false), signals: Arc::default() };
        let stop_accepting = CancellationToken::new();
        let door = Door {
            app: Arc::clone(&self.app),
            refuse: Arc::clone(&self.refuse),
            dataplane: Arc::clone(&self.dataplane),
            room: Room::new(Arc::clone(&self.room), self.limits.connections, self.limits.of_one_client),
            address,
            acceptor,
            limits: self.limits,
            metrics: Metrics::new(address),
            leaving: self.leaving.clone(),
            connections: connections.clone(),
        };
        let (door, stop) = (Arc::new(door), stop_accepting.clone());
        let accepting = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(&listener, &door) => {}
            }
            accept_waiting(listener, &door);
        });
        Ok(Open { tls, accepting, stop_accepting, connections })
    }
}

impl Open {
    /// Afterwards the address can be bound again.
    async fn stop(self) -> Connections {
        self.stop_accepting.cancel();
        // The task owns the socket; it cannot fail, only end.
        let _ = self.accepting.await;
        self.connections
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

/// What every connection of a socket shares.
struct Door<A> {
    app: Arc<A>,
    refuse: Arc<Refuse>,
    dataplane: SharedDataplane,
    room: Room,
    address: SocketAddr,
    acceptor: Option<tls::Acceptor>,
    limits: Limits,
    metrics: Metrics,
    leaving: Leaving,
    connections: Connections,
}

async fn accept<A: App>(listener: &TcpListener, door: &Arc<Door<A>>) {
    let mut warned = None;
    loop {
        let Some(place) = door.room.place().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                door.metrics.accept_errors.increment(1);
                if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    continue;
                }
                // Out of file descriptors or memory: some connection has to end first.
                if now_and_then(&mut warned) {
                    warn!(address = %door.address, %error, "cannot accept");
                }
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        begin(door, place, stream, peer);
    }
}

/// Whoever waits in the kernel's queue believes to be connected, may have sent a request, and would be reset
/// together with the socket.
fn accept_waiting<A: App>(listener: TcpListener, door: &Arc<Door<A>>) {
    let Ok(listener) = listener.into_std() else { return };
    while let Some(place) = door.room.free_place() {
        let Ok((stream, peer)) = listener.accept() else { return };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        // It has been closed with the failure.
        let Ok(stream) = stream else { continue };
        begin(door, place, stream, peer);
    }
}

fn begin<A: App>(door: &Arc<Door<A>>, place: Place, stream: TcpStream, peer: SocketAddr) {
    door.metrics.accepted.increment(1);
    let one = Arc::clone(door);
    door.connections.tracker.spawn(async move {
        one.metrics.open.increment(1.0);
        // In a box, as it would be there twice otherwise.
        until_cancelled(&one.connections.signals, Box::pin(serve(&one, stream, peer))).await;
        one.metrics.open.decrement(1.0);
        drop(place);
    });
}

/// Streams that are told to end do so, and their requests are logged; this wakes them, and ends what does not listen.
async fn until_cancelled(signals: &Signals, serve: impl Future<Output = ()>) {
    let mut changed = signals.subscribe();
    let told = signals.told();
    let mut serve = std::pin::pin!(serve);
    while !told.is_cancelled() {
        tokio::select! {
            () = &mut serve => return,
            said = changed.changed() => if said.is_err() { return },
        }
    }
    let _ = timeout(LAST_WORD, serve).await;
}

/// What it waits for is in boxes, which are gone when that has come: a connection that is idle has none of it.
async fn serve<A: App>(door: &Door<A>, mut stream: TcpStream, peer: SocketAddr) {
    let Some((peer, _counted)) = Box::pin(door.admit(&mut stream, peer)).await else { return };
    let phase = Arc::new(Phase::new(door.leaving.clone()));
    let Some((stream, is_h2)) = Box::pin(door.open(stream, peer, &phase)).await else { return };
    if is_h2 {
        let finish: ShutdownWatch = door.connections.finish.subscribe();
        door.app.process_new(stream, &finish).await;
    } else {
        phase::scope(phase, door.serve_h1(stream)).await;
    }
}

impl<A: App> Door<A> {
    fn trust(&self) -> Trust {
        let dataplane = self.dataplane.load();
        dataplane.sockets.get(&self.address).map(|socket| socket.edge.trust.clone()).unwrap_or_default()
    }

    fn edge(&self, stream: TcpStream, peer: SocketAddr, phase: &Arc<Phase>) -> EdgeIo {
        EdgeIo::new(stream, peer, self.address, Arc::clone(phase), self.limits, self.connections.signals.told())
    }

    /// That a connection which has said nothing is to end, and had the time to.
    async fn idle_close(&self) {
        let mut changed = self.connections.signals.subscribe();
        let told = self.connections.signals.told();
        while !told.idle_close() {
            if changed.changed().await.is_err() {
                return;
            }
        }
        sleep(ON_ITS_WAY).await;
    }

    /// Who the client is, as far as its peer may say, and whether it may have one connection more.
    async fn admit(&self, stream: &mut TcpStream, mut peer: SocketAddr) -> Option<(SocketAddr, Option<Counted>)> {
        let trust = self.trust();
        let is_in =
            |networks: &[IpNet], address: IpAddr| networks.iter().any(|net| net.contains(&address.to_canonical()));
        if is_in(&trust.proxy_protocol, peer.ip()) {
            match timeout(self.limits.head, first::read_proxy_header(stream)).await {
                Ok(Ok(client)) => peer = client.unwrap_or(peer),
                Ok(Err(_)) | Err(_) => {
                    self.metrics.no_proxy_header.increment(1);
                    return None;
                }
            }
        }
        let counted = self.room.count(peer.ip());
        if counted.is_none() && !is_in(&trust.sources, peer.ip()) {
            self.metrics.too_many.increment(1);
            return None;
        }
        Some((peer, counted))
    }

    /// The stream that HTTP is spoken on, and whether that is HTTP/2.
    async fn open(&self, mut stream: TcpStream, peer: SocketAddr, phase: &Arc<Phase>) -> Option<(Stream, bool)> {
        let Some(acceptor) = &self.acceptor else {
            let looked = tokio::select! {
                looked = timeout(self.limits.head, first::look_for_preface(&mut stream)) => looked,
                () = self.idle_close() => return None,
            };
            let Ok(Ok((first, is_h2))) = looked else {
                self.metrics.silent.increment(1);
                return None;
            };
            return Some(self.http(self.edge(stream, peer, phase), first, is_h2, peer, phase));
        };
        // Its own deadline bounds the handshake; the one for heads begins after it.
        phase.free();
        let edge = self.edge(stream, peer, phase);
        match timeout(self.limits.handshake, acceptor.tls_handshake(edge)).await {
            Ok(Ok(stream)) => {
                let is_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
                phase.idle();
                Some(self.http(stream, Vec::new(), is_h2, peer, phase))
            }
            Ok(Err(_)) => {
                self.metrics.handshake_failed.increment(1);
                None
            }
            Err(_) => {
                self.metrics.handshake_timeout.increment(1);
                None
            }
        }
    }

    /// `first` was read before.
    fn http<S>(&self, stream: S, first: Vec<u8>, is_h2: bool, peer: SocketAddr, phase: &Arc<Phase>) -> (Stream, bool)
    where
        S: IO + 'static,
    {
        let stream: Stream = if is_h2 {
            phase.free();
            Box::new(H2::new(stream, first, self.limits.head, &self.metrics))
        } else {
            let (refuse, phase) = (Arc::clone(&self.refuse), Arc::clone(phase));
            Box::new(H1::new(stream, &first, (self.address, peer), refuse, phase, self.limits))
        };
        (stream, is_h2)
    }

    /// As pingora does it (`ServerApp::process_new`), but for the wait for a request: pingora has all of a request's
    /// memory in its hands while it waits for one. The phase reaches its hooks through the task; HTTP/2 streams run in
    /// tasks of their own, where it changes nothing.
    async fn serve_h1(&self, mut stream: Stream) {
        let finish: ShutdownWatch = self.connections.finish.subscribe();
        let mut settings = None;
        let mut limit = self.limits.unused;
        // By its peek, which nobody else has a use for, it waits for the next request.
        while let Ok(Ok(true)) = timeout(limit, stream.try_peek(&mut [])).await {
            let mut session = HttpSession::new_http1(stream);
            match settings.take() {
                Some(settings) => HttpPersistentSettings::apply_to_session(settings, &mut session),
                None => session.set_keepalive(Some(IDLE.as_secs())),
            }
            let Some(reused) = self.app.process_new_http(session, &finish).await else { return };
            (stream, settings) = reused.consume();
            limit = self.limits.idle;
        }
    }
}
