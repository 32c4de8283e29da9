//! Listening sockets: opened, changed and closed at run time, each without touching the others.
//!
//! A connection's way: accept → cap → [`edge_io`] (buffers, deadlines) → TLS, or a look for the
//! HTTP/2 preface → pingora.

mod edge_io;
mod metrics;
pub mod phase;
mod plan;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use k8s::{config::DrainConfig, telemetry::now_and_then};
use pingora_core::{
    apps::{HttpServerApp, ServerApp},
    listeners::tls::Acceptor,
    protocols::{ALPN, Ssl, Stream},
    server::ShutdownWatch,
};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use self::plan::Wanted;
use self::{edge_io::EdgeIo, metrics::Metrics, phase::Phase};
use crate::{dataplane::SharedDataplane, tls};

/// What a connection that has been ended may still need to say so.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What one client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections per listening socket; more wait in the kernel's queue.
    pub connections: usize,
    /// For a whole HTTP/1 request head, from its first byte, and for the first bytes of a connection. Of a head
    /// that began behind the request before it, from the next byte.
    pub head: Duration,
    pub handshake: Duration,
    /// How long an HTTP/1 client that has closed its sending side waits for the next byte of its answer.
    pub half_closed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self { connections: 16_384, head: ten_seconds, handshake: ten_seconds, half_closed: Duration::from_secs(30) }
    }
}

/// What connections are handed to.
pub trait App: HttpServerApp + Send + Sync + 'static {}

impl<A: HttpServerApp + Send + Sync + 'static> App for A {}

/// All open sockets of the router.
pub struct Listeners<A> {
    app: Arc<A>,
    dataplane: SharedDataplane,
    limits: Limits,
    drain: DrainConfig,
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
    signals: Signals,
}

/// What a connection is told from without.
#[derive(Clone, Default)]
struct Signals {
    /// HTTP/1 connections between two requests end.
    close_idle: CancellationToken,
    /// Everything ends.
    cancel: CancellationToken,
}

impl<A: App> Listeners<A> {
    pub fn new(app: Arc<A>, dataplane: SharedDataplane, limits: Limits, drain: DrainConfig) -> Self {
        Self { app, dataplane, limits, drain, open: BTreeMap::new(), draining: TaskTracker::new() }
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
        let listener = bind(address)?;
        let acceptor = if tls {
            Some(Arc::new(tls::acceptor(Arc::clone(&self.dataplane), address).map_err(io::Error::other)?))
        } else {
            None
        };
        let connections =
            Connections { tracker: TaskTracker::new(), finish: watch::Sender::new(false), signals: Signals::default() };
        let stop_accepting = CancellationToken::new();
        let door = Door {
            app: Arc::clone(&self.app),
            address,
            acceptor,
            limits: self.limits,
            metrics: Metrics::new(address),
            connections: connections.clone(),
        };
        let stop = stop_accepting.clone();
        let accepting = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(listener, Arc::new(door)) => {}
            }
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
        self.signals.close_idle.cancel();
        self.tracker.close();
        if timeout(limit, self.tracker.wait()).await.is_err() {
            warn!(connections = self.tracker.len(), "ended at the drain timeout");
            self.signals.cancel.cancel();
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// What every connection of a socket shares.
struct Door<A> {
    app: Arc<A>,
    address: SocketAddr,
    acceptor: Option<Arc<Acceptor>>,
    limits: Limits,
    metrics: Metrics,
    connections: Connections,
}

async fn accept<A: App>(listener: TcpListener, door: Arc<Door<A>>) {
    let slots = Arc::new(Semaphore::new(door.limits.connections));
    let mut warned = None;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
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
        door.metrics.accepted.increment(1);
        let cancel = door.connections.signals.cancel.clone();
        let one = Arc::clone(&door);
        door.connections.tracker.spawn(async move {
            one.metrics.open.increment(1.0);
            tokio::select! {
                () = serve(&one, stream, peer) => {}
                // Its own stream tells it, so that its requests are logged; this is for what does not listen.
                () = async { cancel.cancelled().await; sleep(LAST_WORD).await } => {}
            }
            one.metrics.open.decrement(1.0);
            drop(slot);
        });
    }
}

async fn serve<A: App>(door: &Door<A>, stream: TcpStream, peer: SocketAddr) {
    tune(&stream);
    let phase = Arc::new(Phase::default());
    let signals = door.connections.signals.clone();
    let mut edge = EdgeIo::new(stream, peer, door.address, Arc::clone(&phase), door.limits, signals);
    let finish = door.connections.finish.subscribe();
    match &door.acceptor {
        None => match edge.peek_preface(door.limits.head).await {
            Ok(is_h2) => {
                if is_h2 {
                    phase.free();
                }
                hand_over(&door.app, Box::new(edge), phase, &finish).await;
            }
            Err(_) => door.metrics.silent.increment(1),
        },
        Some(acceptor) => {
            // Its own deadline bounds the handshake; the one for heads begins after it.
            phase.free();
            match timeout(door.limits.handshake, acceptor.tls_handshake(edge)).await {
                Ok(Ok(stream)) => {
                    if !matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
                        phase.idle();
                    }
                    hand_over(&door.app, Box::new(stream), phase, &finish).await;
                }
                Ok(Err(_)) => door.metrics.handshake_failed.increment(1),
                Err(_) => door.metrics.handshake_timeout.increment(1),
            }
        }
    }
}

/// The phase reaches pingora's hooks through the task; HTTP/2 streams run in tasks of their own, where it changes nothing.
async fn hand_over<A: App>(app: &Arc<A>, stream: Stream, phase: Arc<Phase>, finish: &ShutdownWatch) {
    phase::scope(phase, app.process_new(stream, finish)).await;
}

/// Failures leave the kernel's defaults, with which everything works.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
