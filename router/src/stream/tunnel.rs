//! Bytes both ways between a client and a backend, until both have ended.
//!
//! Who closes its sending side still gets its answer: the other one is told, and goes on. What an idle tunnel holds is
//! its two sockets: bytes are read into a place that all tunnels of a thread share, and only what the other side does
//! not take at once is kept.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::TlsStream;

/// Read at a time, in bytes, and so the most that is kept for a side that is slow.
const PIECE: usize = 16 << 10;
/// How long a side may be silent once the other one has closed its sending side. That looks the same whether it still
/// reads or is gone.
const HALF_CLOSED: Duration = Duration::from_secs(600);

thread_local! {
    static SHARED: RefCell<[u8; PIECE]> = const { RefCell::new([0; PIECE]) };
}

/// One end of a tunnel.
pub enum Side {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What each side has sent and the other has taken, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub from_client: u64,
    pub from_backend: u64,
}

/// Why a tunnel ended before both sides had.
#[derive(Debug)]
pub enum Broken {
    Client(io::Error),
    Backend(io::Error),
    HalfClosed,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and is not written.
    left: Vec<u8>,
    end: Option<End>,
    needs_flush: bool,
    is_done: bool,
    carried: u64,
}

/// How a side's bytes have ended.
#[derive(Clone, Copy)]
enum End {
    Clean,
    /// TLS that ends without a farewell may have been cut short by anybody (RFC 8446 section 6.1).
    Truncated,
}

/// Where a direction has failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// `first` was read from the client before. `carried` is right at any time.
///
/// # Errors
/// When a side breaks off, or is silent for too long after the other has ended.
pub async fn carry(client: &mut Side, backend: &mut Side, first: Vec<u8>, carried: &mut Carried) -> Result<(), Broken> {
    let mut ways = Ways { there: Way { left: first, ..Way::default() }, back: Way::default() };
    let one_has_ended = poll_fn(|context| {
        let ended = ways.poll(context, client, backend, carried);
        let is_half_done = ended.is_pending() && (ways.there.is_done || ways.back.is_done);
        if is_half_done { Poll::Ready(Ok(())) } else { ended }
    });
    one_has_ended.await?;
    loop {
        let before = *carried;
        tokio::select! {
            ended = poll_fn(|context| ways.poll(context, client, backend, carried)) => return ended,
            () = sleep(HALF_CLOSED) => if *carried == before { return Err(Broken::HalfClosed) },
        }
    }
}

/// Both directions.
struct Ways {
    there: Way,
    back: Way,
}

impl Ways {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Side,
        backend: &mut Side,
        carried: &mut Carried,
    ) -> Poll<Result<(), Broken>> {
        let there = self.there.poll(context, client, backend);
        let back = self.back.poll(context, backend, client);
        *carried = Carried { from_client: self.there.carried, from_backend: self.back.carried };
        match (there, back) {
            (Poll::Ready(Err(Failed::Reading(error))), _) | (_, Poll::Ready(Err(Failed::Writing(error)))) => {
                Poll::Ready(Err(Broken::Client(error)))
            }
            (Poll::Ready(Err(Failed::Writing(error))), _) | (_, Poll::Ready(Err(Failed::Reading(error)))) => {
                Poll::Ready(Err(Broken::Backend(error)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }
}

impl Way {
    fn poll(&mut self, context: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<Result<(), Failed>> {
        while !self.is_done {
            ready!(self.poll_write(context, to)).map_err(Failed::Writing)?;
            match self.end {
                None => ready!(self.poll_read(context, from, to))?,
                Some(end) => {
                    // Where it is gone, there is nobody to tell.
                    let _ = ready!(to.poll_end(context, end));
                    self.is_done = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What is left.
    fn poll_write(&mut self, context: &mut Context<'_>, to: &mut Side) -> Poll<io::Result<()>> {
        while !self.left.is_empty() {
            let count = ready!(Pin::new(&mut *to).poll_write(context, &self.left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wrote(count as u64);
            if count < self.left.len() { drop(self.left.drain(..count)) } else { self.left = Vec::new() }
        }
        if self.needs_flush {
            ready!(Pin::new(to).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// A piece; as much of it as can be is written at once.
    fn poll_read(&mut self, context: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<Result<(), Failed>> {
        SHARED.with_borrow_mut(|shared| {
            let mut buffer = ReadBuf::new(shared);
            match ready!(Pin::new(&mut *from).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => self.end = Some(End::Clean),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.end = Some(End::Truncated),
                Err(error) => return Poll::Ready(Err(Failed::Reading(error))),
                Ok(()) => {
                    let count = match Pin::new(to).poll_write(context, buffer.filled()) {
                        Poll::Ready(written) => written.map_err(Failed::Writing)?,
                        Poll::Pending => 0,
                    };
                    self.wrote(count as u64);
                    self.left.extend_from_slice(buffer.filled().get(count..).unwrap_or_default());
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    fn wrote(&mut self, count: u64) {
        self.carried += count;
        // TLS keeps what its socket does not take.
        self.needs_flush = true;
    }
}

impl Side {
    /// Closes it with a reset: its peer may take any other end for that of all there was.
    pub fn reset(self) {
        let stream = match &self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // A socket that is no more has nobody to tell.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    fn poll_end(&mut self, context: &mut Context<'_>, end: End) -> Poll<io::Result<()>> {
        match (self, end) {
            (Self::Tls(stream), End::Truncated) => Pin::new(stream.get_mut().0).poll_shutdown(context),
            (side, _) => Pin::new(side).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Side {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Side {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
