//! Where requests go: a Service's port, how to speak to it, and its endpoints.

use std::{fmt, net::SocketAddr, sync::Arc};

use serde::Serialize;

use super::{ServerValidation, ServiceName};

/// One port of one Service: the identity under which endpoints, in-flight counts and health are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendId {
    pub service: ServiceName,
    /// The Service's port number (not the target port).
    pub port: u16,
    /// What a route says that it speaks, where that is not what the Service says.
    pub spoken: Option<Protocol>,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)?;
        self.spoken.map_or(Ok(()), |spoken| write!(f, " as {spoken:?}"))
    }
}

/// How to reach and speak to a [`BackendId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub id: BackendId,
    pub protocol: Protocol,
    /// From a BackendTLSPolicy: the connection is TLS whatever the protocol, and its certificate verified.
    pub validation: Option<Arc<ServerValidation>>,
    pub addressing: Addressing,
    /// The Service's uid: the same for every replica of the router and after its restart, and unknown to clients.
    /// Empty for a manifest that was never in a cluster.
    pub uid: Arc<str>,
    /// None where readiness in the cluster says enough.
    pub health_check: Option<HealthCheck>,
}

/// An endpoint is well while it answers a GET of this path with 200 to 399.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// With a query, where there is one; begins with `/`.
    pub path: Arc<str>,
}

/// What the endpoints speak, from the Service port's `appProtocol`, or an annotation of an Ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Protocol {
    /// HTTP/1.1 in the clear; WebSocket by upgrade. In verified TLS, HTTP/1.1 or HTTP/2.
    #[default]
    Http,
    /// HTTP/2 in the clear, with prior knowledge (RFC 9113 section 3.3). In verified TLS, nothing but HTTP/2.
    H2c,
    /// HTTP/1.1 or HTTP/2 over TLS. Without a validation no certificate is verified: that is what `appProtocol: https`
    /// can promise.
    Https,
    /// Datagrams, of which nobody knows what they say.
    Udp,
}

/// How endpoint addresses are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// From the Service's EndpointSlices, the slice port of this name.
    /// An unnamed Service port has the empty name.
    EndpointSlices { port_name: Arc<str> },
    /// By resolving the `externalName` of an ExternalName Service.
    ExternalName { host: Arc<str>, port: u16 },
}

/// The addresses of one backend at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Ready and not terminating; where there is none, those still serving while they terminate.
    /// In a fixed order, without duplicates.
    pub addresses: Vec<SocketAddr>,
}
