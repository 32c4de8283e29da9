//! An HTTP/2 connection, whose client has to begin in time, and of which is counted what it uses up.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use metrics::Counter;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
    raw_connect::ProxyDigest,
    tls::{SslDigest, TlsRef},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{metrics::Metrics, through::through, turns::Turns};
use crate::framing::h2::{Allowance, Flood, PREFACE};

/// What is read in a turn, in bytes. Each request takes less than a hundred, and some microseconds.
const A_TURN: usize = 2 << 10;

pub(super) struct H2<S> {
    stream: S,
    /// This turn has had its bytes.
    has_read: bool,
    /// Read before, and not handed over.
    first: Vec<u8>,
    /// While the client has not sent all of its preface.
    deadline: Option<Pin<Box<Sleep>>>,
    received: usize,
    allowance: Allowance,
    since: Instant,
    silent: Counter,
    floods: Counter,
    turns: Arc<Turns>,
}

through!(S; H2<S>);

impl<S: IO> H2<S> {
    /// `limit` is for the preface: without it no timer of pingora's runs.
    pub(super) fn new(stream: S, first: Vec<u8>, limit: Duration, metrics: &Metrics, turns: Arc<Turns>) -> Self {
        let deadline = (first.len() < PREFACE.len()).then(|| Box::pin(sleep(limit)));
        Self {
            stream,
            has_read: false,
            first,
            deadline,
            received: 0,
            allowance: Allowance::default(),
            since: Instant::now(),
            silent: metrics.silent.clone(),
            floods: metrics.flood.clone(),
            turns,
        }
    }

    /// As much as a turn has, where the client takes turns: what has come by then is all read at once otherwise.
    fn poll_in_turns(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.turns.are_due() {
            return self.poll_stream(context, out);
        }
        if std::mem::take(&mut self.has_read) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut some = ReadBuf::new(out.initialize_unfilled_to(out.remaining().min(A_TURN)));
        ready!(self.poll_stream(context, &mut some))?;
        let count = some.filled().len();
        out.advance(count);
        self.has_read = true;
        Poll::Ready(Ok(()))
    }

    fn poll_stream(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match (Pin::new(&mut self.stream).poll_read(context, out), &mut self.deadline) {
            (Poll::Pending, Some(deadline)) => {
                ready!(deadline.as_mut().poll(context));
                self.silent.increment(1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            (read, _) => read,
        }
    }

    fn sent(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.allowance.sent(bytes, self.since.elapsed()).map_err(|flood| self.cut(flood))?;
        if self.allowance.is_refused() {
            self.turns.note_flood();
        }
        Ok(())
    }

    fn cut(&self, flood: Flood) -> io::Error {
        self.floods.increment(1);
        self.turns.note_flood();
        io::Error::new(io::ErrorKind::ConnectionAborted, flood)
    }
}

impl<S: IO> AsyncRead for H2<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        if this.first.is_empty() {
            ready!(this.poll_in_turns(context, out))?;
        } else {
            let rest = this.first.split_off(this.first.len().min(out.remaining()));
            out.put_slice(&std::mem::replace(&mut this.first, rest));
        }
        let new = out.filled().get(before..).unwrap_or_default();
        if this.deadline.is_some() {
            this.received += new.len();
            this.deadline.take_if(|_| this.received >= PREFACE.len());
        }
        this.allowance.received(new, this.since.elapsed()).map_err(|flood| this.cut(flood))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for H2<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.sent(bytes.get(..count).unwrap_or_default())?;
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        let mut left = count;
        for slice in slices {
            let sent = left.min(slice.len());
            self.sent(slice.get(..sent).unwrap_or_default())?;
            left -= sent;
        }
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
impl<S: IO> Shutdown for H2<S> {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

#[async_trait]
impl<S: IO> Peek for H2<S> {
    /// pingora looks for the preface, which is known to come.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let count = buffer.len().min(PREFACE.len());
        buffer.get_mut(..count).unwrap_or_default().copy_from_slice(PREFACE.get(..count).unwrap_or_default());
        Ok(true)
    }
}

impl<S> fmt::Debug for H2<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("H2")
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// How much is read at once, and then, of a client that has sent a lot; None where it is another turn's.
    async fn reads(has_flooded: bool) -> [Option<usize>; 3] {
        let turns = Arc::new(Turns::of_one());
        if has_flooded {
            turns.note_flood();
        }
        let (mut client, server) = duplex(64 << 10);
        client.write_all(PREFACE).await.expect("sent");
        // A frame of data.
        client.write_all(&[0, 0x40, 0, 0, 0, 0, 0, 0, 1]).await.expect("sent");
        client.write_all(&[0; 0x4000]).await.expect("sent");
        let mut h2 = H2::new(server, Vec::new(), Duration::from_secs(1), &Metrics::new("of a test"), turns);
        [(); 3].map(|()| {
            let mut buffer = [0; 4 << 10];
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut h2).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
            read.is_ready().then(|| buffer.filled().len())
        })
    }

    #[tokio::test]
    async fn who_floods_is_read_a_little_in_each_turn() {
        assert_eq!(reads(false).await, [Some(4 << 10); 3]);
        assert_eq!(reads(true).await, [Some(A_TURN), None, Some(A_TURN)]);
    }
}
