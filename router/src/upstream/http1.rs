//! Connections to backends that speak HTTP/1.1 in the clear.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use pingora_core::{Error, ErrorType, Result};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Picked, Terms, kept,
    raw::{self, NotDialled},
};

/// A small answer as a whole.
const READ: usize = 4 << 10;
/// As much as is read at once of a large one.
const READ_MOST: usize = 64 << 10;
/// A backend that takes nothing, or is not there any more.
const GONE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// It has served other requests.
    pub is_reused: bool,
    /// What has come and was not asked for yet.
    pub received: Bytes,
    /// The last read took as much as it could, and so there is probably more.
    is_flowing: bool,
}

/// One that has waited until `now`, or a new one.
///
/// # Errors
/// When the endpoint takes none, or not in time.
pub async fn connect(picked: &Picked, terms: &Terms, now: Instant) -> Result<Connection> {
    if !terms.is_fresh
        && let Some(stream) = picked.kept().take(now)
    {
        return Ok(Connection { stream, is_reused: true, received: Bytes::new(), is_flowing: false });
    }
    let limit = terms.left.map_or(terms.connect, |left| left.min(terms.connect));
    let failed = |etype, error: io::Error| Error::because(etype, "to a backend", error).into_up();
    match timeout(limit, raw::dial(picked.address())).await {
        Ok(Ok(stream)) => {
            // Without it, what it does not acknowledge is sent again for a quarter of an hour.
            let limited = SockRef::from(&stream).set_tcp_user_timeout(Some(GONE));
            limited.map_err(|error| failed(ErrorType::SocketError, error))?;
            Ok(Connection { stream, is_reused: false, received: Bytes::new(), is_flowing: false })
        }
        Ok(Err(NotDialled::NoSocket(error))) => Err(failed(ErrorType::SocketError, error)),
        Ok(Err(NotDialled::NotConnected(error))) => Err(match error.kind() {
            io::ErrorKind::AddrNotAvailable => failed(ErrorType::BindError, error),
            io::ErrorKind::ConnectionRefused => failed(ErrorType::ConnectRefused, error),
            _ => failed(ErrorType::ConnectError, error),
        }),
        Err(late) => Err(failed(ErrorType::ConnectTimedout, late.into())),
    }
}

impl Connection {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads on behind what was received; `left` is how much is certainly still to come. Returns how much has come; 0 is
    /// the end. Nothing of it is lost where this is not waited for to its end.
    pub async fn read(&mut self, left: u64) -> io::Result<usize> {
        let left = usize::try_from(left).unwrap_or(READ_MOST).clamp(READ, READ_MOST);
        let most = if self.is_flowing { READ_MOST } else { left };
        let mut buffer = BytesMut::with_capacity(self.received.len() + most);
        buffer.extend_from_slice(&self.received);
        let count = self.stream.read_buf(&mut buffer).await?;
        self.is_flowing = count >= most;
        if count > 0 {
            self.received = buffer.freeze();
        }
        Ok(count)
    }

    /// Keeps it for another request, from `now` on. What was not asked for would be taken for the answer to that.
    pub fn keep(self, picked: &Picked, now: Instant) {
        if self.received.is_empty() {
            kept::keep(picked.endpoint(), self.stream, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_flows_is_read_in_large_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (mut server, _) = listener.accept().await.expect("connected");
        let mut connection = Connection { stream, is_reused: false, received: Bytes::new(), is_flowing: false };
        server.write_all(&[b'a'; READ_MOST]).await.expect("there is room");
        assert_eq!(connection.read(0).await.expect("it is there"), READ, "nobody knows yet");
        connection.received.clear();
        assert!(connection.read(0).await.expect("it is there") > READ);
        connection.received.clear();
        while connection.is_flowing {
            connection.read(0).await.expect("the rest");
            connection.received.clear();
        }
        server.write_all(&[b'a'; READ_MOST]).await.expect("there is room");
        assert_eq!(connection.read(0).await.expect("it is there"), READ, "nobody knows any more");
    }
}
