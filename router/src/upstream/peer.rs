//! An endpoint as pingora's peer.

use std::{net::SocketAddr, time::Duration};

use k8s::model::Protocol;
use pingora_core::{protocols::ALPN, upstreams::peer::HttpPeer};

/// In a homelab an endpoint that has not answered a SYN after this long is gone.
const CONNECT: Duration = Duration::from_secs(3);
/// With the TLS handshake.
const CONNECT_ALL: Duration = Duration::from_secs(10);
/// Shorter than the idle timeouts of most servers, so that a connection is rarely closed as it is reused.
const IDLE: Duration = Duration::from_secs(55);
/// pingora's default of one stream per connection is no multiplexing at all.
const STREAMS: usize = 100;

/// `is_upgrade`: WebSocket begins as HTTP/1.1, whatever else the endpoint speaks.
/// `response`: how long the endpoint may be silent; None is for ever.
pub fn peer(address: SocketAddr, protocol: Protocol, is_upgrade: bool, response: Option<Duration>) -> HttpPeer {
    let is_tls = protocol == Protocol::Https;
    let mut peer = HttpPeer::new(address, is_tls, String::new());
    let options = &mut peer.options;
    options.connection_timeout = Some(CONNECT);
    options.total_connection_timeout = Some(CONNECT_ALL);
    options.idle_timeout = Some(IDLE);
    options.read_timeout = response;
    options.max_h2_streams = STREAMS;
    // What `appProtocol: https` promises is encryption. Whose certificate it is nobody has said.
    options.verify_cert = false;
    options.verify_hostname = false;
    options.alpn = match protocol {
        Protocol::H2c => ALPN::H2,
        Protocol::Https if !is_upgrade => ALPN::H2H1,
        Protocol::Http | Protocol::Https => ALPN::H1,
    };
    // pingora's pool does not tell protocols apart, and would hand an HTTP/1.1 connection to h2c.
    peer.group_key = match options.alpn {
        ALPN::H2 => 2,
        ALPN::H2H1 => 3,
        _ => 1,
    };
    peer
}
