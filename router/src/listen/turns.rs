//! Connections of one client wait for each other, and not everybody else for all of them.
//!
//! What is ready is served one connection after the other. Of a client that has something costly ready on hundreds of
//! them at the same moment (handshakes, or floods of HTTP/2 of which each is cut off only when it is read) everybody
//! else would wait for hundreds. Here it is one, and then whoever else has something ready.

use std::{
    future::{Future, poll_fn},
    num::NonZero,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::ready,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

/// How long a flood is held against all connections of a client.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The turns of one client.
#[derive(Debug)]
pub(crate) struct Turns {
    turn: Arc<Semaphore>,
    began: Instant,
    /// In milliseconds since then, until when a flood is remembered. 0 where there was none.
    flooded: AtomicU64,
}

type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

impl Turns {
    /// A client has at most half of the machine at a moment.
    pub(super) fn new() -> Self {
        static AT_ONCE: OnceLock<usize> = OnceLock::new();
        let at_once = AT_ONCE.get_or_init(|| available_parallelism().map_or(1, NonZero::get).div_ceil(2));
        Self { turn: Arc::new(Semaphore::new(*at_once)), began: Instant::now(), flooded: AtomicU64::new(0) }
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
        until > 0 && self.now() < until
    }

    /// Does as `future`, and where a turn `is_due` takes one for each of its steps.
    pub(super) async fn take<F: Future>(&self, is_due: impl Fn(&Self) -> bool, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut waits: Option<Turn> = None;
        poll_fn(|context| {
            let mut turn = None;
            if waits.is_some() || is_due(self) {
                let next = || -> Turn { Box::pin(next(Arc::clone(&self.turn))) };
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

    /// Who was served, in that order, where all connections of a client have something ready and somebody else asks
    /// one thing after the other, until all are done.
    async fn served(is_due: fn(&Turns) -> bool) -> Vec<&'static str> {
        let turns = Arc::new(Turns { turn: Arc::new(Semaphore::new(1)), ..Turns::new() });
        let served = Arc::new(Mutex::new(Vec::new()));
        let clients = TaskTracker::new();
        for _ in 0..CONNECTIONS {
            let (turns, served) = (Arc::clone(&turns), Arc::clone(&served));
            let step = async move { served.lock().expect("no panic").push("client") };
            clients.spawn(async move { turns.take(is_due, step).await });
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
        let served = served(|_| true).await;
        assert_eq!(served.iter().filter(|who| **who == "client").count(), CONNECTIONS);
        // To ask and to be answered may be a turn each.
        assert!(served.windows(3).all(|three| three != ["client"; 3]), "{served:?}");
    }

    #[tokio::test]
    async fn who_has_not_flooded_waits_for_nobody() {
        let served = served(Turns::has_flooded).await;
        assert!(served.windows(CONNECTIONS).any(|all| all == ["client"; CONNECTIONS]), "{served:?}");
    }

    #[tokio::test]
    async fn a_flood_is_remembered_for_a_while() {
        let mut turns = Turns::new();
        assert!(!turns.has_flooded());
        turns.note_flood();
        assert!(turns.has_flooded());
        turns.began -= REMEMBERED;
        assert!(!turns.has_flooded());
    }

    #[tokio::test]
    async fn who_ends_while_waiting_keeps_nobody_from_a_turn() {
        let turns = Turns { turn: Arc::new(Semaphore::new(1)), ..Turns::new() };
        let endless = turns.take(|_| true, std::future::pending::<()>());
        let _ = tokio::time::timeout(Duration::from_millis(5), endless).await;
        turns.take(|_| true, async {}).await;
    }
}
