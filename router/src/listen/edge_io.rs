//! A client's connection with buffers, and with deadlines.
//!
//! pingora reads a socket that it did not open itself without buffers, and starts its read timeout
//! anew with every byte: a head could be sent over hours. And it takes a client that has closed its sending
//! side either for gone at once, or for present until something is written to it. All of that is mended
//! below TLS, so that one piece serves all. (Who ends TLS itself, by close_notify, is gone: above this,
//! the one cannot be told from the other, and browsers that leave do so.)

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
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Limits, Signals, phase::Phase};

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
    limits: Limits,
    /// For the head of a request, and then for the answer to a client that is half closed.
    deadline: Pin<Box<Sleep>>,
    /// The client has closed its sending side while a request was under way.
    is_half_closed: bool,
    close_idle: Pin<Box<WaitForCancellationFutureOwned>>,
    cancel: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EdgeIo {
    /// `bound` is the address that the listener bound. It stands in the digest in the place of the
    /// connection's own local address: the dataplane knows sockets by it.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        bound: SocketAddr,
        phase: Arc<Phase>,
        limits: Limits,
        signals: Signals,
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
            limits,
            deadline: Box::pin(sleep(limits.head)),
            is_half_closed: false,
            close_idle: Box::pin(signals.close_idle.cancelled_owned()),
            cancel: Box::pin(signals.cancel.cancelled_owned()),
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

    /// The end of the stream, but not before the client had time to take its answer: a client that has
    /// closed its sending side looks the same whether it still reads or is gone (RFC 9112 section 9.6).
    fn poll_half_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.phase.is_answer() {
            ready!(self.deadline.as_mut().poll(context));
        }
        Poll::Ready(Ok(()))
    }

    /// What is taken shows that the client is there.
    fn was_written(&mut self) {
        if self.is_half_closed {
            let due = Instant::now() + self.limits.half_closed;
            self.deadline.as_mut().reset(due);
        }
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
        if self.is_half_closed {
            return self.poll_half_closed(context);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(done) => {
                done?;
                let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
                if is_end && self.phase.is_answer() {
                    self.is_half_closed = true;
                    let due = Instant::now() + self.limits.half_closed;
                    self.deadline.as_mut().reset(due);
                    return self.poll_half_closed(context);
                }
                if !is_end && self.phase.is_idle() {
                    let due = Instant::now() + self.limits.head;
                    self.deadline.as_mut().reset(due);
                    self.phase.head();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                if self.cancel.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                // To the reader this looks like a client that has gone, which an idle one may at any time.
                let is_over = self.phase.is_idle() && self.close_idle.as_mut().poll(context).is_ready();
                if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    }
}

impl AsyncWrite for EdgeIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.was_written();
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.was_written();
        Poll::Ready(Ok(count))
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::{super::phase, *};

    /// A client's end, and ours, which has read a request and not answered it.
    async fn asked(half_closed: Duration) -> (TcpStream, EdgeIo, Signals) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let bound = listener.local_addr().expect("a bound socket");
        let client = TcpStream::connect(bound).await.expect("open");
        let (stream, peer) = listener.accept().await.expect("accepted");
        let (phase, signals) = (Arc::new(Phase::default()), Signals::default());
        let limits = Limits { half_closed, ..Limits::default() };
        let edge = EdgeIo::new(stream, peer, bound, Arc::clone(&phase), limits, signals.clone());
        phase::scope(Arc::clone(&edge.phase), async { phase::request_read() }).await;
        (client, edge, signals)
    }

    async fn is_silent(edge: &mut EdgeIo) -> bool {
        let mut buffer = [0; 8];
        timeout(Duration::from_millis(20), edge.read(&mut buffer)).await.is_err()
    }

    #[tokio::test]
    async fn a_client_that_has_closed_its_sending_side_is_gone_when_it_has_taken_nothing_for_a_while() {
        let (mut client, mut edge, _) = asked(Duration::from_secs(2)).await;
        client.shutdown().await.expect("half closed");
        assert!(is_silent(&mut edge).await, "it may still read");
        edge.write_all(b"answer").await.expect("written");
        edge.flush().await.expect("sent");
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.expect("the answer");
        assert!(is_silent(&mut edge).await, "it did read");
        let end = timeout(Duration::from_secs(10), edge.read(&mut [0; 8])).await.expect("an end");
        assert_eq!(end.expect("no error"), 0);
    }

    #[tokio::test]
    async fn a_client_that_has_not_sent_all_of_its_request_is_gone_at_once() {
        let (mut client, mut edge, _) = asked(Duration::from_secs(3600)).await;
        phase::scope(Arc::clone(&edge.phase), async { phase::head_parsed() }).await;
        client.write_all(b"half").await.expect("sent");
        client.shutdown().await.expect("closed");
        let mut body = Vec::new();
        timeout(Duration::from_secs(10), edge.read_to_end(&mut body)).await.expect("an end").expect("no error");
        assert_eq!(body, b"half");
    }

    #[tokio::test]
    async fn a_client_of_an_upgraded_connection_is_believed_at_once() {
        let (mut client, mut edge, _) = asked(Duration::from_secs(3600)).await;
        edge.phase.free();
        client.shutdown().await.expect("half closed");
        assert_eq!(timeout(Duration::from_secs(10), edge.read(&mut [0; 8])).await.expect("an end").expect("none"), 0);
    }

    #[tokio::test]
    async fn what_waits_for_a_client_is_ended_when_everything_is() {
        let (_client, mut edge, signals) = asked(Duration::from_secs(3600)).await;
        assert!(is_silent(&mut edge).await);
        signals.cancel.cancel();
        let end = timeout(Duration::from_secs(10), edge.read(&mut [0; 8])).await.expect("an end");
        assert_eq!(end.expect_err("an error").kind(), io::ErrorKind::ConnectionAborted);
    }
}
