//! UDP: one plain loop for each socket, on a thread of its own. Receive, answer, send.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::Cache;
use hickory_proto::op::ResponseCode;
use k8s::config::Strangers;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::Type;
use tokio::runtime::Handle;
use tracing::warn;

use super::{Answering, not_ready::Repeated, now_and_then, reply_code};
use crate::{
    metrics::{Dropped, Sample, Shard},
    reference::{self, About, Outcome, Transport},
    view::Views,
    wire::{self, UDP_PAYLOAD},
};

/// How long a thread waits for a query until it looks whether it is to end.
pub(super) const LOOK_UP: Duration = Duration::from_millis(500);
/// Errors in a row after which a socket is given up. One by one they come from the network, and pass.
const ERRORS: u32 = 100;

/// A bound socket that answers from the address that was asked (RFC 2181 section 4).
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// Where the socket is bound to all addresses, which one was asked comes with the datagram.
    every_address: Option<UdpSocketState>,
}

/// Who asked, and which address.
#[derive(Clone, Copy)]
struct Peer {
    client: SocketAddr,
    asked: Option<IpAddr>,
}

/// How much of a buffer was filled, in datagrams of `stride` bytes of which the last may be shorter.
struct Received {
    length: usize,
    stride: usize,
    peer: Peer,
}

pub(super) fn bind(address: SocketAddr) -> anyhow::Result<Datagrams> {
    let socket = super::socket(address, Type::DGRAM)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    let every_address = if address.ip().is_unspecified() { Some(UdpSocketState::new((&socket).into())?) } else { None };
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    Ok(Datagrams { socket, every_address })
}

impl Datagrams {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(state) = &self.every_address else {
            let (length, client) = self.socket.recv_from(buffer)?;
            return Ok(Received { length, stride: length.max(1), peer: Peer { client, asked: None } });
        };
        let mut meta = [RecvMeta::default()];
        state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta)?;
        let [RecvMeta { addr: client, len, stride, dst_ip: asked, .. }] = meta;
        Ok(Received { length: len, stride: stride.max(1), peer: Peer { client, asked } })
    }

    /// An answer that cannot be sent is lost like any datagram: whoever asked asks again.
    fn send(&self, peer: Peer, contents: &[u8]) {
        let _ = match &self.every_address {
            None => self.socket.send_to(contents, peer.client).map(drop),
            Some(state) => {
                let transmit =
                    Transmit { destination: peer.client, ecn: None, contents, segment_size: None, src_ip: peer.asked };
                state.try_send((&self.socket).into(), &transmit)
            }
        };
    }
}

/// Ends when it is told to; with an error when the socket cannot be read any more.
pub(super) fn serve(
    socket: Datagrams,
    answering: &Answering,
    shard: &Arc<Shard>,
    runtime: &Handle,
    is_closing: &AtomicBool,
) -> anyhow::Result<()> {
    let socket = Arc::new(socket);
    let mut thread = Thread {
        socket,
        answering,
        shard,
        runtime,
        out: [0; UDP_PAYLOAD],
        repeated: Repeated::default(),
        warned: None,
    };
    let mut views = Cache::new(Arc::clone(&answering.views));
    // The kernel may hand over many datagrams of one sender at once.
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut errors = 0;
    while !is_closing.load(Relaxed) {
        let received = match thread.socket.receive(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(error) if errors == ERRORS => return Err(error.into()),
            Err(_) => {
                errors += 1;
                continue;
            }
        };
        errors = 0;
        let views = views.load();
        let datagrams = buffer.get(..received.length).unwrap_or_default();
        if datagrams.is_empty() {
            thread.answer_unharmed(views.as_deref(), datagrams, received.peer);
        }
        for message in datagrams.chunks(received.stride) {
            thread.answer_unharmed(views.as_deref(), message, received.peer);
        }
    }
    Ok(())
}

struct Thread<'a> {
    socket: Arc<Datagrams>,
    answering: &'a Answering,
    shard: &'a Arc<Shard>,
    runtime: &'a Handle,
    /// For answers, one after the other.
    out: [u8; UDP_PAYLOAD],
    repeated: Repeated,
    warned: Option<Instant>,
}

impl Thread<'_> {
    fn answer_unharmed(&mut self, views: Option<&Views>, message: &[u8], peer: Peer) {
        let answering = self.answering;
        // Without its answer, whoever asked asks again.
        let _ = answering.unharmed(message, peer.client.ip(), || self.answer(views, message, peer));
    }

    fn answer(&mut self, views: Option<&Views>, message: &[u8], peer: Peer) {
        let started = Instant::now();
        let client = peer.client.ip();
        if !self.answering.knows(client) {
            return self.answer_stranger(message, peer);
        }
        let out = &mut self.out;
        let common = views.and_then(|views| {
            let (view, found) = views.of(client);
            let answered = wire::answer(&found.zones, message, out)?;
            Some((view, answered))
        });
        if let Some((view, answered)) = common {
            let bytes = self.out.get(..answered.length).unwrap_or_default();
            self.socket.send(peer, bytes);
            let about = About { kind: answered.kind, zone: answered.zone, view };
            let rcode = if answered.is_name_error { 3 } else { 0 };
            let sample = Sample::new(about, rcode, Transport::Udp, client, (message.len(), bytes.len()));
            return self.shard.answered(&sample, started.elapsed());
        }
        match reference::respond(views, &self.answering.policy, message, client, Transport::Udp) {
            Outcome::Dropped => self.shard.dropped(Dropped::NoQuery),
            // dnsmasq 2.93 asks a server that refuses again and again; silence ends that.
            Outcome::Answer(answer)
                if views.is_none()
                    && answer.rcode == u16::from(ResponseCode::Refused)
                    && self.repeated.is_too_much(peer.client, question(message), started) =>
            {
                self.shard.dropped(Dropped::NotReady);
            }
            Outcome::Answer(answer) => {
                self.socket.send(peer, &answer.bytes);
                let sizes = (message.len(), answer.bytes.len());
                let sample = Sample::new(answer.about, answer.rcode, Transport::Udp, client, sizes);
                self.shard.answered(&sample, started.elapsed());
            }
            Outcome::Forward(about) => self.forward(message, peer, about, started),
        }
    }

    fn answer_stranger(&mut self, message: &[u8], peer: Peer) {
        if now_and_then(&mut self.warned) {
            warn!(client = %peer.client.ip(), "a query from outside dns.clients; if it should be answered, add its network there");
        }
        match self.answering.strangers {
            Strangers::Refuse => match reference::refuse(message) {
                Outcome::Answer(answer) => self.socket.send(peer, &answer.bytes),
                Outcome::Dropped | Outcome::Forward(_) => {}
            },
            Strangers::Drop => {}
        }
        self.shard.dropped(Dropped::Stranger);
    }

    /// The thread goes on while the upstream is asked.
    fn forward(&self, message: &[u8], peer: Peer, about: About, started: Instant) {
        let Some(upstream) = &self.answering.upstream else { return };
        let (socket, shard, message) = (Arc::clone(&self.socket), Arc::clone(self.shard), message.to_vec());
        let (upstream, metrics) = (Arc::clone(upstream), Arc::clone(&self.answering.metrics));
        self.runtime.spawn(async move {
            let reply = upstream.ask(&message, Transport::Udp, &metrics).await;
            socket.send(peer, &reply);
            let rcode = reply_code(&reply);
            let sizes = (message.len(), reply.len());
            shard.answered(&Sample::new(about, rcode, Transport::Udp, peer.client.ip(), sizes), started.elapsed());
        });
    }
}

/// Name, type and class, as they were asked.
fn question(message: &[u8]) -> &[u8] {
    wire::Question::read(message).and_then(|question| message.get(12..question.end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tests::answering;

    #[tokio::test]
    async fn a_socket_that_was_shut_down_is_given_up() {
        let answering = answering();
        let datagrams = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let socket = datagrams.socket.try_clone().expect("a second handle");
        // ENOTCONN, but no reader waits any more.
        let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
        let serving = tokio::task::spawn_blocking(move || {
            let (shard, runtime) = (answering.metrics.shard(0), Handle::current());
            serve(datagrams, &answering, &shard, &runtime, &AtomicBool::new(false))
        });
        let ended = tokio::time::timeout(Duration::from_secs(10), serving).await;
        ended.expect("an end").expect("no panic").expect_err("an error");
    }
}
