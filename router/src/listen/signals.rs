//! What the connections of a socket are told from without.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

use tokio::sync::watch;

const OPEN: u8 = 0;
const CLOSE_IDLE: u8 = 1;
const CANCEL: u8 = 2;

/// That the router is about to end, told to all connections of the process while it still accepts others: what an
/// HTTP/1 connection is answered from now on is the last on it, so that none is left by the time they are closed.
#[derive(Clone, Debug, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    pub fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The teller.
#[derive(Debug)]
pub(super) struct Signals {
    said: Arc<AtomicU8>,
    changed: watch::Sender<()>,
}

/// Held by each connection, and asked at each read that finds nothing: an atomic load, and no lock that all
/// connections would share.
#[derive(Clone, Debug)]
pub(super) struct Told(Arc<AtomicU8>);

impl Default for Signals {
    fn default() -> Self {
        Self { said: Arc::new(AtomicU8::new(OPEN)), changed: watch::Sender::new(()) }
    }
}

impl Signals {
    /// HTTP/1 connections between two requests end.
    pub(super) fn close_idle(&self) {
        self.say(CLOSE_IDLE);
    }

    /// Everything ends.
    pub(super) fn cancel(&self) {
        self.say(CANCEL);
    }

    fn say(&self, word: u8) {
        self.said.store(word, Relaxed);
        self.changed.send_replace(());
    }

    pub(super) fn told(&self) -> Told {
        Told(Arc::clone(&self.said))
    }

    pub(super) async fn cancelled(&self) {
        let mut changed = self.subscribe();
        // It cannot fail: the sender is here.
        while !self.told().is_cancelled() && changed.changed().await.is_ok() {}
    }

    /// Wakes whoever has to ask again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Told {
    pub(super) fn idle_close(&self) -> bool {
        self.0.load(Relaxed) >= CLOSE_IDLE
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed) == CANCEL
    }
}
