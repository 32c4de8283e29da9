//! Where an HTTP/1 connection is, so that each deadline counts only while its own thing is due.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const FREE: u8 = 2;
const ANSWER: u8 = 3;
const TUNNEL: u8 = 4;

/// Written by the connection's own task, and read by it.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

tokio::task_local! {
    static PHASE: Arc<Phase>;
}

impl Phase {
    /// Between requests: nothing is due, and the connection may be closed.
    pub(crate) fn idle(&self) {
        self.0.store(IDLE, Relaxed);
    }

    /// A request has begun.
    pub(crate) fn head(&self) {
        self.0.store(HEAD, Relaxed);
    }

    /// Nothing is due here: a handshake, a body, or HTTP/2, which has timers of its own.
    pub(crate) fn free(&self) {
        self.0.store(FREE, Relaxed);
    }

    /// A request is read to its end, and only its answer is under way: a client may close its sending side.
    pub(crate) fn answer(&self) {
        self.0.store(ANSWER, Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Relaxed) == IDLE
    }

    pub(crate) fn is_answer(&self) -> bool {
        self.0.load(Relaxed) == ANSWER
    }

    /// Whether the connection carries another protocol.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.0.load(Relaxed) == TUNNEL
    }
}

pub(crate) async fn scope<F: Future>(phase: Arc<Phase>, serve: F) -> F::Output {
    PHASE.scope(phase, serve).await
}

// Outside of a connection's task (HTTP/2) there is no phase to change.

/// To be called when the answer is that the protocol changes.
pub fn upgraded() {
    let _ = PHASE.try_with(|phase| phase.0.store(TUNNEL, Relaxed));
}

/// To be called when a request is done.
pub fn request_done() {
    let _ = PHASE.try_with(|phase| phase.idle());
}
