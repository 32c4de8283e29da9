//! The peer that a DNS server in Rust is by default: hickory-server, and a handler that looks a name up in a map.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Metadata, ResponseCode},
    rr::{
        LowerName, Name, RData, Record, RecordType,
        rdata::{A, AAAA, SOA},
    },
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::UdpSocket;

use crate::zone;

/// Serves until it is killed.
#[tokio::main]
pub(crate) async fn serve(address: SocketAddr) {
    let mut server = Server::new(Handler::new());
    server.register_socket(UdpSocket::bind(address).await.expect("a free port"));
    server.block_until_done().await.expect("the socket lives");
}

struct Handler {
    names: HashMap<LowerName, (Ipv4Addr, Option<Ipv6Addr>)>,
    soa: Record,
}

impl Handler {
    fn new() -> Self {
        let name = |text: &str| Name::from_ascii(format!("{text}.")).expect("a name");
        let apex = name(zone::ZONE);
        let [server, mailbox] = ["ns", "hostmaster"].map(|label| name(&format!("{label}.{}", zone::ZONE)));
        let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86_400, 5);
        Self {
            names: zone::names().map(|(host, v4, v6)| (name(&host).into(), (v4, v6))).collect(),
            soa: Record::from_rdata(apex, 5, RData::SOA(soa)),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let mut answers = Vec::new();
        if let Ok(info) = request.request_info() {
            let name = info.query.name();
            let mut answer = |data| answers.push(Record::from_rdata(Name::from(name), 30, data));
            match (self.names.get(name), info.query.query_type()) {
                (Some((v4, _)), RecordType::A) => answer(RData::A(A(*v4))),
                (Some((_, Some(v6))), RecordType::AAAA) => answer(RData::AAAA(AAAA(*v6))),
                (Some(_), _) => {}
                (None, _) => metadata.response_code = ResponseCode::NXDomain,
            }
        } else {
            metadata.response_code = ResponseCode::FormErr;
        }
        let edns = request.edns.as_ref().map(|_| Edns::new());
        let denial = answers.is_empty().then_some(&self.soa);
        let response =
            MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(metadata, &answers, denial, [], []);
        handle
            .send_response(response)
            .await
            .unwrap_or_else(|_| ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() }))
    }
}
