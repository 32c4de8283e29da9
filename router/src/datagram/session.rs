//! One client's datagrams, and what one endpoint answers them.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use k8s::model::BackendId;
use metrics::Gauge;
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, task::yield_now};

use super::socket::{Peer, Socket};
use crate::{
    listen::{Counted, Place},
    stream::{report::Report, tunnel::Carried},
    upstream::{BackendCell, Choice, Failure, Picked, Wish, clock, raw::NO_ENDPOINT},
};

/// The longest datagram that there is, in bytes, or as many of one sender as the kernel hands over at once.
const LONGEST: usize = u16::MAX as usize;
/// Datagrams of one socket in a row, before others have their turn.
pub(super) const IN_A_ROW: usize = 64;
/// Endpoints that are tried for one client's first datagram.
const MOST: usize = 3;

thread_local! {
    /// For one datagram at a time, whoever's it is.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
}

pub(super) fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| read(buffer))
}

/// Reported when the last one who holds it lets it go.
pub(super) struct Session {
    peer: Peer,
    upstream: UdpSocket,
    cell: Arc<BackendCell>,
    picked: Picked,
    /// When the last datagram came, of either side, as `clock` has it.
    active: AtomicU64,
    from_client: AtomicU64,
    from_backend: AtomicU64,
    /// Nobody listens there. The client's next datagram goes to somebody else.
    is_refused: AtomicBool,
    report: Report,
    open: Gauge,
    _room: (Place, Counted),
}

impl Session {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// Without an endpoint.
    pub(super) fn new(
        peer: Peer,
        cell: Arc<BackendCell>,
        random: u64,
        mut report: Report,
        open: Gauge,
        room: (Place, Counted),
    ) -> Result<Arc<Self>, Box<Report>> {
        report.backend = Some(cell.backend.id.clone());
        let Some((picked, upstream)) = connect(&cell, random) else {
            report.error = Some(NO_ENDPOINT.into());
            return Err(Box::new(report));
        };
        report.upstream = Some(picked.address());
        open.increment(1.0);
        Ok(Arc::new(Self {
            peer,
            upstream,
            cell,
            picked,
            active: AtomicU64::new(clock::now()),
            from_client: AtomicU64::new(0),
            from_backend: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
            report,
            open,
            _room: room,
        }))
    }

    /// Returns whether it went on its way: what there is no place for is lost, as any datagram may be, and what nobody
    /// takes is not.
    pub(super) fn send(&self, datagram: &[u8]) -> bool {
        if self.is_refused.load(Relaxed) {
            return false;
        }
        self.active.store(clock::now(), Relaxed);
        // Not by way of tokio, which has not asked yet whether a new socket takes anything: it does.
        match SockRef::from(&self.upstream).send(datagram) {
            Ok(count) => {
                self.from_client.fetch_add(count as u64, Relaxed);
                true
            }
            Err(error) if is_refusal(&error) => {
                self.refused();
                false
            }
            Err(_) => true,
        }
    }

    /// Hands back what the endpoint answers, until it takes no more.
    pub(super) async fn answer(&self, socket: &Socket) {
        // That nobody listens is told by the network, and makes nothing readable.
        while let Ok(ready) = self.upstream.ready(Interest::READABLE | Interest::ERROR).await {
            if ready.is_error() {
                if self.upstream.take_error().is_ok_and(|error| error.is_some_and(|error| is_refusal(&error))) {
                    return self.refused();
                }
                // What was told went to who sent the next datagram. tokio is to wait for more.
                let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = self.upstream.try_io(Interest::ERROR, none);
            }
            let has_more = with_buffer(|buffer| {
                for _ in 0..IN_A_ROW {
                    match self.upstream.try_recv(buffer) {
                        Ok(count) => self.answered(socket, buffer.get(..count).unwrap_or_default()),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(false),
                        Err(error) if is_refusal(&error) => return None,
                        Err(_) => {}
                    }
                }
                Some(true)
            });
            match has_more {
                Some(true) => yield_now().await,
                Some(false) => {}
                None => return self.refused(),
            }
        }
    }

    fn answered(&self, socket: &Socket, datagram: &[u8]) {
        self.active.store(clock::now(), Relaxed);
        if self.from_backend.fetch_add(datagram.len() as u64, Relaxed) == 0 {
            self.picked.connected();
        }
        socket.send(self.peer, datagram);
    }

    fn refused(&self) {
        if !self.is_refused.swap(true, Relaxed) {
            self.cell.failed(&self.picked, Failure::NoConnection);
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Relaxed)
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.peer.client
    }

    /// For how long nothing came, in milliseconds.
    pub(super) fn silence(&self, now: u64) -> u64 {
        now.saturating_sub(self.active.load(Relaxed))
    }

    pub(super) fn leads_to(&self) -> (&BackendId, SocketAddr) {
        (&self.cell.backend.id, self.picked.address())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (from_client, from_backend) = (self.from_client.load(Relaxed), self.from_backend.load(Relaxed));
        self.report.carried = Carried { from_client, from_backend };
        if self.is_refused() {
            self.report.error = Some("the backend refuses datagrams".into());
        }
        self.open.decrement(1.0);
    }
}

/// Whether the network tells that nobody takes datagrams there. It tells other things as well, such as that one was too
/// large, which is its sender's doing.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// An endpoint, and a socket that speaks to nobody else.
fn connect(cell: &BackendCell, random: u64) -> Option<(Picked, UdpSocket)> {
    let mut tried = Vec::new();
    loop {
        let picked = cell.pick(&Choice { wish: Wish::Any, tried: &tried, random, now: clock::now() })?;
        match connected(picked.address()) {
            Ok(socket) => return Some((picked, socket)),
            // There is no way to it; or no socket for it here, and then for no other either.
            Err(_) => tried.push(picked.address()),
        }
        if tried.len() == MOST || !cell.has_other(&tried) {
            return None;
        }
    }
}

fn connected(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any = match endpoint {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(endpoint)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
