//! One listening socket's connections, each from accept to its end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use k8s::{model::Trust, telemetry::now_and_then};
use pingora_core::{
    apps::ServerApp,
    protocols::{ALPN, IO, Ssl, Stream, http::server::Session as HttpSession},
    server::ShutdownWatch,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{Instant, Sleep, sleep, timeout},
};
use tracing::warn;

use super::{
    App, Apps, Connections, Kind, Limits, ON_ITS_WAY,
    admission::{Counted, Place, Room},
    edge_io::EdgeIo,
    first,
    gathered::Gathered,
    h1::H1,
    h2::H2,
    metrics::Metrics,
    phase::{self, Phase},
    signals::{Leaving, Signals},
    turns::{InTurns, Turns},
};
use crate::{dataplane::SharedDataplane, tls};

/// What a connection that has been ended may still need to say so.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Connections that are accepted before whoever has one is served again.
const ACCEPTED_AT_ONCE: usize = 4;

/// What every connection of a socket shares.
pub(super) struct Door<A> {
    pub(super) apps: Arc<Apps<A>>,
    pub(super) dataplane: SharedDataplane,
    pub(super) room: Room,
    pub(super) address: SocketAddr,
    pub(super) kind: Kind,
    pub(super) acceptor: Option<tls::Acceptor>,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) leaving: Leaving,
    pub(super) connections: Connections,
}

/// Who has a connection, for as long as it lasts.
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) counted: Counted,
}

pub(super) async fn accept<A: App>(listener: &TcpListener, door: &Arc<Door<A>>) {
    let mut warned = None;
    for number in 1_usize.. {
        if number.is_multiple_of(ACCEPTED_AT_ONCE) {
            yield_now().await;
        }
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
pub(super) fn accept_waiting<A: App>(listener: TcpListener, door: &Arc<Door<A>>) {
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
    let Some(client) = Box::pin(door.admit(&mut stream, peer)).await else { return };
    let turns = &client.counted.turns;
    let (stream, first) = match door.kind {
        Kind::Tcp => return Box::pin(door.serve_tcp(stream, client.address)).await,
        Kind::Tls if door.has_streams() => match Box::pin(door.serve_tls(stream, &client)).await {
            Some(https) => https,
            None => return,
        },
        Kind::Http | Kind::Tls | Kind::Udp => (stream, Vec::new()),
    };
    let phase = Arc::new(Phase::new(door.leaving.clone()));
    let open = Box::pin(door.open(stream, first, &client, &phase));
    let is_due = |turns: &Turns| door.acceptor.is_some() || turns.are_due();
    let Some((stream, is_h2)) = turns.take(is_due, open).await else { return };
    if is_h2 {
        let mut finish: ShutdownWatch = door.connections.finish.subscribe();
        if *finish.borrow() {
            // Of what was said before it began to listen, pingora's HTTP/2 would hear nothing.
            finish.mark_changed();
        }
        let app = InTurns::new(&door.apps.http, turns);
        turns.take(Turns::are_due, app.process_new(stream, &finish)).await;
    } else {
        phase::scope(phase, Box::pin(door.serve_h1(stream))).await;
    }
}

impl<A: App> Door<A> {
    fn trust(&self) -> Trust {
        let dataplane = self.dataplane.load();
        dataplane.sockets.get(&self.address).map(|socket| socket.edge.trust.clone()).unwrap_or_default()
    }

    fn edge(&self, stream: TcpStream, first: Vec<u8>, peer: SocketAddr, phase: &Arc<Phase>) -> EdgeIo {
        EdgeIo::new(
            stream,
            first,
            peer,
            self.address,
            Arc::clone(phase),
            self.limits.half_closed,
            self.connections.signals.told(),
        )
    }

    /// That a connection which has said nothing is to end, and had the time to.
    pub(super) async fn idle_close(&self) {
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
    async fn admit(&self, stream: &mut TcpStream, mut peer: SocketAddr) -> Option<Client> {
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
        let counted = self.room.count(peer.ip(), is_in(&trust.sources, peer.ip()));
        if counted.is_none() {
            self.metrics.too_many.increment(1);
        }
        Some(Client { address: peer, counted: counted? })
    }

    /// The stream that HTTP is spoken on, and whether that is HTTP/2. `first` was read before, and is of a handshake.
    async fn open(
        &self,
        mut stream: TcpStream,
        first: Vec<u8>,
        client: &Client,
        phase: &Arc<Phase>,
    ) -> Option<(Stream, bool)> {
        let Some(acceptor) = &self.acceptor else {
            let looked = tokio::select! {
                looked = timeout(self.limits.head, first::look_for_preface(&mut stream)) => looked,
                () = self.idle_close() => return None,
            };
            let Ok(Ok((first, is_h2))) = looked else {
                self.metrics.silent.increment(1);
                return None;
            };
            return Some(self.http(self.edge(stream, Vec::new(), client.address, phase), first, is_h2, client, phase));
        };
        // Its own deadline bounds the handshake; the one for heads begins after it.
        phase.free();
        let edge = self.edge(stream, first, client.address, phase);
        match timeout(self.limits.handshake, acceptor.tls_handshake(edge)).await {
            Ok(Ok(stream)) => {
                let is_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
                phase.idle();
                Some(self.http(stream, Vec::new(), is_h2, client, phase))
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
    fn http<S>(&self, stream: S, first: Vec<u8>, is_h2: bool, client: &Client, phase: &Arc<Phase>) -> (Stream, bool)
    where
        S: IO + 'static,
    {
        let stream: Stream = if is_h2 {
            phase.free();
            let turns = Arc::clone(&client.counted.turns);
            Box::new(Gathered::new(H2::new(stream, first, self.limits.head, &self.metrics, turns)))
        } else {
            let (refuse, phase) = (Arc::clone(&self.apps.refuse), Arc::clone(phase));
            Box::new(H1::new(stream, &first, (self.address, client.address), refuse, phase, self.limits.head))
        };
        (stream, is_h2)
    }

    /// As pingora does it (`ServerApp::process_new`), but for the wait for a request: pingora has all of a request's
    /// memory in its hands while it waits for one. The phase reaches its hooks through the task; HTTP/2 streams run in
    /// tasks of their own, where it changes nothing.
    async fn serve_h1(&self, mut stream: Stream) {
        let finish: ShutdownWatch = self.connections.finish.subscribe();
        let mut timer = pin!(sleep(self.limits.unused));
        let mut until = timer.deadline();
        loop {
            // By its peek, which nobody else has a use for, it waits for the next request.
            let has_come = tokio::select! {
                biased;
                peeked = stream.try_peek(&mut []) => peeked.unwrap_or(false),
                () = reached(timer.as_mut(), until) => false,
            };
            if !has_come {
                return;
            }
            let mut session = HttpSession::new_http1(stream);
            // No timer of pingora's: the request has begun, and its head has its own deadline.
            session.set_keepalive(Some(0));
            let Some(reused) = self.apps.http.process_new_http(session, &finish).await else { return };
            (stream, _) = reused.consume();
            until = Instant::now() + self.limits.idle;
        }
    }
}

/// To set a timer takes longer than to ask what time it is. So it is set anew when it has run out, and too early.
async fn reached(mut timer: Pin<&mut Sleep>, until: Instant) {
    if timer.deadline() > until {
        timer.as_mut().reset(until);
    }
    timer.as_mut().await;
    while timer.deadline() < until {
        timer.as_mut().reset(until);
        timer.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_set_seldom_runs_out_when_it_is_due() {
        let began = Instant::now();
        let mut timer = pin!(sleep(Duration::from_secs(60)));
        for (after, runs_out) in [(60, 60), (300, 300), (310, 310), (305, 310)] {
            reached(timer.as_mut(), began + Duration::from_secs(after)).await;
            assert_eq!(began.elapsed().as_secs(), runs_out);
        }
        let mut timer = pin!(sleep(Duration::from_secs(60)));
        reached(timer.as_mut(), Instant::now() + Duration::from_secs(30)).await;
        assert_eq!(began.elapsed().as_secs(), 340, "sooner than it was set for");
    }
}
