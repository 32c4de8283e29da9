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
const ANSWER: u8 = 2;
const FREE: u8 = 3;

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

    pub(crate) fn head(&self) {
        self.0.store(HEAD, Relaxed);
    }

    /// Nothing is due here: a handshake, a body, an upgraded connection, or HTTP/2, which has timers of its own.
    pub(crate) fn free(&self) {
        self.0.store(FREE, Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Relaxed) == IDLE
    }

    pub(crate) fn is_head(&self) -> bool {
        self.0.load(Relaxed) == HEAD
    }

    /// Whether a request is read to its end, and only its answer is under way.
    pub(crate) fn is_answer(&self) -> bool {
        self.0.load(Relaxed) == ANSWER
    }
}

pub(crate) async fn scope<F: Future>(phase: Arc<Phase>, serve: F) -> F::Output {
    PHASE.scope(phase, serve).await
}

// Outside of a connection's task (HTTP/2) there is no phase to change.

/// To be called when a request head is parsed.
pub fn head_parsed() {
    let _ = PHASE.try_with(|phase| phase.free());
}

/// To be called when the whole request is read: from then on a client may close its sending side.
pub fn request_read() {
    let _ = PHASE.try_with(|phase| phase.0.store(ANSWER, Relaxed));
}

/// To be called when a request is done.
pub fn request_done() {
    let _ = PHASE.try_with(|phase| phase.idle());
}
