//! The configuration file that both binaries read. `doorward.example.yaml` documents it.

mod check;
mod check_dns;
mod check_gateway_api;
mod file;
mod label_selector;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;

pub use self::label_selector::{InvalidSelector, LabelRequirement, LabelSelector};
use crate::model::{HostName, HostPattern, RecordData, ServiceName, Trust};

/// Reads and checks a file. The error names the file and everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError { file: Some(path.display().to_string()), refusals: vec![error.to_string()] })?;
    parse(&text).map_err(|error| ConfigError { file: Some(path.display().to_string()), ..error })
}

/// Checks the text of a file.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let refused = |refusals| ConfigError { file: None, refusals };
    let file = file::read(text).map_err(|refusal| refused(vec![refusal]))?;
    check::check(file).map_err(refused)
}

/// Why a file is refused: one line for each thing, beginning with its path in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: Option<String>,
    pub refusals: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("configuration");
        for (index, refusal) in self.refusals.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{file}: {refusal}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The file, checked: no impossible combination, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The domains `gateway` answers for.
    pub zones: Vec<ZoneConfig>,
    /// In the order of the file; the first one's address wins where several serve a name.
    pub entry_points: Vec<EntryPointConfig>,
    pub ingress: IngressConfig,
    pub gateway_api: GatewayApiConfig,
    /// `namespace/name` of the TLS Secret served where no other certificate fits.
    pub default_certificate: Option<SecretName>,
    /// Whether a route may lead to a Service of type ExternalName.
    pub external_name_services: bool,
    pub dns: DnsConfig,
    /// Where `/livez`, `/readyz` and `/metrics` are served, for each binary.
    pub admin: AdminConfig,
    pub drain: DrainConfig,
    /// Where what was last known of the cluster is kept. None: nowhere, and a restart waits for the API server.
    pub state_directory: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The apex: `home.example`.
    pub name: HostName,
    /// TTL of positive answers in seconds; 30 where not set.
    pub ttl: u32,
    /// TTL of negative answers in seconds (SOA MINIMUM, RFC 2308); 5 where not set.
    pub negative_ttl: u32,
    /// Where `_acme-challenge.X.apex` leads: a CNAME to `X` below this domain, for every X that has no
    /// record of its own there. None: nowhere.
    pub acme_challenge: Option<HostName>,
}

impl ZoneConfig {
    /// Whether it is the zone's own name (RFC 1034 section 3.6.2), or that of its name server (RFC 2181
    /// section 10.3), which no alias may have.
    pub fn needs_addresses(&self, name: &HostPattern) -> bool {
        let HostPattern::Exact(name) = name else { return false };
        let name = name.as_str();
        [Some(name), name.strip_prefix("ns.")].contains(&Some(self.name.as_str()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPointConfig {
    pub name: Arc<str>,
    /// Where clients reach it.
    pub addresses: Vec<IpAddr>,
    /// What the router binds; the addresses above where the file does not say.
    pub listen: Vec<IpAddr>,
    /// None serves no plain HTTP here.
    pub http: Option<PortConfig>,
    pub https: Option<PortConfig>,
    /// Answer plain HTTP with a redirect to HTTPS, except for ACME HTTP-01 challenges.
    pub redirect_to_https: bool,
    pub trust: Trust,
    /// Serves Ingresses whose class is mapped nowhere, and all that other entry points serve.
    /// Exactly one entry point is the default: the first one unless the file says otherwise.
    pub default: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// What clients use.
    pub port: u16,
    /// What the router binds; the same unless the file says otherwise.
    pub listen: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressConfig {
    /// IngressClasses with this `spec.controller` are ours.
    pub controller: Arc<str>,
    /// IngressClass to the entry point that serves it. Other classes of ours go to the default one.
    pub classes: BTreeMap<Arc<str>, Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayApiConfig {
    /// GatewayClasses with this `spec.controllerName` are ours.
    pub controller: Arc<str>,
    /// What a Gateway without `spec.addresses` binds, and what DNS answers for it. None: such a
    /// Gateway is a problem.
    pub address: Option<IpAddr>,
    /// How Gateways get Services of their own. None: the router binds their addresses itself.
    pub service: Option<GatewayServiceConfig>,
}

/// Each Gateway has a Service of type LoadBalancer, whose ports lead to container ports of the router's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServiceConfig {
    /// The router's own Service: its endpoints are those of every Gateway's.
    pub router: ServiceName,
    /// The container ports that are given to Gateways.
    pub ports: RangeInclusive<u16>,
    /// What the router binds, each with all ports that are given.
    pub listen: Vec<IpAddr>,
    pub external_traffic_policy: ExternalTrafficPolicy,
}

/// As in `Service.spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// A client may come by any node, and has a node's address.
    Cluster,
    /// Only nodes with a router take clients, who keep their address.
    #[default]
    Local,
}

impl ExternalTrafficPolicy {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// UDP and TCP; port 53 on all addresses where not set.
    pub listen: Vec<SocketAddr>,
    /// Where Pi-hole reaches `gateway`: the address of the zones' name server. May be empty.
    pub addresses: Vec<IpAddr>,
    /// Who is answered; private networks where not set.
    pub clients: Vec<IpNet>,
    /// What everybody else gets.
    pub strangers: Strangers,
    /// Resolvers whose word about their client is believed (EDNS Client Subnet, RFC 7871).
    pub forwarders: Vec<IpNet>,
    /// Asked first, in this order, for clients that no view names, and after a view's own; the others follow in the
    /// model's order.
    pub entry_points: Vec<Arc<str>>,
    /// Clients that are told another entry point's address; of two networks the longer one counts.
    pub views: Vec<ViewConfig>,
    /// The addresses besides the entry points' and Gateways' own that objects may have answered.
    pub allowed_addresses: Vec<IpNet>,
    pub filter: DnsFilter,
    /// Records of the administrator's own. They come before what objects ask for.
    pub records: Vec<StaticRecord>,
    /// Whether names with TLS have an HTTPS record (RFC 9460).
    pub https_records: bool,
    /// Whether the addresses that are answered have PTR records.
    pub reverse: bool,
    /// DNS over TLS (RFC 7858).
    pub tls: Option<DnsTlsConfig>,
    /// Who is asked for names that no zone holds. None: nobody, they are refused.
    pub forward_to: Option<SocketAddr>,
    /// Whether `version.bind`, `id.server` and NSID are answered.
    pub identify: bool,
}

/// What a client outside `dns.clients` gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// Nothing, as an answer to a forged address would go to a victim.
    #[default]
    Drop,
    /// REFUSED, with the extended error "Prohibited" (RFC 8914).
    Refuse,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    pub name: Arc<str>,
    pub sources: Vec<IpNet>,
    /// Asked first, in this order; those of `dns.entryPoints` and the others follow.
    pub entry_points: Vec<Arc<str>>,
}

/// Which objects DNS answers for; what the router serves is another matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFilter {
    /// None is all.
    pub ingress_classes: Option<Vec<Arc<str>>>,
    /// None is all.
    pub gateway_classes: Option<Vec<Arc<str>>>,
    /// An object counts that one of these selects; without any, every object.
    pub selectors: Vec<LabelSelector>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRecord {
    pub name: HostPattern,
    /// In seconds; None is the zone's.
    pub ttl: Option<u32>,
    /// All of one type.
    pub data: Vec<RecordData>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTlsConfig {
    pub listen: Vec<SocketAddr>,
    /// PEM files; read anew when they change.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    pub gateway: SocketAddr,
    pub router: SocketAddr,
}

/// Whether two sockets cannot both be bound; doors and DNS sockets are of one family each. Port 0 is any free one.
pub fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && one.is_ipv4() == other.is_ipv4() && same_address
}

/// What an admin port takes: on `[::]` it is IPv4's as well, which doors and DNS sockets are not.
pub fn both_families(address: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let every = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    let is_every = address.is_ipv6() && address.ip().is_unspecified();
    std::iter::once(address).chain(is_every.then_some(every))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// Seconds between "not ready" and closing the sockets.
    pub delay: u64,
    /// Seconds that open requests and streams get after that.
    pub timeout: u64,
}
