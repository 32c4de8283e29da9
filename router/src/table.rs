//! Host, path and predicates to a rule, in Gateway API precedence. Pure; allocates nothing in `find`.

/// Compiled routes of one socket.
#[derive(Debug)]
pub struct RouteTable<T> {
    rules: Vec<T>,
}
