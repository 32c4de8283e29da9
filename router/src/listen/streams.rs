//! What is not HTTP, between the socket and [`stream`].

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio::{net::TcpStream, time::timeout};

use super::{
    App,
    door::{Client, Door},
};
use crate::stream::{
    self, Mode, Opening, Streams,
    hello::{self, Hello},
    report::{About, Report},
};

impl<A: App> Door<A> {
    /// Asked of a socket that TLS comes to. Where there is nothing but HTTPS, nobody reads what pingora will.
    pub(super) fn has_streams(&self) -> bool {
        self.dataplane.load().sockets.get(&self.address).is_some_and(|socket| socket.streams.is_some())
    }

    pub(super) async fn serve_tcp(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(about) = self.only_route(peer) else { return };
        self.serve_stream(stream, Opening::Tcp, about).await;
    }

    /// Some is a connection that is HTTPS, and what was read of it.
    pub(super) async fn serve_tls(&self, mut stream: TcpStream, client: &Client) -> Option<(TcpStream, Vec<u8>)> {
        let began = Instant::now();
        let read = tokio::select! {
            read = timeout(self.limits.handshake, hello::read(&mut stream)) => read,
            () = self.idle_close() => return None,
        };
        let Ok(Ok(hello)) = read else {
            self.metrics.no_hello.increment(1);
            return None;
        };
        let (mode, about) = self.by_server_name(&hello, client.address, began)?;
        let opening = match mode {
            Some(Mode::Https) => return Some((stream, hello.bytes)),
            Some(Mode::Passthrough) => Opening::Passthrough(hello.bytes),
            Some(Mode::Terminate(termination)) => {
                let turns = Arc::clone(&client.counted.turns);
                Opening::Terminate(Box::new(hello), termination, self.limits.handshake, turns)
            }
            None => {
                self.metrics.no_listener.increment(1);
                stream::refuse(stream, self.report(about), "no listener for this server name");
                return None;
            }
        };
        self.serve_stream(stream, opening, about).await;
        None
    }

    async fn serve_stream(&self, stream: TcpStream, opening: Opening, about: About) {
        let cancelled = self.connections.signals.cancelled();
        stream::serve(stream, opening, self.report(about), &self.apps.streams, cancelled).await;
    }

    fn report(&self, about: About) -> Report {
        Report::new(about, self.apps.streams.log.clone())
    }

    // Nothing of the socket is kept by what follows, which may last for days.

    fn only_route(&self, client: SocketAddr) -> Option<About> {
        let dataplane = self.dataplane.load();
        let socket = dataplane.sockets.get(&self.address)?;
        let Some(Streams::Tcp(only)) = &socket.streams else { return None };
        Some(About {
            began: Instant::now(),
            edge: Arc::clone(&socket.edge),
            listener: Arc::clone(&only.listener),
            protocol: "tcp",
            client,
            server_name: None,
            action: only.action.clone(),
        })
    }

    /// None where the socket is about to close; without a mode where no listener has the name.
    fn by_server_name(&self, hello: &Hello, client: SocketAddr, began: Instant) -> Option<(Option<Mode>, About)> {
        let dataplane = self.dataplane.load();
        let socket = dataplane.sockets.get(&self.address)?;
        let server_name = hello.server_name();
        let (listener, mode) = match &socket.streams {
            Some(Streams::Tls(names)) => match names.listener(server_name.as_deref()) {
                Some(listener) => (Some(listener), Some(listener.mode.clone())),
                // HTTPS has a certificate for clients that name nobody.
                None => (None, (server_name.is_none() && socket.tls.is_some()).then_some(Mode::Https)),
            },
            // It had other listeners a moment ago.
            _ => (None, Some(Mode::Https)),
        };
        let about = About {
            began,
            edge: Arc::clone(&socket.edge),
            listener: listener.map_or_else(|| "".into(), |listener| Arc::clone(&listener.name)),
            protocol: if matches!(mode, Some(Mode::Passthrough)) { "tls passthrough" } else { "tls" },
            client,
            action: listener.and_then(|listener| listener.route(server_name.as_deref()).cloned()),
            server_name,
        };
        Some((mode, about))
    }
}
