//! Where an HTTP/1 connection is, so that each deadline counts only while its own thing is due.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use super::signals::Leaving;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const FREE: u8 = 2;
const ANSWER: u8 = 3;
const TUNNEL: u8 = 4;

/// Written by the connection's own task, and read by it.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    at: AtomicU8,
    leaving: Leaving,
}

tokio::task_local! {
    static PHASE: Arc<Phase>;
}

impl Phase {
    pub(super) fn new(leaving: Leaving) -> Self {
        Self { at: AtomicU8::new(IDLE), leaving }
    }

    /// Between requests: nothing is due, and the connection may be closed.
    pub(crate) fn idle(&self) {
        self.at.store(IDLE, Relaxed);
    }

    /// A request has begun.
    pub(crate) fn head(&self) {
        self.at.store(HEAD, Relaxed);
    }

    /// Nothing is due here: a handshake, a body, or HTTP/2, which has timers of its own.
    pub(crate) fn free(&self) {
        self.at.store(FREE, Relaxed);
    }

    /// A request is read to its end, and only its answer is under way: a client may close its sending side.
    pub(crate) fn answer(&self) {
        self.at.store(ANSWER, Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.at.load(Relaxed) == IDLE
    }

    pub(crate) fn is_answer(&self) -> bool {
        self.at.load(Relaxed) == ANSWER
    }

    /// Whether the connection carries another protocol.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.at.load(Relaxed) == TUNNEL
    }
}

pub(crate) async fn scope<F: Future>(phase: Arc<Phase>, serve: F) -> F::Output {
    PHASE.scope(phase, serve).await
}

// Outside of a connection's task (HTTP/2) there is no phase to change.

/// To be called when the answer is that the protocol changes.
pub fn upgraded() {
    let _ = PHASE.try_with(|phase| phase.at.store(TUNNEL, Relaxed));
}

/// Whether the answer that is about to begin is the last one of its connection, because the router leaves.
pub fn is_last_answer() -> bool {
    PHASE.try_with(|phase| phase.leaving.is_set()).unwrap_or(false)
}

/// To be called when a request is done.
pub fn request_done() {
    let _ = PHASE.try_with(|phase| phase.idle());
}
