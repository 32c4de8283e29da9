//! A client's connection, below TLS.
//!
//! pingora takes a client that has closed its sending side either for gone at once, or for present until
//! something is written to it. That is mended below TLS, so that one piece serves all. (Who ends TLS itself, by
//! close_notify, is gone: above this, the one cannot be told from the other, and browsers that leave do so.)

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
    UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{ON_ITS_WAY, phase::Phase, signals::Told};

pub(super) struct EdgeIo {
    stream: TcpStream,
    /// What was read of it before, and is yet to be read here.
    first: Vec<u8>,
    digest: Arc<SocketDigest>,
    phase: Arc<Phase>,
    /// How long a client that has closed its sending side waits for the next byte of its answer.
    limit: Duration,
    told: Told,
    /// Set where the client has closed its sending side while an answer was under way: until when it is waited for.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// When it was sent something, or accepted.
    active: Instant,
    /// Set where idle clients are to end: until when this one's next request is waited for.
    last_request: Option<Pin<Box<Sleep>>>,
}

impl EdgeIo {
    /// `bound` is the address that the listener bound. It stands in the digest in the place of the
    /// connection's own local address: the dataplane knows sockets by it.
    pub(super) fn new(
        stream: TcpStream,
        first: Vec<u8>,
        peer: SocketAddr,
        bound: SocketAddr,
        phase: Arc<Phase>,
        limit: Duration,
        told: Told,
    ) -> Self {
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // The cells are new and so empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let _ = digest.local_addr.set(Some(bound.into()));
        let (half_closed, last_request) = (None, None);
        let active = Instant::now();
        Self { stream, first, digest: Arc::new(digest), phase, limit, told, half_closed, active, last_request }
    }

    /// The end of the stream, but not before the client had time to take its answer: a client that has
    /// closed its sending side looks the same whether it still reads or is gone (RFC 9112 section 9.6).
    fn poll_half_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(until) = &mut self.half_closed
            && self.phase.is_answer()
        {
            ready!(until.as_mut().poll(context));
        }
        Poll::Ready(Ok(()))
    }

    /// The end of the stream, but not before the client had time to send what crosses with it. To close on a request
    /// is to lose it: nobody could tell the client whether it was done.
    fn poll_idle_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = self.active + ON_ITS_WAY;
        ready!(self.last_request.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(context));
        Poll::Ready(Ok(()))
    }

    /// What is taken shows that the client is there.
    fn was_written(&mut self) {
        self.active = Instant::now();
        if self.half_closed.is_some() {
            self.half_closed = Some(Box::pin(sleep(self.limit)));
        }
    }
}

impl AsyncRead for EdgeIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.half_closed.is_some() {
            return self.poll_half_closed(context);
        }
        if !self.first.is_empty() {
            let count = buffer.remaining().min(self.first.len());
            buffer.put_slice(self.first.get(..count).unwrap_or_default());
            // Nothing is kept of it when all is read.
            self.first = self.first.split_off(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(done) => {
                done?;
                let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
                if is_end && self.phase.is_answer() {
                    self.half_closed = Some(Box::pin(sleep(self.limit)));
                    return self.poll_half_closed(context);
                }
                Poll::Ready(Ok(()))
            }
            // Who is told something is woken by the task that serves the connection.
            Poll::Pending if self.told.is_cancelled() => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            // To the reader this looks like a client that has gone, which an idle one may at any time.
            Poll::Pending if self.phase.is_idle() && self.told.idle_close() => self.poll_idle_close(context),
            Poll::Pending => Poll::Pending,
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
impl Shutdown for EdgeIo {
    async fn shutdown(&mut self) {
        // The client may be gone already.
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

impl UniqueID for EdgeIo {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl Peek for EdgeIo {}

/// TLS, where there is any, lies above.
impl Ssl for EdgeIo {}

impl GetTimingDigest for EdgeIo {
    /// Asked for at each request, and of no use to us.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EdgeIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for EdgeIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl fmt::Debug for EdgeIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeIo").field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

    use super::{super::signals::Signals, *};

    /// A client's end, and ours, which has read a request and not answered it.
    async fn asked(half_closed: Duration) -> (TcpStream, EdgeIo, Signals) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let bound = listener.local_addr().expect("a bound socket");
        let client = TcpStream::connect(bound).await.expect("open");
        let (stream, peer) = listener.accept().await.expect("accepted");
        let (phase, signals) = (Arc::new(Phase::default()), Signals::default());
        phase.answer();
        let edge = EdgeIo::new(stream, Vec::new(), peer, bound, phase, half_closed, signals.told());
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
        edge.phase.free();
        client.write_all(b"half").await.expect("sent");
        client.shutdown().await.expect("closed");
        let mut body = Vec::new();
        timeout(Duration::from_secs(10), edge.read_to_end(&mut body)).await.expect("an end").expect("no error");
        assert_eq!(body, b"half");
    }

    #[tokio::test]
    async fn what_waits_for_a_client_is_ended_when_everything_is() {
        let (_client, mut edge, signals) = asked(Duration::from_secs(3600)).await;
        assert!(is_silent(&mut edge).await);
        signals.cancel();
        let end = timeout(Duration::from_secs(10), edge.read(&mut [0; 8])).await.expect("an end");
        assert_eq!(end.expect_err("an error").kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn an_idle_client_is_let_go_when_idle_ones_are_to_end() {
        let (mut client, mut edge, signals) = asked(Duration::from_secs(3600)).await;
        signals.close_idle();
        assert!(is_silent(&mut edge).await, "its answer is under way");
        edge.phase.idle();
        // It was just told something, and may have begun to ask the next thing.
        client.write_all(b"next").await.expect("sent");
        let mut next = [0; 4];
        edge.read_exact(&mut next).await.expect("its next request");
        let end = timeout(Duration::from_secs(10), edge.read(&mut [0; 8])).await.expect("an end");
        assert_eq!(end.expect("no error"), 0);
    }
}
