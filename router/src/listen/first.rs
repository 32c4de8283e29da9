//! The first bytes of a connection, read before anything else makes use of it.

use std::{io, net::SocketAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::framing::h2::PREFACE;

/// The longest header of version 1, and what one of version 2 with its extensions may have.
const V1: usize = 107;
const V2: usize = 4 << 10;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const V2_FIXED: usize = 16;

/// Reads until it is clear whether the client speaks HTTP/2 with prior knowledge (RFC 9113 section 3.3): what was
/// read, and whether it does. No bytes are the end of the connection.
pub(super) async fn look_for_preface(stream: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut seen = Vec::with_capacity(1 << 10);
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let is_h2 = seen.starts_with(PREFACE);
    Ok((seen, is_h2))
}

/// Reads a header of the PROXY protocol, version 1 or 2, and not a byte more. Some is the client it names; none
/// means the peer speaks for itself (LOCAL, UNKNOWN).
pub(super) async fn read_proxy_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; V2_SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == V2_SIGNATURE {
        header.resize(V2_FIXED, 0);
        stream.read_exact(header.get_mut(V2_SIGNATURE.len()..).unwrap_or_default()).await?;
        let length = header.last_chunk::<2>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if V2_FIXED + length > V2 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.resize(V2_FIXED + length, 0);
        stream.read_exact(header.get_mut(V2_FIXED..).unwrap_or_default()).await?;
    } else {
        while !header.ends_with(b"\n") && header.len() < V1 {
            header.push(stream.read_u8().await?);
        }
    }
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    let parsed = ProxyHeader::parse(&header, config).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    let (parsed, length) = parsed?;
    if length != header.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(parsed.proxied_address().map(|address| address.source))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn sent(pieces: &[&[u8]]) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("open");
        let (accepted, _) = listener.accept().await.expect("a connection");
        for piece in pieces {
            client.write_all(piece).await.expect("sent");
            client.flush().await.expect("sent");
            tokio::task::yield_now().await;
        }
        accepted
    }

    #[tokio::test]
    async fn a_preface_is_known_in_pieces_and_anything_else_at_the_first_byte_that_differs() {
        for (pieces, is_h2) in [
            (&[PREFACE][..], true),
            (&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\nmore"], true),
            (&[b"GET / HTTP/1.0\r\n\r\n"], false),
            (&[b"PRI * HTTP/2.0\r\n\r\nXX"], false),
            (&[b"P", b"UT"], false),
        ] {
            let (seen, found) = look_for_preface(&mut sent(pieces).await).await.expect("bytes");
            assert_eq!(found, is_h2);
            assert!(pieces.concat().starts_with(&seen));
        }
    }

    #[tokio::test]
    async fn a_proxy_header_names_the_client_and_leaves_what_follows() {
        let v2 = |command: u8, family: u8, addresses: &[u8]| {
            let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
            [V2_SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
        };
        let named = v2(1, 0x11, &[203, 0, 113, 7, 192, 168, 8, 21, 0x30, 0x39, 1, 187]);
        let with_extension = v2(1, 0x11, &[203, 0, 113, 7, 192, 168, 8, 21, 0x30, 0x39, 1, 187, 4, 0, 1, 0]);
        let client = SocketAddr::from(([203, 0, 113, 7], 12345));
        for (header, expected) in [
            (&b"PROXY TCP4 203.0.113.7 192.168.8.21 12345 443\r\n"[..], Some(Some(client))),
            (b"PROXY UNKNOWN\r\n", Some(None)),
            (&named, Some(Some(client))),
            (&with_extension, Some(Some(client))),
            (&v2(0, 0, &[]), Some(None)),
            (b"GET / HTTP/1.1\r\n\r\n", None),
            (b"PROXY TCP4 203.0.113.7\r\n\r\n", None),
            (&[b"PROXY ", &[b'x'; 200][..]].concat(), None),
            (&[V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(), None),
        ] {
            let mut stream = sent(&[header, b"rest"]).await;
            let found = read_proxy_header(&mut stream).await.ok();
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(header));
            if found.is_some() {
                let mut rest = [0; 4];
                stream.read_exact(&mut rest).await.expect("what follows");
                assert_eq!(&rest, b"rest");
            }
        }
    }
}
