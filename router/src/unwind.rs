//! Panics in code that is not ours end one request or one check, and nothing around it.
//!
//! pingora has some: it expects of a backend's certificate, where nobody asked for it to be verified, that it can be
//! read. There is no place for a check before that.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    thread,
};

/// What `future` has come to. It is not polled again after a panic, so nothing sees what that has left half done.
///
/// # Errors
/// What it panicked with.
pub async fn catch<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
