//! Backends: endpoints, and what is known about them across table swaps.

/// One backend's live state.
#[derive(Debug)]
pub struct BackendCell {}
