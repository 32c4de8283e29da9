//! Panics in code that is not ours end one request or one check, and nothing around it.
//!
//! pingora has some: it expects of a backend's certificate, where nobody asked for it to be verified, that it can be
//! read. There is no place for a check before that.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    thread,
};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
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

/// An app whose requests may panic. The client finds its connection closed, or its stream reset.
#[derive(Debug)]
pub struct Caught<A>(Arc<A>);

impl<A> Caught<A> {
    pub fn new(app: A) -> Self {
        Self(Arc::new(app))
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Caught<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // The hook has said on standard error where it was, and the request's context what it was about.
        catch(self.0.process_new_http(session, shutdown)).await.unwrap_or_default()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }

    async fn http_cleanup(&self) {
        self.0.http_cleanup().await;
    }
}
