//! pingora's app with requests that may panic.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};

use crate::unwind::catch;

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
