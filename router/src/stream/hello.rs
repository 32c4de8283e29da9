//! The first message of a TLS handshake, read before anybody answers it.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Of one message. Those of browsers have 2 KiB, half of it a key that no quantum computer breaks.
const MOST: usize = 16 << 10;
/// Read at a time.
const PIECE: usize = 4 << 10;

pub struct Hello {
    /// All that was read, for whom the handshake is with.
    pub bytes: Vec<u8>,
    /// The same, read, but for the last ones.
    pub accepted: Accepted,
    /// How many of the bytes came with the message and are not in `accepted`: early data (RFC 8446 section 2.3).
    pub behind: usize,
}

impl Hello {
    /// In lower case.
    pub fn server_name(&self) -> Option<Box<str>> {
        self.accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into())
    }

    /// The one protocol that the client offers (ALPN).
    pub fn only_protocol(&self) -> Option<Vec<u8>> {
        let hello = self.accepted.client_hello();
        let mut protocols = hello.alpn()?;
        let first = protocols.next()?;
        protocols.next().is_none().then(|| first.to_vec())
    }
}

/// # Errors
/// When the client says something else, or leaves.
pub async fn read(stream: &mut TcpStream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::new();
    while bytes.len() < MOST {
        let before = bytes.len();
        bytes.reserve(PIECE);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut new = bytes.get(before..).unwrap_or_default();
        while !new.is_empty() {
            if acceptor.read_tls(&mut new)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // The alert that it would have us send is nobody's: nobody has taken the connection.
            let accepted = acceptor.accept().map_err(|(error, _)| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(accepted) = accepted {
                let behind = new.len();
                return Ok(Hello { bytes, accepted, behind });
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring, pki_types::ServerName};
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    pub(crate) fn hello(server_name: &str, protocols: &[&str]) -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(server_name.to_owned()).expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).expect("written");
        bytes
    }

    /// Sends the pieces one by one, and then nothing more.
    async fn read_from(pieces: Vec<Vec<u8>>) -> io::Result<Hello> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("open");
        let (mut accepted, _) = listener.accept().await.expect("a connection");
        let (read, _) = tokio::join!(read(&mut accepted), async {
            for piece in pieces {
                if client.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
        });
        read
    }

    #[tokio::test]
    async fn the_name_and_the_bytes_are_those_that_were_sent_in_whatever_pieces() {
        let sent = hello("A.home.example", &["mqtt"]);
        for size in [1, 7, 100, sent.len()] {
            let read = read_from(sent.chunks(size).map(<[u8]>::to_vec).collect()).await.expect("a hello");
            assert_eq!(read.bytes, sent);
            assert_eq!(read.server_name().as_deref(), Some("a.home.example"));
            assert_eq!(read.only_protocol().as_deref(), Some(&b"mqtt"[..]));
        }
        let of_two = read_from(vec![hello("127.0.0.1", &["h2", "http/1.1"])]).await.expect("a hello");
        assert_eq!((of_two.server_name(), of_two.only_protocol()), (None, None));
    }

    #[tokio::test]
    async fn what_is_behind_it_is_kept() {
        let sent = [hello("a.example", &[]), vec![0x17; 6_000]].concat();
        let read = read_from(vec![sent.clone()]).await.expect("a hello");
        assert!(sent.starts_with(&read.bytes) && read.behind < read.bytes.len());
    }

    #[tokio::test]
    async fn what_is_no_handshake_ends_and_so_does_what_has_no_end() {
        let mut endless = hello("a.example", &[]);
        endless.truncate(9);
        // The message is said to have 65 535 bytes, in records of 16 KiB.
        endless.splice(3..9, [0x40, 0, 1, 0, 0xff, 0xff]);
        endless.resize(5 + (16 << 10), 0);
        for pieces in [
            vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()],
            vec![b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()],
            vec![vec![0; 40_000]],
            vec![hello("a.example", &[])[..50].to_vec()],
            vec![endless.clone(), endless],
            Vec::new(),
        ] {
            assert!(read_from(pieces).await.is_err());
        }
    }
}
