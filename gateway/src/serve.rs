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
use tokio::net::{TcpListener, UdpSocket};
use tracing::info;

use crate::{SharedZones, metrics::Metrics, reference};

/// A TCP client that asks nothing for this long is closed (RFC 7766 section 6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait for a TCP client to take them.
const TCP_ANSWERS: usize = 32;

/// The open sockets, answering.
pub(crate) struct Listening(Server<Handler>);

/// Opens UDP and TCP on every address. For each UDP address there is one socket per core, so that
/// the kernel spreads clients over tasks.
pub(crate) async fn open(addresses: &[SocketAddr], zones: SharedZones, metrics: Metrics) -> anyhow::Result<Listening> {
    let mut server = Server::new(Handler { zones, metrics });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for address in addresses {
        let cannot = || {
            format!(
                "cannot listen on {address} for DNS; is another server there, or does port {} need CAP_NET_BIND_SERVICE?",
                address.port()
            )
        };
        for _ in 0..cores {
            server.register_socket(udp(*address).with_context(cannot)?);
        }
        server.register_listener(tcp(*address).with_context(cannot)?, TCP_IDLE, TCP_ANSWERS);
        info!(%address, "DNS open on UDP and TCP");
    }
    Ok(Listening(server))
}

impl Listening {
    /// Ends when a listener has died, which nothing at run time can mend.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        Ok(self.0.block_until_done().await?)
    }

    pub(crate) async fn close(mut self) {
        // The process ends after this, with or without a last packet.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.shutdown_gracefully()).await;
    }
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
