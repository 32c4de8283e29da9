//! `router` as a process: curl and a WebSocket client in front, small backends behind.

#[path = "router/changes.rs"]
mod changes;
#[path = "router/protocols.rs"]
mod protocols;
#[path = "router/routing.rs"]
mod routing;
#[path = "router/trust.rs"]
mod trust;

use std::net::SocketAddr;

use tests::{Home, backend};
use tokio::runtime::Runtime;

/// Backends of one test; they live as long as this.
struct Backends(Runtime);

impl Backends {
    fn new() -> Self {
        Self(Runtime::new().expect("a runtime"))
    }

    /// Answers with `name`, on a free port of the home's address `.10`.
    fn start(&self, home: &Home, name: &str) -> SocketAddr {
        self.0.block_on(backend::serve(home.socket(10, 0), name)).expect("a free port")
    }
}

/// Which backend answered, and with what it was asked; from the body of an answer.
fn field(body: &str, name: &str) -> String {
    let start = body.find('{').unwrap_or(body.len());
    let value: serde_json::Value = serde_json::from_str(&body[start..]).unwrap_or_default();
    match value.pointer(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
