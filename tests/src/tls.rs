//! TLS clients that look closely: what was negotiated, what was resumed, which certificate was served.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, Version, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme,
        client::{
            ResolvesClientCert,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

/// Takes any certificate, and says which one it was. Connections of one client resume each other's sessions.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// A connection to a door, on which one request after another may be made.
pub struct Connection {
    requests: Requests,
    /// The certificate that was served, in DER. None where a session was resumed.
    pub certificate: Option<CertificateDer<'static>>,
    pub is_resumed: bool,
}

enum Requests {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    /// `identity`: a certificate and its key in PEM, for a server that asks.
    ///
    /// # Panics
    /// When the identity is none.
    pub fn new(version: Version, identity: Option<&(String, String)>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&provider))));
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key in PEM");
                let chain = chain.expect("certificates in PEM");
                let key = CertifiedKey::from_der(chain, key, &provider).expect("a certificate and its key");
                config.with_client_cert_resolver(Arc::new(Always(SingleCertAndKey::from(key))))
            }
        };
        let alpn: &[u8] = if version == Version::HTTP_2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        Self(Arc::new(config))
    }

    /// The handshake alone. No name sends none.
    ///
    /// # Errors
    /// When there is no connection or no handshake.
    ///
    /// # Panics
    /// When the name is none.
    pub async fn handshake(&self, server: SocketAddr, name: Option<&str>) -> io::Result<TlsStream<TcpStream>> {
        self.handshake_on(TcpStream::connect(server).await?, name).await
    }

    /// The same on a connection that is open already.
    ///
    /// # Errors
    /// When there is no handshake.
    ///
    /// # Panics
    /// When the name is none.
    pub async fn handshake_on(&self, stream: TcpStream, name: Option<&str>) -> io::Result<TlsStream<TcpStream>> {
        // Of an address rustls makes no server name.
        let address = stream.peer_addr()?.ip();
        let name = name.map_or_else(|| ServerName::from(address), |it| it.to_owned().try_into().expect("a name"));
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }

    /// # Errors
    /// When there is no connection, no handshake, or no HTTP.
    pub async fn connect(&self, server: SocketAddr, name: Option<&str>) -> io::Result<Connection> {
        let stream = self.handshake(server, name).await?;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).cloned();
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let is_h2 = session.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        // The tasks end with the connections.
        let requests = if is_h2 {
            let (requests, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Requests::Http2(requests)
        } else {
            let (requests, connection) = hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Requests::Http1(requests)
        };
        Ok(Connection { requests, certificate, is_resumed })
    }
}

impl Connection {
    /// The answer to GET, and its body.
    ///
    /// # Errors
    /// When the connection breaks.
    ///
    /// # Panics
    /// When the host is none.
    pub async fn get(&mut self, host: &str, path: &str) -> hyper::Result<(StatusCode, String)> {
        let response: hyper::Response<Incoming> = match &mut self.requests {
            Requests::Http1(requests) => {
                let request = Request::get(path).header("host", host).body(Empty::new()).expect("a request");
                requests.ready().await?;
                requests.send_request(request).await?
            }
            Requests::Http2(requests) => {
                let request = Request::get(format!("https://{host}{path}")).body(Empty::new()).expect("a request");
                requests.ready().await?;
                requests.send_request(request).await?
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Shows its certificate whichever authorities the server names.
#[derive(Debug)]
struct Always(SingleCertAndKey);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.resolve(&[], schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes everybody who has the key of the certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
