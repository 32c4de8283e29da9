//! The connection to the backend of a WebSocket.
//!
//! pingora tells itself that the request is at its end, and reads the backend's answer, in one `select!`.
//! When both are there at once and it takes a 101 first, the end of the request is taken for the end of the
//! WebSocket, and the connection is closed: one in some hundreds, with a backend on the same node. Here what
//! a backend says is read a turn after anything is written, and so after the end of the request.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::{
    Error, ErrorType, OrErr, Result,
    connectors::L4Connect,
    protocols::l4::{
        ext::set_tcp_keepalive,
        socket::SocketAddr,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
    upstreams::peer::PeerOptions,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep_until, timeout},
};
use tokio_rustls::client::TlsStream;

use super::alternative_names::Presenting;

/// To be set once the connection is a WebSocket.
pub type Upgraded = Arc<AtomicBool>;

/// Makes the connections of this peer such: to be had within `limit`, and upgraded by the time of `due` or read no
/// more. (pingora's own limit would be one for the WebSocket's silence as well.) `tls` is what pingora does not see.
pub(super) fn apply(
    options: &mut PeerOptions,
    limit: Duration,
    due: Option<(Instant, &Upgraded)>,
    tls: Option<&Presenting>,
) {
    let due = due.map(|(at, upgraded)| (at, Arc::clone(upgraded)));
    options.custom_l4 = Some(Arc::new(Connect { limit, due, tls: tls.cloned() }));
    // pingora's pool knows connections by their descriptors, which these do not show. A backend that refuses
    // to upgrade is one connection the more.
    options.idle_timeout = Some(Duration::ZERO);
}

#[derive(Debug)]
struct Connect {
    limit: Duration,
    due: Option<(Instant, Upgraded)>,
    tls: Option<Presenting>,
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address.as_inet().ok_or_else(|| Error::explain(ErrorType::ConnectError, "no address"))?;
        let connecting = timeout(self.limit, TcpStream::connect(address));
        let stream = connecting.await.or_err(ErrorType::ConnectTimedout, "no answer to the connection")?;
        let stream = stream.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "no connection", error)
        })?;
        let due = self.due.as_ref().map(|(at, upgraded)| (Box::pin(sleep_until((*at).into())), Arc::clone(upgraded)));
        Ok(match &self.tls {
            None => socket(stream, due),
            Some(tls) => socket(tls.handshake(stream).await?, due),
        })
    }
}

fn socket<S: OverTcp>(stream: S, due: Option<(Pin<Box<Sleep>>, Upgraded)>) -> Stream {
    VirtualSocketStream::new(Box::new(Socket { stream, has_written: false, due })).into()
}

trait OverTcp: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OverTcp for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

#[derive(Debug)]
struct Socket<S> {
    stream: S,
    has_written: bool,
    /// When it has to be a WebSocket, until then.
    due: Option<(Pin<Box<Sleep>>, Upgraded)>,
}

impl<S> Socket<S> {
    fn poll_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let count = ready!(written)?;
        self.has_written = true;
        Poll::Ready(Ok(count))
    }
}

impl<S: OverTcp> VirtualSocket for Socket<S> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.tcp().set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => {
                set_tcp_keepalive(self.stream.tcp(), &keepalive).map_err(io::Error::other)
            }
            _ => Ok(()),
        }
    }
}

impl<S: OverTcp> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_written {
            self.has_written = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && self.due.as_mut().is_some_and(|(at, _)| at.as_mut().poll(context).is_ready()) {
            let is_upgraded = self.due.take().is_some_and(|(_, upgraded)| upgraded.load(Relaxed));
            if !is_upgraded {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: OverTcp> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.poll_written(written)
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_there_already_is_read_a_turn_after_the_request_is_written() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("open");
        let (mut backend, _) = listener.accept().await.expect("a connection");
        let mut socket = Socket { stream, has_written: false, due: None };
        socket.write_all(b"request").await.expect("written");
        backend.write_all(b"answer").await.expect("written");
        socket.stream.readable().await.expect("open");

        let mut bytes = [0; 6];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut socket).poll_read(&mut context, &mut buffer).is_pending());
        assert!(Pin::new(&mut socket).poll_read(&mut context, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"answer");

        socket.write_all(b"more").await.expect("written");
        backend.write_all(b"answer").await.expect("written");
        let mut bytes = [0; 6];
        socket.read_exact(&mut bytes).await.expect("woken after the turn");
        assert_eq!(&bytes, b"answer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_websocket_in_time_is_given_up_and_what_is_may_be_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("open");
        let (mut backend, _) = listener.accept().await.expect("a connection");
        let due = || (Box::pin(tokio::time::sleep(Duration::from_secs(2))), Upgraded::default());
        let mut socket = Socket { stream, has_written: false, due: Some(due()) };
        backend.write_all(b"a").await.expect("written");
        assert_eq!(socket.read_u8().await.expect("something, if no WebSocket"), b'a');
        let error = socket.read_u8().await.expect_err("a limit");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (at, upgraded) = due();
        upgraded.store(true, Relaxed);
        socket.due = Some((at, upgraded));
        assert!(timeout(Duration::from_secs(60), socket.read_u8()).await.is_err(), "no limit any more");
    }
}
