//! Where an HTTP/1 connection is, so that its deadline counts only while a request head is due.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const NO_HEAD: u8 = 2;

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

    /// A body, a response, a handshake, or HTTP/2, which has timers of its own.
    pub(crate) fn no_head(&self) {
        self.0.store(NO_HEAD, Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Relaxed) == IDLE
    }

    pub(crate) fn is_head(&self) -> bool {
        self.0.load(Relaxed) == HEAD
    }
}

pub(crate) async fn scope<F: Future>(phase: Arc<Phase>, serve: F) -> F::Output {
    PHASE.scope(phase, serve).await
}

/// To be called when a request head is parsed.
pub fn head_parsed() {
    // Outside of a connection's task (HTTP/2) there is no phase to change.
    let _ = PHASE.try_with(|phase| phase.no_head());
}

/// To be called when a request is done.
pub fn request_done() {
    let _ = PHASE.try_with(|phase| phase.idle());
}
