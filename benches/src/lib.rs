//! What the benches measure: the inputs, the peer, and how two things are timed against each other.
//!
//! The criterion benches and `benches/run` share all of it, so that they speak of the same work.

pub mod names;
pub mod objects;
pub mod program;
pub mod random;
pub mod requests;
pub mod rounds;
pub mod routes;
pub mod usage;
