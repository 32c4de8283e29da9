//! Connections that wait for their next request, each with its endpoint.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};

use super::Endpoint;

/// Of all endpoints. Each takes a file descriptor, and requests should find some.
static PLACES: Semaphore = Semaphore::const_new(MOST_IN_ALL);
pub const MOST_IN_ALL: usize = 192;

/// Of one endpoint. More than that were needed at the same time a moment ago, and will hardly be again.
const MOST: usize = 64;
/// How often somebody looks whether what waits still has to.
const REAP: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The one that came last is the last one, and the first to be used again: those that are not needed grow old.
    connections: Vec<Connection>,
    /// Whether somebody looks.
    is_reaped: bool,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    until: Instant,
    place: SemaphorePermit<'static>,
}

impl Connection {
    /// Whoever is asked nothing has nothing to say. That costs no system call: it is the runtime that knows.
    fn is_usable(&self, now: Instant) -> bool {
        let heard = self.stream.try_read(&mut [0]);
        now < self.until && heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

impl Kept {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, now: Instant) -> Option<TcpStream> {
        let mut waiting = self.waiting();
        loop {
            let connection = waiting.connections.pop()?;
            if connection.is_usable(now) {
                return Some(connection.stream);
            }
        }
    }
}

/// Keeps a connection for as long as its endpoint is there, and says that it may wait.
pub(super) fn keep(endpoint: &Arc<Endpoint>, stream: TcpStream, now: Instant) {
    let Some(until) = now.checked_add(endpoint.idle()) else { return };
    let mut waiting = endpoint.kept.waiting();
    let oldest = (waiting.connections.len() == MOST).then(|| waiting.connections.remove(0).place);
    let place = oldest.or_else(|| PLACES.try_acquire().ok());
    // One endpoint's idleness must not keep another from having any, but for a while.
    let place = place.or_else(|| (!waiting.connections.is_empty()).then(|| waiting.connections.remove(0).place));
    let Some(place) = place else { return };
    waiting.connections.push(Connection { stream, until, place });
    if !std::mem::replace(&mut waiting.is_reaped, true) {
        tokio::spawn(reap(Arc::downgrade(endpoint)));
    }
}

/// Closes what nobody has used, and what its server has closed, until there is nothing left.
async fn reap(endpoint: Weak<Endpoint>) {
    loop {
        sleep(REAP).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        let mut waiting = endpoint.kept.waiting();
        let now = Instant::now();
        waiting.connections.retain(|connection| connection.is_usable(now));
        if waiting.connections.is_empty() {
            *waiting = Waiting::default();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// The places are those of the whole process, and so of all tests.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    struct Server {
        endpoint: Arc<Endpoint>,
        listener: TcpListener,
    }

    impl Server {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            Self { endpoint: Arc::new(Endpoint::new(address, 0, None)), listener }
        }

        /// Both ends of a connection that is kept.
        async fn keep(&self) -> (std::net::SocketAddr, TcpStream) {
            let stream = TcpStream::connect(self.endpoint.address).await.expect("it listens");
            let address = stream.local_addr().expect("connected");
            let (other, _) = self.listener.accept().await.expect("connected");
            keep(&self.endpoint, stream, Instant::now());
            (address, other)
        }

        fn take(&self) -> Option<std::net::SocketAddr> {
            Some(self.endpoint.kept.take(Instant::now())?.local_addr().expect("connected"))
        }

        /// Until the runtime has heard something of the connection that was kept last.
        async fn hear(&self) {
            poll_fn(|context| {
                let waiting = self.endpoint.kept.waiting();
                waiting.connections.last().expect("one is kept").stream.poll_read_ready(context)
            })
            .await
            .expect("it is heard");
        }
    }

    #[tokio::test]
    async fn the_connection_that_was_used_last_is_used_first() {
        let _alone = ALONE.lock().await;
        let server = Server::new().await;
        let (first, _first) = server.keep().await;
        let (second, _second) = server.keep().await;
        assert_eq!([server.take(), server.take(), server.take()], [Some(second), Some(first), None]);
    }

    #[tokio::test]
    async fn what_the_server_has_closed_or_spoken_on_is_not_used() {
        let _alone = ALONE.lock().await;
        let server = Server::new().await;
        let (good, _good) = server.keep().await;
        let (_, closed) = server.keep().await;
        drop(closed);
        server.hear().await;
        assert_eq!(server.take(), Some(good));
        let (_, mut talking) = server.keep().await;
        talking.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.expect("sent");
        server.hear().await;
        assert_eq!(server.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_for_too_long_is_closed() {
        let _alone = ALONE.lock().await;
        let server = Server::new().await;
        let (_, mut other) = server.keep().await;
        server.endpoint.kept.waiting().connections.iter_mut().for_each(|it| it.until = Instant::now());
        // Its end is what shows it.
        tokio::io::copy(&mut other, &mut tokio::io::sink()).await.expect("it is closed in order");
        assert!(!server.endpoint.kept.waiting().is_reaped);
        server.keep().await;
        assert!(server.endpoint.kept.waiting().is_reaped, "somebody looks again");
    }

    #[tokio::test]
    async fn no_more_are_kept_than_are_needed() {
        let _alone = ALONE.lock().await;
        let server = Server::new().await;
        let mut others = Vec::new();
        for _ in 0..=MOST {
            others.push(server.keep().await);
        }
        let (first, _) = others.remove(0);
        let mut taken = Vec::from_iter(std::iter::from_fn(|| server.take()));
        taken.reverse();
        assert!(!taken.contains(&first) && taken.len() == MOST);
    }

    #[tokio::test]
    async fn what_one_endpoint_keeps_leaves_room_for_others() {
        let _alone = ALONE.lock().await;
        let servers = [Server::new().await, Server::new().await, Server::new().await, Server::new().await];
        let mut others = Vec::new();
        for server in &servers {
            for _ in 0..MOST {
                others.push(server.keep().await);
            }
        }
        let kept = servers.iter().map(|server| server.endpoint.kept.waiting().connections.len()).sum::<usize>();
        assert!(kept <= MOST_IN_ALL && kept < servers.len() * MOST, "{kept}");
    }
}
