//! What an HTTP/2 connection sends, in as few pieces as can be.
//!
//! h2 writes and flushes each frame of data alone, and each answer wakes its connection. So what is written waits here
//! for the connection's next turn: whatever other streams have ready by then goes with it, in one record of TLS and one
//! system call for all.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
    raw_connect::ProxyDigest,
    tls::{SslDigest, TlsRef},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::through::through;

/// In bytes; what is larger goes its way alone. Not h2's own 16 KiB: its buffers would get the memory that this one has
/// written to (see the tests of `proxy::context`).
const MOST: usize = 12 << 10;

pub(super) struct Gathered<S> {
    stream: S,
    /// Without memory where nothing waits.
    waiting: Vec<u8>,
    sent: usize,
    /// Something was written since the last flush. The last flush of a turn comes without.
    is_new: bool,
    /// What waits has done so since an earlier turn. A turn begins with a read.
    is_due: bool,
    /// The connection will have another turn.
    is_woken: bool,
    /// Before a client has said anything, nothing is certain to have another turn.
    has_begun: bool,
}

through!(S; Gathered<S>);

impl<S: IO> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        let (is_new, is_due, is_woken, has_begun) = (false, false, false, false);
        Self { stream, waiting: Vec::new(), sent: 0, is_new, is_due, is_woken, has_begun }
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.waiting.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.waiting = Vec::new();
        self.sent = 0;
        self.is_due = false;
        Poll::Ready(Ok(()))
    }

    /// Makes room for so many bytes. Returns whether they are to wait.
    fn poll_room(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<bool>> {
        if self.waiting.len() + length > MOST {
            ready!(self.poll_sent(context))?;
        }
        let waits = self.has_begun && length <= MOST;
        if waits && self.waiting.is_empty() {
            self.waiting.reserve_exact(MOST);
        }
        self.is_new |= waits;
        Poll::Ready(Ok(waits))
    }
}

impl<S: IO> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.is_due = !self.waiting.is_empty();
        self.is_woken = false;
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, out))?;
        self.has_begun |= out.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_room(context, bytes.len()))? {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if !ready!(self.poll_room(context, length))? {
            return Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        }
        for slice in slices {
            self.waiting.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready with what waits, too: that is flushed at the end of the next turn.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_new = std::mem::take(&mut self.is_new);
        if !self.waiting.is_empty() && (is_new || !self.is_due) {
            if !std::mem::replace(&mut self.is_woken, true) {
                context.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_sent(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl<S: IO> Shutdown for Gathered<S> {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

#[async_trait]
impl<S: IO> Peek for Gathered<S> {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.stream.try_peek(buffer).await
    }
}

impl<S> fmt::Debug for Gathered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gathered")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::{Wake, Waker},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A connection as h2 has it, and its client, which has begun.
    struct Connection {
        gathered: Gathered<DuplexStream>,
        client: DuplexStream,
        woken: Arc<Woken>,
    }

    impl Connection {
        async fn new() -> Self {
            let (mut client, server) = duplex(64 << 10);
            let mut gathered = Gathered::new(server);
            client.write_all(b"!").await.expect("sent");
            gathered.read_exact(&mut [0]).await.expect("come");
            Self { gathered, client, woken: Arc::default() }
        }

        /// A turn with these writes, each of them flushed. Returns how much the client has got of it.
        fn turn(&mut self, writes: &[&[u8]], flushes_last: bool) -> Vec<u8> {
            let waker = Waker::from(Arc::clone(&self.woken));
            let mut context = Context::from_waker(&waker);
            let mut nothing = ReadBuf::new(&mut []);
            let _ = Pin::new(&mut self.gathered).poll_read(&mut context, &mut nothing);
            for bytes in writes {
                let pieces = bytes.split_at(1);
                let slices = [io::IoSlice::new(pieces.0), io::IoSlice::new(pieces.1)];
                let written = Pin::new(&mut self.gathered).poll_write_vectored(&mut context, &slices);
                assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()));
                assert!(Pin::new(&mut self.gathered).poll_flush(&mut context).is_ready());
            }
            if flushes_last {
                assert!(Pin::new(&mut self.gathered).poll_flush(&mut context).is_ready());
            }
            self.got()
        }

        fn got(&mut self) -> Vec<u8> {
            let mut buffer = [0; 64 << 10];
            let mut buffer = ReadBuf::new(&mut buffer);
            let _ = Pin::new(&mut self.client).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
            buffer.filled().to_vec()
        }
    }

    #[tokio::test]
    async fn what_is_ready_by_the_next_turn_goes_as_one() {
        let mut connection = Connection::new().await;
        assert_eq!(connection.turn(&[b"one"], true), b"");
        assert_eq!(connection.woken.0.load(Relaxed), 1, "there is another turn");
        assert_eq!(connection.turn(&[b"two", b"three"], true), b"onetwothree");
        assert_eq!(connection.gathered.waiting.capacity(), 0);
    }

    #[tokio::test]
    async fn what_is_flushed_but_once_goes_a_turn_later() {
        let mut connection = Connection::new().await;
        assert_eq!(connection.turn(&[b"one"], false), b"");
        assert_eq!(connection.turn(&[b"two"], false), b"");
        assert_eq!(connection.woken.0.load(Relaxed), 2);
        assert_eq!(connection.turn(&[], true), b"onetwo");
        assert_eq!(connection.turn(&[], true), b"");
        assert_eq!(connection.woken.0.load(Relaxed), 2, "it may sleep");
    }

    #[tokio::test]
    async fn what_is_large_does_not_wait_nor_overtakes() {
        let mut connection = Connection::new().await;
        let large = [b'x'; MOST + 1];
        assert_eq!(connection.turn(&[b"one", &large], true), [&b"one"[..], &large].concat());
        assert_eq!(connection.turn(&[&[b'y'; MOST], b"two"], true), [b'y'; MOST]);
        assert_eq!(connection.turn(&[], true), b"two");
    }

    #[tokio::test]
    async fn nothing_waits_for_a_client_that_has_not_begun_nor_for_the_end() {
        let (mut client, server) = duplex(64);
        let mut gathered = Gathered::new(server);
        gathered.write_all(b"settings").await.expect("sent");
        client.read_exact(&mut [0; 8]).await.expect("they have come");
        client.write_all(b"!").await.expect("sent");
        gathered.read_exact(&mut [0]).await.expect("come");
        gathered.write_all(b"last").await.expect("it waits");
        poll_fn(|context| Pin::new(&mut gathered).poll_shutdown(context)).await.expect("closed");
        let mut last = Vec::new();
        client.read_to_end(&mut last).await.expect("an end");
        assert_eq!(last, b"last");
    }
}
