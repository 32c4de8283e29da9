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

pub(super) struct H2<S> {
    stream: S,
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
            ready!(this.poll_stream(context, out))?;
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
