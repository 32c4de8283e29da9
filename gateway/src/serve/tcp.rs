//! TCP (RFC 7766) and TLS (RFC 7858): own accept loops with caps, on hickory's stream of messages.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use hickory_proto::op::SerialMessage;
use hickory_server::net::{DnsStreamHandle, runtime::iocompat::AsyncIoTokioAsStd, tcp::TcpStream as MessageStream};
use ipnet::IpNet;
use socket2::Type;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tracing::warn;

use super::{Answering, now_and_then, reply_code, tls::Acceptor};
use crate::{
    metrics::{Dropped, Metrics, Sample, Shard},
    reference::{KEEP_ALIVE, Outcome, Transport},
};

/// A client that asks nothing for this long is closed (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_millis(KEEP_ALIVE as u64 * 100);
/// And every client after this.
const LIFE: Duration = Duration::from_secs(60);
/// Connections open at a time …
const MOST: usize = 256;
/// … of which one client has no more than this; a forwarder speaks for many, and may have all.
const MOST_OF_ONE: usize = 32;
/// Kept for forwarders.
const RESERVED: usize = 64;
/// Questions of one connection that an upstream is asked at a time; with so many open, no more are read.
const MOST_FORWARDED: usize = 16;

/// Who may have how many connections.
pub(super) struct Admission {
    forwarders: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A place for one connection, given back when it is dropped.
struct Place {
    admission: Arc<Admission>,
    client: IpAddr,
    metrics: Arc<Metrics>,
}

impl Admission {
    pub(super) fn new(forwarders: Vec<IpNet>) -> Self {
        Self { forwarders, open: Mutex::default() }
    }

    fn admit(self: &Arc<Self>, client: IpAddr, metrics: &Arc<Metrics>) -> Option<Place> {
        let client = client.to_canonical();
        let is_forwarder = self.forwarders.iter().any(|network| network.contains(&client));
        let (most, most_of_one) = if is_forwarder { (MOST + RESERVED, MOST) } else { (MOST, MOST_OF_ONE) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.get(&client).copied().unwrap_or_default();
        if all >= most || own >= most_of_one {
            metrics.tcp_refused.fetch_add(1, Relaxed);
            return None;
        }
        open.insert(client, own + 1);
        metrics.tcp_open.fetch_add(1, Relaxed);
        Some(Place { admission: Arc::clone(self), client, metrics: Arc::clone(metrics) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.client);
            }
        }
        self.metrics.tcp_open.fetch_sub(1, Relaxed);
    }
}

pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = super::socket(address, Type::STREAM)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Of all that it accepts too: the second of two answers would wait until the client has acknowledged the first.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// Ends only when the socket listens no more.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
    answering: Answering,
    shard: Arc<Shard>,
    admission: Arc<Admission>,
) -> anyhow::Result<()> {
    let mut warned = None;
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            // EINVAL: whatever has shut it down, no waiting opens it again.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error.into()),
            Err(error) => {
                if now_and_then(&mut warned) {
                    warn!(%error, "cannot accept DNS over TCP");
                }
                // Out of file descriptors, most likely: the next try comes when some may be free.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !answering.knows(client.ip()) {
            shard.dropped(Dropped::Stranger);
            continue;
        }
        // Closed at once where there are too many, so that no file descriptor waits.
        let Some(place) = admission.admit(client.ip(), &answering.metrics) else { continue };
        let (answering, shard, tls) = (answering.clone(), Arc::clone(&shard), tls.clone());
        tokio::spawn(async move {
            let whole = async {
                match tls {
                    None => converse(stream, client, &answering, &shard).await,
                    Some(tls) => {
                        if let Ok(Some(stream)) = tokio::time::timeout(IDLE, tls.accept(stream)).await {
                            converse(stream, client, &answering, &shard).await;
                        }
                    }
                }
            };
            // A client that has had its time comes again.
            let _ = tokio::time::timeout(LIFE, whole).await;
            drop(place);
        });
    }
}

/// Answers from the zones in the order of the questions. What an upstream is asked for comes when it is there, and
/// holds nothing up (RFC 7766 section 6.2.1.1) until there are [`MOST_FORWARDED`].
async fn converse<S>(stream: S, client: SocketAddr, answering: &Answering, shard: &Arc<Shard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let (mut messages, mut answers) = MessageStream::from_stream(AsyncIoTokioAsStd(stream), client);
    let mut send = |bytes: Vec<u8>, about, rcode, asked: usize, started: Instant| {
        let sizes = (asked, bytes.len());
        let sent = answers.send(SerialMessage::new(bytes, client)).is_ok();
        shard.answered(&Sample::new(about, rcode, Transport::Tcp, client.ip(), sizes), started.elapsed());
        sent
    };
    let mut forwarded = FuturesUnordered::new();
    let (mut is_at_end, mut is_written) = (false, true);
    loop {
        let next = tokio::select! {
            Some((reply, about, rcode, asked, started)) = forwarded.next() => {
                if !send(reply, about, rcode, asked, started) {
                    return;
                }
                is_written = false;
                continue;
            }
            // The stream writes what is waiting before it reads on, so that one answer of ours waits at a time.
            next = tokio::time::timeout(IDLE, messages.next()),
                if forwarded.len() < MOST_FORWARDED && !(is_at_end && is_written) => next,
            else => return,
        };
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Err(_) if !forwarded.is_empty() && !is_at_end => continue,
            // A client that has asked all it has to ask may still wait for answers.
            Ok(None) => {
                (is_at_end, is_written) = (true, true);
                continue;
            }
            Ok(Some(Err(_))) | Err(_) => return,
        };
        let started = Instant::now();
        let views = answering.views.load_full();
        let asked = message.bytes().len();
        match answering.respond(views.as_deref(), message.bytes(), client.ip(), Transport::Tcp) {
            Outcome::Answer(answer) => {
                if !send(answer.bytes, answer.about, answer.rcode, asked, started) {
                    return;
                }
            }
            Outcome::Forward(about) => {
                let Some(upstream) = &answering.upstream else { return };
                forwarded.push(async move {
                    let reply = upstream.ask(message.bytes(), Transport::Tcp, &answering.metrics).await;
                    let rcode = reply_code(&reply);
                    (reply, about, rcode, asked, started)
                });
            }
            // Who sends what is no query has nothing to say.
            Outcome::Dropped => return shard.dropped(Dropped::NoQuery),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use k8s::config;

    use super::*;

    fn metrics() -> Arc<Metrics> {
        let config = config::parse("entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}").expect("a right file");
        Arc::new(Metrics::new(&config, 1))
    }

    #[tokio::test]
    async fn no_answer_waits_for_the_acknowledgement_of_another() {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let (stream, _) = listener.accept().await.expect("a client");
        assert!(stream.nodelay().expect("an option"));
    }

    #[test]
    fn one_client_gets_its_share_all_get_theirs_and_what_is_left_is_the_forwarders() {
        let metrics = metrics();
        let admission = Arc::new(Admission::new(vec!["10.0.0.0/32".parse().expect("a network")]));
        let admit = |client: u32| admission.admit(Ipv4Addr::from(0x0A00_0000 + client).into(), &metrics);
        let mut places: Vec<Place> = (0..100).filter_map(|_| admit(1)).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        places.extend((0..1000).filter_map(|number| admit(2 + number / 16)));
        assert_eq!(places.len(), MOST);
        places.extend((0..1000).filter_map(|_| admit(0)));
        assert_eq!(places.len(), MOST + RESERVED);
        assert_eq!(metrics.tcp_open.load(Relaxed), (MOST + RESERVED) as u64);
        drop(places);
        assert_eq!(metrics.tcp_open.load(Relaxed), 0);
        assert!(admission.open.lock().expect("no panic").is_empty() && admit(1).is_some());
    }
}
