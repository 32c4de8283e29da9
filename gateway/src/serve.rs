//! UDP and TCP, through hickory-server.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use hickory_proto::{
    op::{Header, HeaderCounts, Message, Metadata, ResponseCode},
    serialize::binary::BinDecoder,
};
use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponseBuilder, Queries},
};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{SharedZones, metrics::Metrics, reference};

/// A TCP client that asks nothing for this long is closed (RFC 7766 section 6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait for a TCP client to take them.
const TCP_ANSWERS: usize = 32;

/// The open sockets, answering.
///
/// Each has a hickory-server of its own: one for all would end only when the last of its sockets has died.
pub(crate) struct Listening {
    sockets: JoinSet<anyhow::Result<()>>,
    closing: Vec<CancellationToken>,
}

/// Opens UDP and TCP on every address. For each UDP address there is one socket per core, so that
/// the kernel spreads clients over tasks.
pub(crate) async fn open(addresses: &[SocketAddr], zones: SharedZones, metrics: Metrics) -> anyhow::Result<Listening> {
    let mut listening = Listening { sockets: JoinSet::new(), closing: Vec::new() };
    let handler = Handler { zones, metrics };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let speaks_ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok();
    for address in spoken(addresses, speaks_ipv6)? {
        let cannot = || {
            format!(
                "cannot listen on {address} for DNS; is another server there, or does port {} need CAP_NET_BIND_SERVICE?",
                address.port()
            )
        };
        for _ in 0..cores {
            let socket = udp(address).with_context(cannot)?;
            listening.add(format!("UDP {address}"), &handler, |server| server.register_socket(socket));
        }
        let listener = tcp(address).with_context(cannot)?;
        listening.add(format!("TCP {address}"), &handler, |server| {
            server.register_listener(listener, TCP_IDLE, TCP_ANSWERS);
        });
        info!(%address, "DNS open on UDP and TCP");
    }
    Ok(listening)
}

impl Listening {
    fn add(&mut self, name: String, handler: &Handler, register: impl FnOnce(&mut Server<Handler>)) {
        let mut server = Server::new(handler.clone());
        register(&mut server);
        self.closing.push(server.shutdown_token().clone());
        self.sockets.spawn(async move { server.block_until_done().await.with_context(|| format!("{name} has died")) });
    }

    /// Ends with the first socket that has died, which nothing at run time can mend.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.sockets.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panicked)) => anyhow::Error::new(panicked).context("a DNS socket has died"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a DNS socket was closed"),
        }
    }

    pub(crate) async fn close(mut self) {
        self.closing.iter().for_each(CancellationToken::cancel);
        let all = async { while self.sockets.join_next().await.is_some() {} };
        // The process ends after this, with or without a last packet.
        let _ = tokio::time::timeout(Duration::from_secs(1), all).await;
    }
}

/// The addresses that this machine can open: the default has one of each kind, and a machine may be
/// without IPv6 (`ipv6.disable=1`).
fn spoken(addresses: &[SocketAddr], speaks_ipv6: bool) -> anyhow::Result<Vec<SocketAddr>> {
    let (spoken, left_out): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() || speaks_ipv6);
    anyhow::ensure!(!spoken.is_empty(), "dns.listen has IPv6 addresses only, and this machine is without IPv6");
    for address in left_out {
        warn!(%address, "this machine is without IPv6: not open for DNS");
    }
    Ok(spoken)
}

fn udp(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

fn tcp(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = socket(address, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(TcpListener::from_std(socket.into())?)
}

fn socket(address: SocketAddr, kind: Type) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] stand beside each other in the default configuration.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[derive(Clone)]
struct Handler {
    zones: SharedZones,
    metrics: Metrics,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let started = Instant::now();
        let zones: Option<Arc<_>> = self.zones.load_full();
        let answer =
            Message::from_vec(request.as_slice()).ok().and_then(|query| reference::answer(zones.as_deref(), &query));
        let Some(answer) = answer else { return unanswered(request) };
        // To read none is how hickory-server makes an empty question section.
        let none = Queries::read(&mut BinDecoder::new(&[]), 0);
        let queries = match &none {
            Ok(none) if answer.queries.is_empty() => none,
            _ => &request.queries,
        };
        let response = MessageResponseBuilder::new(queries, answer.edns.as_ref()).build(
            answer.metadata,
            &answer.answers,
            &answer.authorities,
            [],
            &answer.additionals,
        );
        let sent = response_handle.send_response(response).await;
        // What was sent is SERVFAIL, if the answer could not be encoded.
        let code = sent.as_ref().map_or(answer.metadata.response_code, |sent| sent.response_code);
        self.metrics.answered(request.protocol() == Protocol::Udp, code, started.elapsed());
        // Whoever asked is gone, or its socket is full: there is nobody to tell.
        sent.unwrap_or_else(|_| unanswered(request))
    }
}

/// What hickory-server wants to know of a request that got no answer.
fn unanswered(request: &Request) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = ResponseCode::ServFail;
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn two_addresses() -> Listening {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        open(&[anywhere, anywhere], SharedZones::default(), Metrics::new()).await.expect("free ports")
    }

    async fn end_of(mut listening: Listening) -> String {
        let ended = tokio::time::timeout(Duration::from_secs(10), listening.ended()).await;
        format!("{:#}", ended.expect("the end of one socket is the end"))
    }

    #[test]
    fn ipv6_addresses_are_left_out_where_there_is_no_ipv6_and_another_address() {
        let (v4, v6): (SocketAddr, SocketAddr) = (([0, 0, 0, 0], 53).into(), ([0; 8], 53).into());
        for (addresses, speaks_ipv6, expected) in [
            (vec![v4, v6], true, Some(vec![v4, v6])),
            (vec![v6, v4], false, Some(vec![v4])),
            (vec![v6], true, Some(vec![v6])),
            (vec![v6], false, None),
        ] {
            assert_eq!(spoken(&addresses, speaks_ipv6).ok(), expected, "{addresses:?} {speaks_ipv6}");
        }
    }

    #[tokio::test]
    async fn one_socket_that_has_died_is_the_end() {
        let listening = two_addresses().await;
        listening.closing[1].cancel();
        assert_eq!(end_of(listening).await, "a DNS socket was closed");

        let mut listening = two_addresses().await;
        listening.sockets.spawn(async { anyhow::bail!("UDP has died") });
        assert_eq!(end_of(listening).await, "UDP has died");
    }

    #[tokio::test]
    async fn a_panic_in_a_sockets_task_is_the_end() {
        let mut listening = two_addresses().await;
        listening.sockets.spawn(async { panic!("on purpose") });
        assert!(end_of(listening).await.contains("panicked"));
    }
}
