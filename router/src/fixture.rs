//! A router in this process for tests, with a model made by hand: listeners with real sockets, and backends beside them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use k8s::{
    config::DrainConfig,
    model::{
        Addressing, Attachment, Authorities, Backend, BackendId, Certificate, Endpoints, EntryPoint, HostPattern,
        Labels, Listener, ListenerProtocol, Model, ObjectName, Protocol, Route, Rule, ServerValidation, ServiceName,
        Target, Trust, TrustedBy, WeightedBackend,
    },
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::{
    access_log::{AccessLog, Kept},
    control::{self, Actions, Cells},
    dataplane::SharedDataplane,
    listen::{App, Apps, Limits, Listeners, Requests},
    metrics::Series,
    proxy, stream,
    tls::Keys,
    upstream::BackendCell,
};

/// A router, and what it serves.
pub(crate) struct Router<A> {
    /// Of nobody else.
    pub(crate) address: Ipv4Addr,
    pub(crate) model: Model,
    pub(crate) endpoints: Vec<(BackendId, SocketAddr)>,
    pub(crate) series: Series,
    pub(crate) log: Kept,
    pub(crate) cells: Cells,
    pub(crate) listeners: Listeners<A>,
    dataplane: SharedDataplane,
}

/// With one entry point that has no listener yet.
pub(crate) fn router(limits: Limits, drain_timeout: u64) -> Router<impl App> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 100).expect("small") + 100;
    let dataplane = SharedDataplane::default();
    let requests = Arc::new(Requests::for_process(0));
    let (log, kept) = AccessLog::kept();
    let app = proxy::app(Arc::clone(&dataplane), None, Arc::clone(&requests), 1);
    let apps = Apps {
        http: Arc::new(proxy::Caught::new(app)),
        refuse: proxy::refuse(Arc::clone(&dataplane), None),
        streams: stream::Shared { log: Some(log), requests },
    };
    let drain = DrainConfig { delay: 0, timeout: drain_timeout };
    let entry_point = EntryPoint {
        name: "default/edge".into(),
        addresses: Vec::new(),
        trust: Trust::default(),
        client_certificate: None,
        listeners: Vec::new(),
    };
    Router {
        address: Ipv4Addr::new(127, process, NEXT.fetch_add(1, Relaxed), 1),
        model: Model { entry_points: vec![entry_point], ..Model::default() },
        endpoints: Vec::new(),
        series: Series::default(),
        log: kept,
        cells: Cells::new(),
        listeners: Listeners::new(Handle::current(), apps, Arc::clone(&dataplane), limits, drain),
        dataplane,
    }
}

impl<A: App> Router<A> {
    pub(crate) fn socket(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    pub(crate) fn listener(&mut self, port: u16, protocol: ListenerProtocol, hostname: Option<&str>) -> &mut Listener {
        let sockets = vec![self.socket(port)];
        let listeners = &mut self.model.entry_points[0].listeners;
        listeners.push(Listener {
            name: format!("{}-{port}", hostname.unwrap_or("any")).into(),
            port,
            sockets,
            protocol,
            hostname: hostname.map(pattern),
            certificates: Vec::new(),
            default_certificate: None,
            client_validation: None,
            authorizers: Ok(Vec::new()),
            routes: Vec::new(),
        });
        listeners.last_mut().expect("just pushed")
    }

    /// A Service of this name with these endpoints.
    pub(crate) fn backend(
        &mut self,
        name: &str,
        validation: Option<ServerValidation>,
        endpoints: &[SocketAddr],
    ) -> Target {
        let id = BackendId { service: ServiceName::new("default", name), port: 1, spoken: None };
        let backend = Backend {
            id: id.clone(),
            protocol: Protocol::Http,
            validation: validation.map(Arc::new),
            addressing: Addressing::EndpointSlices { port_name: "".into() },
            uid: "7d1a0a2e".into(),
            health_check: None,
        };
        self.model.backends.insert(id.clone(), backend);
        self.endpoints.extend(endpoints.iter().map(|address| (id.clone(), *address)));
        Target::Backend(id)
    }

    /// Compiles the model, and opens and closes what it says.
    pub(crate) async fn apply(&mut self) {
        for (id, backend) in &self.model.backends {
            let addresses = self.endpoints.iter().filter(|(of, _)| of == id).map(|(_, address)| *address).collect();
            let endpoints = Endpoints { addresses };
            let cell = self.cells.entry(id.clone());
            cell.or_insert_with(|| Arc::new(BackendCell::new(backend.clone(), &endpoints, None)))
                .set_endpoints(&endpoints);
        }
        let keys = Keys::default().after(&self.model);
        let cells = Arc::new(self.cells.clone());
        let (compiled, _) = control::compile(&self.model, &cells, &keys, &self.series, &Actions::default());
        let wanted = compiled.wanted();
        self.dataplane.store(Arc::new(compiled));
        let failures = self.listeners.apply(&wanted).await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// The next line of the log, and the only one.
    pub(crate) async fn logged(&self) -> serde_json::Value {
        self.logged_all(1).await.remove(0)
    }

    /// So many lines, and no more.
    pub(crate) async fn logged_all(&self, count: usize) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        within(async {
            while lines.len() < count {
                lines.extend(self.log.take());
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

pub(crate) fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text, Labels::OneOrMore).expect("a pattern")
}

/// The older a route, the smaller is `created`.
pub(crate) fn attach(listener: &mut Listener, created: i64, hostnames: &[&str], targets: &[(u32, Target)]) {
    let backend = |(weight, target): &(u32, Target)| WeightedBackend {
        weight: *weight,
        target: target.clone(),
        filters: Vec::new(),
    };
    let rule = Rule { backends: targets.iter().map(backend).collect(), ..Rule::default() };
    listener.routes.push(Attachment {
        hostnames: hostnames.iter().map(|text| pattern(text)).collect(),
        route: Arc::new(Route {
            source: ObjectName::new("Route", "default", &format!("r{created}")),
            created,
            rules: vec![rule],
            falls_through: true,
        }),
    });
}

/// Whatever is awaited is there long before.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// A certificate for these names, which is its own authority.
pub(crate) fn certificate(names: &[&str]) -> Arc<Certificate> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let issued = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let issued = issued.expect("issued");
    Arc::new(Certificate {
        secret: ObjectName::new("Secret", "default", &format!("s{}", NEXT.fetch_add(1, Relaxed))),
        chain: vec![issued.cert.der().clone()],
        key: PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key"),
        names: names.iter().map(|name| HostPattern::parse(name, Labels::One).expect("a name")).collect(),
        not_after: 0,
    })
}

/// That of a backend which has this certificate.
pub(crate) fn validation(certificate: &Certificate, hostname: &str) -> ServerValidation {
    ServerValidation {
        authorities: TrustedBy::These(Arc::new(Authorities(certificate.chain.clone()))),
        hostname: hostname.parse().expect("a name"),
        alternative_names: Vec::new(),
    }
}

/// A backend that reads all that it is sent, and then says who it is, in TLS for which name, and what that was.
pub(crate) async fn backend(name: &'static str, certificate: Option<&Certificate>) -> SocketAddr {
    backend_of(name, certificate, &[]).await
}

/// The same, of these protocols (ALPN) alone.
pub(crate) async fn backend_of(
    name: &'static str,
    certificate: Option<&Certificate>,
    protocols: &[&str],
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let tls = certificate.map(|certificate| acceptor(certificate, protocols));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Some(tls) = tls else { return answer(&mut stream, name).await };
                let mut stream = tls.accept(stream).await?;
                let server_name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
                answer(&mut stream, &format!("{name} as {server_name}")).await
            });
        }
    });
    address
}

/// A server with this certificate, which speaks these protocols.
pub(crate) fn acceptor(certificate: &Certificate, protocols: &[&str]) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key());
    let mut config = config.expect("a certificate");
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), name: &str) -> io::Result<()> {
    let mut received = String::new();
    stream.read_to_string(&mut received).await?;
    stream.write_all(format!("{name}: {received}").as_bytes()).await?;
    stream.shutdown().await
}

/// What comes back for `say`, once that has ended.
pub(crate) async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, say: &str) -> io::Result<String> {
    within(async {
        stream.write_all(say.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
    .await
}

/// A client that believes this certificate alone, and offers these protocols.
pub(crate) async fn tls(
    address: SocketAddr,
    server_name: &str,
    trusted: &Certificate,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let server_name = ServerName::try_from(server_name.to_owned()).expect("a name");
    let stream = TcpStream::connect(address).await?;
    within(connector(trusted, protocols).connect(server_name, stream)).await
}

pub(crate) fn connector(trusted: &Certificate, protocols: &[&str]) -> TlsConnector {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(trusted.chain.iter().cloned());
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(anchors)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}
