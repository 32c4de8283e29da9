//! Datagrams (UDP). Those of one client, which is an address and a port, go to one endpoint for as long as they keep
//! coming; what that answers goes back from the address that was asked.
//!
//! One task for each listening socket has the table of its clients; one for each client waits for answers. Datagrams
//! are read into a place that all of a thread share: no memory is allocated for one, and none is kept.

mod session;
mod socket;

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s::{model::BackendId, telemetry::now_and_then};
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::session::{IN_A_ROW, Session, with_buffer};
pub use self::socket::{Peer, Socket};
use crate::{
    access_log::AccessLog,
    dataplane::{Action, CellTarget, DatagramSocket, SharedDataplane},
    listen::{Metrics, Room, one_client},
    stream::{
        backend, random,
        report::{About, Report},
    },
    upstream::clock,
};

/// How often it is looked who has been silent for too long, and whose endpoint is gone.
const SWEEP: Duration = Duration::from_secs(1);
/// However many clients there are, and when the router leaves: an answer may be on its way for so long.
const SHORTEST: Duration = Duration::from_secs(1);

/// What may be kept of clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Per listening socket, and no more than a fourth of what the process has room for.
    pub sessions: usize,
    /// Of these, of one client as connections are counted: an address of IPv4, a /64 of IPv6.
    pub of_one_client: usize,
    /// How long a client may be silent before its next datagram may go to another endpoint. The less, the more there
    /// are: one that asks each question from a port of its own does not fill up the places.
    pub idle: Duration,
}

impl Limits {
    /// Where the process has room for so many clients of all kinds. Addresses of datagrams are easily made up, and must
    /// not take the places of connections.
    pub fn of_room(self, places: usize) -> Self {
        let share = |most: usize, part: usize| most.min((places / part).max(1));
        Self { sessions: share(self.sessions, 4), of_one_client: share(self.of_one_client, 8), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 8_192, of_one_client: 4_096, idle: Duration::from_secs(60) }
    }
}

/// What a listening socket serves with.
pub(crate) struct Server {
    pub(crate) socket: Arc<Socket>,
    pub(crate) address: SocketAddr,
    pub(crate) dataplane: SharedDataplane,
    pub(crate) room: Room,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) log: Option<AccessLog>,
    /// When one that led nowhere was written to the log.
    pub(crate) told_of_refused: Option<Instant>,
}

type Sessions = HashMap<SocketAddr, Running>;

struct Running {
    session: Arc<Session>,
    answering: AbortOnDropHandle<()>,
}

/// Until `stop` is cancelled; or `finish`, and all clients have fallen silent. Afterwards the address can be bound again.
pub(crate) async fn serve(mut server: Server, finish: CancellationToken, stop: CancellationToken) {
    let mut sessions = Sessions::new();
    let mut sweep = interval(SWEEP.min(server.limits.idle / 2).max(Duration::from_millis(1)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_finishing = false;
    while !(is_finishing && sessions.is_empty()) {
        tokio::select! {
            readable = server.socket.readable() => match readable {
                // A socket that is always readable would be waited for without ever waiting.
                Ok(()) => if server.receive(&mut sessions, is_finishing) { yield_now().await },
                Err(_) => break,
            },
            _ = sweep.tick(), if !sessions.is_empty() => server.sweep(&mut sessions, is_finishing),
            () = finish.cancelled(), if !is_finishing => is_finishing = true,
            () = stop.cancelled() => break,
        }
    }
    for Running { answering, .. } in sessions.into_values() {
        answering.abort();
        let _ = answering.await;
    }
}

impl Server {
    /// What is there. Returns whether there may be more.
    fn receive(&mut self, sessions: &mut Sessions, is_finishing: bool) -> bool {
        with_buffer(|buffer| {
            for _ in 0..IN_A_ROW {
                let received = match self.socket.try_receive(buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                    Err(_) => continue,
                };
                for datagram in received.datagrams(buffer) {
                    self.forward(sessions, received.peer, datagram, is_finishing);
                }
            }
            true
        })
    }

    fn forward(&mut self, sessions: &mut Sessions, peer: Peer, datagram: &[u8], is_finishing: bool) {
        // The second time to somebody else than who has just refused it.
        for _ in 0..2 {
            let session = match sessions.entry(peer.client) {
                Entry::Occupied(known) if !known.get().session.is_refused() => known.into_mut(),
                _ if is_finishing => return,
                entry => {
                    // What there was of it is reported, and gives its place back.
                    if let Entry::Occupied(refused) = entry {
                        refused.remove();
                    }
                    let Some(session) = self.begin(peer) else { return };
                    sessions.entry(peer.client).insert_entry(session).into_mut()
                }
            };
            if session.session.send(datagram) {
                return;
            }
        }
    }

    fn begin(&mut self, peer: Peer) -> Option<Running> {
        let dataplane = self.dataplane.load();
        let DatagramSocket { edge, only } = &**dataplane.datagrams.get(&self.address)?;
        // Whoever gives one of our own addresses for his has us speak to ourselves for ever.
        let every = peer.asked.map(|asked| SocketAddr::new(asked, self.address.port()));
        if dataplane.datagrams.contains_key(&peer.client) || every == Some(peer.client) {
            return None;
        }
        let is_believed = edge.trust.sources.iter().any(|net| net.contains(&peer.client.ip().to_canonical()));
        let room = self.room.free_place().zip(self.room.count(peer.client.ip(), is_believed));
        let Some(room) = room else {
            self.metrics.too_many.increment(1);
            return None;
        };
        self.metrics.accepted.increment(1);
        let about = About {
            began: Instant::now(),
            edge: Arc::clone(edge),
            listener: Arc::clone(&only.listener),
            protocol: "udp",
            client: peer.client,
            server_name: None,
            action: only.action.clone(),
        };
        let mut report = Report::new(about, self.log.clone());
        let chosen = only.action.as_deref().map_or_else(|| Err("no route".into()), backend);
        let begun = match chosen {
            Ok(cell) => Session::new(peer, cell, random(), report, self.metrics.open.clone(), room),
            Err(why) => {
                report.error = Some(why);
                Err(Box::new(report))
            }
        };
        // Each datagram of a client would be one more of these.
        let tell = |mut report: Box<Report>| {
            if !now_and_then(&mut self.told_of_refused) {
                report.silence();
            }
        };
        let session = begun.map_err(tell).ok()?;
        let (answering, socket) = (Arc::clone(&session), Arc::clone(&self.socket));
        let answering = tokio::spawn(async move { answering.answer(&socket).await });
        Some(Running { session, answering: AbortOnDropHandle::new(answering) })
    }

    fn sweep(&self, sessions: &mut Sessions, is_finishing: bool) {
        let now = clock::now();
        let dataplane = self.dataplane.load();
        let action = dataplane.datagrams.get(&self.address).and_then(|socket| socket.only.action.as_deref());
        let mut of_client: HashMap<IpAddr, usize> = HashMap::new();
        for running in sessions.values() {
            *of_client.entry(one_client(running.session.client().ip())).or_default() += 1;
        }
        let (count, limits) = (sessions.len(), self.limits);
        sessions.retain(|client, Running { session, .. }| {
            let of_client = of_client.get(&one_client(client.ip())).copied().unwrap_or_default();
            let patience = patience(limits.idle, count, limits.sessions)
                .min(patience(limits.idle, of_client, limits.of_one_client))
                .min(if is_finishing { SHORTEST } else { Duration::MAX });
            let is_heard = u128::from(session.silence(now)) < patience.as_millis();
            let (id, endpoint) = session.leads_to();
            is_heard && !session.is_refused() && (is_finishing || leads_to(action, id, endpoint))
        });
    }
}

/// How long a client may be silent where so many of all places are taken. From half of them on it is less and less.
fn patience(idle: Duration, taken: usize, places: usize) -> Duration {
    let half = places / 2;
    let (free, of) = (places.saturating_sub(taken), places.saturating_sub(half).max(1));
    if taken <= half {
        return idle;
    }
    idle.mul_f64(free as f64 / of as f64).max(SHORTEST.min(idle))
}

/// Whether the route still has the backend, and that the endpoint.
fn leads_to(action: Option<&Action>, id: &BackendId, endpoint: SocketAddr) -> bool {
    action.into_iter().flat_map(|action| &action.backends).any(|backend| match &backend.target {
        CellTarget::Cell(cell) => {
            backend.weight > 0
                && cell.backend.id == *id
                && cell.endpoints().iter().any(|known| known.address == endpoint)
        }
        CellTarget::Invalid(_) => false,
    })
}

#[cfg(test)]
mod tests;
