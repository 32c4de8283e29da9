//! Connections of HTTP/2 by the frame, and TLS below them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use tests::frames::{ACK, GOAWAY, PING, PREFACE, RST_STREAM, SETTINGS, frame};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::Besieged;

pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A connection after the preface and the client's settings.
pub(crate) struct Http2(pub(crate) Box<dyn Stream>);

impl Http2 {
    /// In the clear, with prior knowledge.
    pub(crate) fn h2c(besieged: &Besieged, settings: &[(u16, u32)]) -> Self {
        Self::over(Box::new(besieged.connect(1)), settings)
    }

    pub(crate) fn over_tls(besieged: &Besieged, settings: &[(u16, u32)]) -> Self {
        Self::over(Box::new(tls(besieged, besieged.connect_tls(1), b"h2")), settings)
    }

    pub(crate) fn over(stream: Box<dyn Stream>, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self(stream);
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat());
        connection
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).expect("sent");
    }

    /// Kind, flags, stream and payload of the next frame.
    pub(crate) fn receive(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header)?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// Waits for a PING to come back: everything that was sent before it has been read.
    pub(crate) fn settle(&mut self) {
        self.send(&frame(PING, 0, 0, b"settled?"));
        while self.receive().expect("an open connection") != (PING, ACK, 0, b"settled?".to_vec()) {}
    }

    /// Sends all of it, as far as it is taken, and nothing more. How the router then ends the connection; None where
    /// it does not.
    pub(crate) fn end_after(mut self, flood: &[u8]) -> Option<End> {
        // What is cut in the middle takes no more bytes.
        let _ = self.0.write_all(flood).and_then(|()| self.0.flush());
        let mut end = End::default();
        loop {
            match self.receive() {
                Ok((GOAWAY, _, _, payload)) => {
                    end.code = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four")))
                }
                Ok((RST_STREAM, ..)) => end.resets += 1,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => return Some(end),
            }
        }
    }
}

/// How a connection has ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The last GOAWAY's (RFC 9113 section 7).
    pub(crate) code: Option<u32>,
    /// RST_STREAM frames from the router.
    pub(crate) resets: usize,
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// TLS to the router, which knows its certificate; ALPN offers `protocol` alone.
pub(crate) fn tls(besieged: &Besieged, stream: TcpStream, protocol: &[u8]) -> Tls {
    tls_to(besieged, stream, protocol, "app.home.example")
}

/// The same for another name.
pub(crate) fn tls_to(besieged: &Besieged, stream: TcpStream, protocol: &[u8], name: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(besieged.home.path("home.pem")).expect("in PEM");
    roots.add(certificate).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration that is complete");
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    stream
}
