//! An HTTP/2 connection, of which is counted what its client uses up.

use std::{
    fmt, io,
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::through::through;
use crate::framing::h2::{Allowance, PREFACE};

pub(super) struct H2<S> {
    stream: S,
    /// Read before, and not handed over.
    first: Vec<u8>,
    allowance: Allowance,
    since: Instant,
    floods: Counter,
}

through!(S; H2<S>);

impl<S: IO> H2<S> {
    pub(super) fn new(stream: S, first: Vec<u8>, floods: Counter) -> Self {
        Self { stream, first, allowance: Allowance::default(), since: Instant::now(), floods }
    }
}

impl<S: IO> AsyncRead for H2<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, out))?;
        } else {
            let rest = this.first.split_off(this.first.len().min(out.remaining()));
            out.put_slice(&std::mem::replace(&mut this.first, rest));
        }
        let new = out.filled().get(before..).unwrap_or_default();
        this.allowance.received(new, this.since.elapsed()).map_err(|flood| {
            this.floods.increment(1);
            io::Error::new(io::ErrorKind::ConnectionAborted, flood)
        })?;
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for H2<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.allowance.sent(bytes.get(..count).unwrap_or_default());
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
            self.allowance.sent(slice.get(..sent).unwrap_or_default());
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
