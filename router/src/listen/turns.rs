//! Connections of one client wait for each other, and not everybody else for all of them.
//!
//! What is ready is served one connection after the other. Of a client that has something costly ready on hundreds of
//! them at the same moment (handshakes; floods of HTTP/2, of which each is cut off only when it is read; or hundreds of
//! requests) everybody else would wait for hundreds. Here it is one, and then whoever else has something ready.

use std::{
    future::{Future, poll_fn},
    num::NonZero,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::ready,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use super::App;

/// How long a flood is held against all connections of a client.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Requests over HTTP/2 that a client has at once before they are in turns: what a browser may have on one connection.
const MANY: usize = 100;

/// The turns of one client.
#[derive(Debug)]
pub(crate) struct Turns {
    /// None where it takes none.
    turn: Option<Arc<Semaphore>>,
    began: Instant,
    /// In milliseconds since then, until when a flood is remembered. 0 where there was none.
    flooded: AtomicU64,
    n_requests: AtomicUsize,
}

type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

impl Turns {
    /// A client has at most half of the machine at a moment.
    pub(super) fn of_one() -> Self {
        static AT_ONCE: OnceLock<usize> = OnceLock::new();
        let at_once = AT_ONCE.get_or_init(|| available_parallelism().map_or(1, NonZero::get).div_ceil(2));
        Self { turn: Some(Arc::new(Semaphore::new(*at_once))), ..Self::of_many() }
    }

    /// Of one who speaks for many: what one of them does is not to be held against the others.
    pub(super) fn of_many() -> Self {
        Self { turn: None, began: Instant::now(), flooded: AtomicU64::new(0), n_requests: AtomicUsize::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// To be called when a connection of the client is cut off.
    pub(super) fn note_flood(&self) {
        let remembered = u64::try_from(REMEMBERED.as_millis()).unwrap_or(u64::MAX);
        self.flooded.store(self.now().saturating_add(remembered), Relaxed);
    }

    pub(super) fn has_flooded(&self) -> bool {
        let until = self.flooded.load(Relaxed);
        self.turn.is_some() && until > 0 && self.now() < until
    }

    /// Whether what a client does over HTTP/2 is to be in turns.
    pub(super) fn are_due(&self) -> bool {
        self.turn.is_some() && (self.n_requests.load(Relaxed) > MANY || self.has_flooded())
    }

    /// Waits for a turn where one is due. What comes next, to the first time that it waits, is in it.
    async fn wait(&self) {
        if let Some(of_client) = self.turn.as_ref().filter(|_| self.are_due()) {
            drop(next(Arc::clone(of_client)).await);
        }
    }

    /// Does as `future`, and where a turn `is_due` takes one for each of its steps.
    pub(crate) async fn take<F: Future>(&self, is_due: impl Fn(&Self) -> bool, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut waits: Option<Turn> = None;
        poll_fn(|context| {
            let mut turn = None;
            if let Some(of_client) = self.turn.as_ref().filter(|_| waits.is_some() || is_due(self)) {
                let next = || -> Turn { Box::pin(next(Arc::clone(of_client))) };
                turn = ready!(waits.get_or_insert_with(next).as_mut().poll(context));
                waits = None;
            }
            let polled = future.as_mut().poll(context);
            drop(turn);
            polled
        })
        .await
    }
}

/// What serves the streams of one HTTP/2 connection, in tasks of their own. They begin in their client's turns: that is
/// most of what they cost.
pub(super) struct InTurns<A> {
    app: Arc<A>,
    turns: Arc<Turns>,
}

impl<A> InTurns<A> {
    pub(super) fn new(app: &Arc<A>, turns: &Arc<Turns>) -> Arc<Self> {
        Arc::new(Self { app: Arc::clone(app), turns: Arc::clone(turns) })
    }
}

#[async_trait]
impl<A: App> HttpServerApp for InTurns<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _one = One::of(&self.turns);
        self.turns.wait().await;
        self.app.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.app.server_options()
    }
}

/// One request more, until it is dropped.
struct One<'a>(&'a Turns);

impl<'a> One<'a> {
    fn of(turns: &'a Turns) -> Self {
        turns.n_requests.fetch_add(1, Relaxed);
        Self(turns)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.n_requests.fetch_sub(1, Relaxed);
    }
}

async fn next(turn: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let turn = turn.acquire_owned().await.ok();
    // Which is when everybody has been served who has something ready, be it from the network.
    yield_now().await;
    turn
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_util::task::TaskTracker;

    use super::*;

    const CONNECTIONS: usize = 50;

    type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn one_at_a_time() -> Turns {
        Turns { turn: Some(Arc::new(Semaphore::new(1))), ..Turns::of_one() }
    }

    /// Who was served, in that order, where all connections of a client have something ready and somebody else asks
    /// one thing after the other, until all are done.
    async fn served<S: Future<Output = ()> + Send + 'static>(serve: fn(Arc<Turns>, Step) -> S) -> Vec<&'static str> {
        let turns = Arc::new(one_at_a_time());
        let served = Arc::new(Mutex::new(Vec::new()));
        let clients = TaskTracker::new();
        for _ in 0..CONNECTIONS {
            let (turns, served) = (Arc::clone(&turns), Arc::clone(&served));
            let step = Box::pin(async move { served.lock().expect("no panic").push("client") });
            clients.spawn(serve(turns, step));
        }
        clients.close();
        let (mut other, mut answers) = duplex(1);
        let asks = async { while other.write_all(b"?").await.is_ok() {} };
        let answered = async {
            while !clients.is_empty() {
                answers.read_exact(&mut [0]).await.expect("a question");
                served.lock().expect("no panic").push("other");
            }
        };
        tokio::select! {
            () = asks => {}
            () = answered => {}
        }
        served.lock().expect("no panic").clone()
    }

    #[tokio::test]
    async fn between_two_of_one_client_another_one_has_its_turn() {
        let of_connections = served(|turns, step| async move { turns.take(|_| true, step).await }).await;
        let of_streams = served(|turns, step| async move {
            turns.note_flood();
            turns.wait().await;
            step.await;
        });
        for served in [of_connections, of_streams.await] {
            assert_eq!(served.iter().filter(|who| **who == "client").count(), CONNECTIONS);
            // To ask and to be answered may be a turn each.
            assert!(served.windows(3).all(|three| three != ["client"; 3]), "{served:?}");
        }
    }

    #[tokio::test]
    async fn who_has_not_flooded_waits_for_nobody() {
        let served = served(|turns, step| async move { turns.take(Turns::has_flooded, step).await }).await;
        assert!(served.windows(CONNECTIONS).any(|all| all == ["client"; CONNECTIONS]), "{served:?}");
    }

    #[tokio::test]
    async fn who_has_many_requests_at_once_takes_turns_until_they_are_fewer() {
        let turns = Turns::of_one();
        let mut all: Vec<_> = (0..=MANY).map(|_| One::of(&turns)).collect();
        assert!(turns.are_due());
        all.pop();
        assert!(!turns.are_due());
    }

    #[tokio::test]
    async fn a_flood_is_remembered_for_a_while() {
        let mut turns = Turns::of_one();
        assert!(!turns.has_flooded());
        turns.note_flood();
        assert!(turns.has_flooded());
        turns.began -= REMEMBERED;
        assert!(!turns.has_flooded());
    }

    #[tokio::test]
    async fn who_ends_while_waiting_keeps_nobody_from_a_turn() {
        let turns = one_at_a_time();
        let endless = turns.take(|_| true, std::future::pending::<()>());
        let _ = tokio::time::timeout(Duration::from_millis(5), endless).await;
        turns.take(|_| true, async {}).await;
    }
}
