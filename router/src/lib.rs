//! The edge router: terminates TLS, finds the route, asks the backend.
//!
//! A request's way: `listen` accepts → `tls` (SNI) → `framing` checks → one load of the
//! [`dataplane`] → `table::RouteTable::find` → `filter` → `upstream` picks an endpoint → `proxy`
//! streams both ways → `access_log` and `metrics`.

pub mod dataplane;
pub mod filter;
pub mod framing;
pub mod table;
pub mod tls;
pub mod upstream;
