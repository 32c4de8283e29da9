//! An HTTP/1 connection as pingora gets to see it: one well-formed request after another.
//!
//! pingora reads leniently, starts its read timeout anew with every byte, and takes the beginning of the next
//! request for the end of this one. Here a head is checked as bytes and handed over as a whole, or refused; the
//! next one waits until this one is answered. And what pingora writes in pieces is sent as one.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
    raw_connect::ProxyDigest,
    tls::{SslDigest, TlsRef},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Sleep, sleep},
};

use super::{Refuse, phase::Phase, through::through};
use crate::framing::{Refusal, h1::Requests, head::HEAD_BYTES};

const READ: usize = 4 << 10;
/// An answer's head with a small body.
const WRITE: usize = 8 << 10;
/// How long a client that has its answer may go on to send. To close on it would be to reset it, and with that to
/// take the answer away (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// A client that takes nothing of what is there for it is gone.
const STALLED: Duration = Duration::from_secs(60);

pub(super) struct H1<S> {
    stream: S,
    bound: SocketAddr,
    peer: SocketAddr,
    refuse: Arc<Refuse>,
    phase: Arc<Phase>,
    /// For a whole head.
    limit: Duration,
    requests: Requests,
    /// Received and not handed over. Empty, and without memory, for a client that waits for its answer before it
    /// sends more, and whose heads come in one piece.
    buffer: BytesMut,
    /// How much of the buffer belongs to the current request.
    taken: usize,
    /// While a head is incomplete.
    deadline: Option<Pin<Box<Sleep>>>,
    refused: Option<Box<Refused>>,
    to_write: Vec<u8>,
    written: usize,
    /// While the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Once our side is closed, while the client may go on to send.
    lingers: Option<Pin<Box<Sleep>>>,
}

/// The connection's last answer.
struct Refused {
    answer: Vec<u8>,
    written: usize,
    until: Pin<Box<Sleep>>,
}

through!(S; H1<S>);

impl<S: IO> H1<S> {
    /// `first` was read before.
    pub(super) fn new(
        stream: S,
        first: &[u8],
        (bound, peer): (SocketAddr, SocketAddr),
        refuse: Arc<Refuse>,
        phase: Arc<Phase>,
        limit: Duration,
    ) -> Self {
        Self {
            stream,
            bound,
            peer,
            refuse,
            phase,
            limit,
            requests: Requests::default(),
            buffer: BytesMut::from(first),
            taken: 0,
            deadline: None,
            refused: None,
            to_write: Vec::new(),
            written: 0,
            stalled: None,
            lingers: None,
        }
    }

    /// To be called when bytes were taken: what is due next.
    fn note_progress(&mut self) {
        if self.requests.is_in_head() {
            return;
        }
        self.deadline = None;
        if self.requests.is_at_end() && !self.requests.is_upgrade() {
            self.phase.answer();
        } else {
            self.phase.free();
        }
    }

    /// A request can be refused as long as pingora has not seen its head; a body that breaks off ends it.
    fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        if !self.requests.is_in_head() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal));
        }
        self.phase.free();
        self.buffer = BytesMut::new();
        let answer = (self.refuse)(self.bound, self.peer, refusal);
        self.refused = Some(Box::new(Refused { answer, written: 0, until: Box::pin(sleep(LINGER)) }));
        Ok(())
    }

    /// Sends the answer, passes over what still comes, and ends.
    fn poll_refused(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(refused) = &mut self.refused else { return Poll::Ready(Ok(())) };
        loop {
            let rest = refused.answer.get(refused.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(count @ 1..)) => refused.written += count,
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(refused.until.as_mut().poll(context));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if Pin::new(&mut self.stream).poll_flush(context).is_ready() {
            let _ = Pin::new(&mut self.stream).poll_shutdown(context);
        }
        poll_passed_over(&mut self.stream, &mut refused.until, context).map(Ok)
    }

    /// Reads behind what is buffered. Ready with nothing is the end. Takes memory only for what comes: in most cases
    /// nothing does while there is somebody to wait for it.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut more = [MaybeUninit::uninit(); READ];
        let mut more = ReadBuf::uninit(&mut more);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut more))?;
        self.buffer.extend_from_slice(more.filled());
        Poll::Ready(Ok(more.filled().len()))
    }

    /// Whether the next request begins, or the connection ends. Nothing is kept for it in the meantime.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.requests.is_at_end() && self.phase.is_idle() {
            self.requests.next();
        }
        if !self.requests.is_in_head() {
            return Poll::Ready(Ok(false));
        }
        loop {
            // Some clients end a body with a line break too many (RFC 9112 section 2.2), and then wait.
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
            }
            if !matches!(&self.buffer[..], b"" | b"\r") {
                return Poll::Ready(Ok(true));
            }
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            if ready!(self.poll_more(context))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// The client may take its time between two requests, not within a head.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.deadline.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }

    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.to_write.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                self.to_write.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            let sent = Pin::new(&mut self.stream).poll_write(context, rest);
            match ready!(self.poll_taken(context, sent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
    }

    /// pingora's own limit is for bodies, and not for an answer that has none.
    fn poll_taken<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED))).as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Nothing comes from the client, and pingora waits for the backend: the beginning of an answer does not wait
    /// here for its end.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.to_write.is_empty() && self.poll_written(context)?.is_ready() {
            let _ = Pin::new(&mut self.stream).poll_flush(context)?;
        }
        Poll::Pending
    }
}

impl<S: IO> AsyncRead for H1<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.refused.is_some() {
                return this.poll_refused(context);
            }
            if this.requests.is_at_end() && this.phase.is_idle() {
                this.requests.next();
            }
            if this.phase.is_tunnel() {
                this.taken = this.buffer.len();
            }
            if this.taken > 0 {
                let count = this.taken.min(out.remaining());
                out.put_slice(this.buffer.get(..count).unwrap_or_default());
                this.buffer.advance(count);
                this.taken -= count;
                if this.buffer.is_empty() {
                    this.buffer = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.phase.is_tunnel() {
                let read = Pin::new(&mut this.stream).poll_read(context, out);
                return if read.is_pending() { this.poll_waiting(context) } else { read };
            }
            if this.requests.is_at_end() {
                // What comes now is of the next request, or the end of the client.
                if this.buffer.len() >= HEAD_BYTES {
                    return Poll::Pending;
                }
                match this.poll_more(context)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(())),
                    Poll::Ready(_) => continue,
                    Poll::Pending => return this.poll_waiting(context),
                }
            }
            if !this.buffer.is_empty() {
                match this.requests.advance(&this.buffer) {
                    Ok(taken @ 1..) => {
                        this.taken = taken;
                        this.note_progress();
                    }
                    Ok(_) => {
                        this.phase.head();
                        match this.poll_more(context)? {
                            Poll::Ready(0) => return Poll::Ready(Ok(())),
                            Poll::Ready(_) => {}
                            Poll::Pending => {
                                ready!(this.poll_deadline(context));
                                this.refuse(Refusal::HeadTooSlow)?;
                            }
                        }
                    }
                    Err(refusal) => this.refuse(refusal)?,
                }
                continue;
            }
            // Straight into the reader's memory, which in most cases is all there is to do.
            let before = out.filled().len();
            if Pin::new(&mut this.stream).poll_read(context, out)?.is_pending() {
                return this.poll_waiting(context);
            }
            let new = out.filled().get(before..).unwrap_or_default();
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let taken = match this.requests.advance(new) {
                Ok(taken) => taken,
                Err(refusal) => {
                    out.set_filled(before);
                    this.refuse(refusal)?;
                    continue;
                }
            };
            this.buffer.extend_from_slice(new.get(taken..).unwrap_or_default());
            out.set_filled(before + taken);
            this.note_progress();
            if taken > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: IO> AsyncWrite for H1<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.to_write.len() + bytes.len() > WRITE {
            ready!(self.poll_written(context))?;
        }
        if bytes.len() >= WRITE {
            let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
            return self.poll_taken(context, sent);
        }
        if self.to_write.is_empty() {
            self.to_write.reserve(READ);
        }
        self.to_write.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.to_write.len() + length > WRITE {
            ready!(self.poll_written(context))?;
        }
        if length >= WRITE {
            let sent = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
            return self.poll_taken(context, sent);
        }
        for slice in slices {
            self.to_write.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(context))?;
        // Ten thousand connections that wait need no memory for what they will be sent.
        self.to_write = Vec::new();
        let sent = Pin::new(&mut self.stream).poll_flush(context);
        self.poll_taken(context, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(this.poll_written(context))?;
            let closed = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.poll_taken(context, closed))?;
            let is_in_body = !this.requests.is_in_head() && !this.requests.is_at_end();
            if (!is_in_body && this.buffer.is_empty()) || this.phase.is_tunnel() {
                return Poll::Ready(Ok(()));
            }
        }
        let until = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        poll_passed_over(&mut this.stream, until, context).map(Ok)
    }
}

/// Reads what a client still sends that was answered before its end, until it ends or its time has.
fn poll_passed_over(
    stream: &mut (impl AsyncRead + Unpin),
    until: &mut Pin<Box<Sleep>>,
    context: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let mut passed_over = [MaybeUninit::uninit(); READ];
        let mut passed_over = ReadBuf::uninit(&mut passed_over);
        match Pin::new(&mut *stream).poll_read(context, &mut passed_over) {
            Poll::Ready(Ok(())) if passed_over.filled().is_empty() => return Poll::Ready(()),
            Poll::Ready(Ok(())) if until.as_mut().poll(context).is_pending() => {}
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => return until.as_mut().poll(context),
        }
    }
}

#[async_trait]
impl<S: IO> Shutdown for H1<S> {
    /// pingora's HTTP/1 closes by [`AsyncWrite`], and nothing comes here; but it would have to do the same.
    async fn shutdown(&mut self) {
        // The client may be gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

#[async_trait]
impl<S: IO> Peek for H1<S> {
    /// Waits for the next request, and says whether there is one. pingora would look for the preface of HTTP/2 by it,
    /// and is not asked to: that it is none is known already.
    async fn try_peek(&mut self, _: &mut [u8]) -> io::Result<bool> {
        poll_fn(|context| self.poll_next(context)).await
    }
}

impl<S> fmt::Debug for H1<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H1").field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
