//! A client's connection with buffers, and with a deadline for request heads.
//!
//! pingora reads a socket that it did not open itself without buffers, and starts its read timeout
//! anew with every byte: a head could be sent over hours. Both are mended below TLS, so that one piece serves all.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, l4::stream::Stream as L4Stream, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::phase::Phase;

const READ_BUFFER: usize = 16 << 10;
const WRITE_BUFFER: usize = 4 << 10;
/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct EdgeIo {
    stream: BufStream<L4Stream>,
    /// Read while looking for the preface, to be read again.
    peeked: Vec<u8>,
    is_h2: bool,
    phase: Arc<Phase>,
    head: Duration,
    deadline: Pin<Box<Sleep>>,
    close_idle: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EdgeIo {
    /// `bound` is the address that the listener bound. It stands in the digest in the place of the
    /// connection's own local address: the dataplane knows sockets by it.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        bound: SocketAddr,
        phase: Arc<Phase>,
        head: Duration,
        close_idle: CancellationToken,
    ) -> Self {
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // The cells are new and so empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let _ = digest.local_addr.set(Some(bound.into()));
        let mut stream = L4Stream::from(stream);
        stream.set_socket_digest(digest);
        // The first bytes are due as a head is, so that a silent client does not stay.
        phase.head();
        Self {
            stream: BufStream::with_capacity(READ_BUFFER, WRITE_BUFFER, stream),
            peeked: Vec::new(),
            is_h2: false,
            phase,
            head,
            deadline: Box::pin(sleep(head)),
            close_idle: Box::pin(close_idle.cancelled_owned()),
        }
    }

    /// Whether the client speaks HTTP/2 with prior knowledge. Reads no further than where that is decided.
    pub(super) async fn peek_preface(&mut self, limit: Duration) -> io::Result<bool> {
        let look = async {
            let mut seen = Vec::new();
            while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
                let mut buffer = [0; PREFACE.len()];
                let room = buffer.get_mut(seen.len()..).unwrap_or_default();
                let count = self.stream.read(room).await?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                seen.extend_from_slice(room.get(..count).unwrap_or_default());
            }
            Ok::<_, io::Error>(seen)
        };
        let seen = timeout(limit, look).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.is_h2 = seen == PREFACE;
        self.peeked = seen;
        Ok(self.is_h2)
    }

    fn l4(&self) -> &L4Stream {
        self.stream.get_ref()
    }
}

impl AsyncRead for EdgeIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.peeked.is_empty() {
            let count = self.peeked.len().min(buffer.remaining());
            let rest = self.peeked.split_off(count);
            buffer.put_slice(&self.peeked);
            self.peeked = rest;
            return Poll::Ready(Ok(()));
        }
        if self.phase.is_head() && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        if self.phase.is_idle() {
            match Pin::new(&mut self.stream).poll_read(context, buffer) {
                Poll::Ready(done) => {
                    done?;
                    if buffer.filled().len() > before {
                        let due = Instant::now() + self.head;
                        self.deadline.as_mut().reset(due);
                        self.phase.head();
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    // To the reader this looks like a client that has gone, which an idle one may at any time.
                    ready!(self.close_idle.as_mut().poll(context));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for EdgeIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl Peek for EdgeIo {
    /// pingora asks for as many bytes as the preface has. The answer is known already; what is no preface is zeroes.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let source = if self.is_h2 { PREFACE } else { &[0; PREFACE.len()] };
        let count = buffer.len().min(source.len());
        buffer.get_mut(..count).unwrap_or_default().copy_from_slice(source.get(..count).unwrap_or_default());
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for EdgeIo {
    async fn shutdown(&mut self) {
        // The client may be gone already.
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

impl UniqueID for EdgeIo {
    fn id(&self) -> UniqueIDType {
        self.l4().id()
    }
}

/// TLS, where there is any, lies above.
impl Ssl for EdgeIo {}

impl GetTimingDigest for EdgeIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.l4().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.l4().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.l4().get_write_pending_time()
    }
}

impl GetProxyDigest for EdgeIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.l4().get_proxy_digest()
    }
}

impl GetSocketDigest for EdgeIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.l4().get_socket_digest()
    }
}

impl fmt::Debug for EdgeIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeIo").field("phase", &self.phase).finish_non_exhaustive()
    }
}
