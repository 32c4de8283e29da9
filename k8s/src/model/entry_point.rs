//! A trust domain at the edge: its addresses, its listeners, and the routes each listener serves.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{Certificate, ClientValidation, ExternalAuth, HostPattern, Route};

/// A trust domain with its own addresses, ports and route table. A request belongs to the entry
/// point whose socket accepted it, whatever its Host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// `lan`, `tunnel`, or `namespace/name` of a Gateway.
    pub name: Arc<str>,
    /// Where clients reach it, and so what DNS answers. Not necessarily what the router binds.
    pub addresses: Vec<IpAddr>,
    pub trust: Trust,
    /// Shown to backends that ask for one.
    pub client_certificate: Option<Arc<Certificate>>,
    pub listeners: Vec<Listener>,
}

/// Whose forwarded-for style headers are believed here. By default nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Peers that may assert the client's address and scheme.
    pub sources: Vec<IpNet>,
    /// The header that carries the client's address, lower case: `cf-connecting-ip`.
    pub client_address: Option<Arc<str>>,
    /// Peers whose connections begin with a header of the PROXY protocol, which names the client.
    pub proxy_protocol: Vec<IpNet>,
}

/// One port of an entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `http`, `https`, or the name of the Gateway's listener.
    pub name: Arc<str>,
    /// The port clients use.
    pub port: u16,
    /// The sockets the router opens for it. Listeners of one entry point may share a socket: the
    /// most specific hostname then chooses among them.
    pub sockets: Vec<SocketAddr>,
    pub protocol: ListenerProtocol,
    /// None serves every host.
    pub hostname: Option<HostPattern>,
    /// By SNI: an exact name before a wildcard, and of two for one name the first. Empty where TLS does not end.
    pub certificates: Vec<Arc<Certificate>>,
    /// For names that none of these covers, and for clients that name none.
    pub default_certificate: Option<Arc<Certificate>>,
    /// None asks clients for no certificate. The same for all listeners that share a socket.
    pub client_validation: Option<Arc<ClientValidation>>,
    /// Who has to consent to a request before its route is looked for: all of them, in this order. An error is why
    /// that cannot be had; then nobody gets in.
    pub authorizers: Result<Vec<ExternalAuth>, Arc<str>>,
    pub routes: Vec<Attachment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    Http {
        redirect_to_https: Option<u16>,
    },
    Https,
    /// TLS that is handed on as it is, by the server name the client asks for.
    TlsPassthrough,
    /// TLS that ends here, with anything in it.
    TlsTerminate,
    Tcp,
    /// Its sockets take datagrams; all others take connections.
    Udp,
}

impl ListenerProtocol {
    /// Whether requests are told apart on it.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http { .. } | Self::Https)
    }

    /// Whether connections begin with a TLS handshake, so that its listeners may share a socket.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::TlsPassthrough | Self::TlsTerminate)
    }
}

/// A route on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The route's own hostnames that meet the listener's, by which routes rank inside the
    /// listener. Empty: every host the listener serves.
    pub hostnames: Arc<[HostPattern]>,
    pub route: Arc<Route>,
}

impl Listener {
    /// The names this attachment is reachable under: what DNS answers. None stands for "every
    /// host", which no zone can list.
    pub fn effective_hostnames(&self, attachment: &Attachment) -> Vec<HostPattern> {
        match (&self.hostname, &*attachment.hostnames) {
            (None, own) => own.to_vec(),
            (Some(listener), []) => vec![listener.clone()],
            (Some(listener), own) => own.iter().filter_map(|own| own.intersect(listener)).collect(),
        }
    }
}
