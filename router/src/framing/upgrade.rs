//! Which protocols a connection may change to.

/// Whether `value`, of an Upgrade field, asks for a tunnel that is the backend's to grant: WebSocket, SPDY and
/// others. HTTP and TLS themselves are not: a request inside of them would pass by the routes.
pub fn is_tunnel(value: &str) -> bool {
    let mut protocols = value.split(',').map(|protocol| protocol.trim().split('/').next().unwrap_or_default());
    let is_ours = |name: &str| ["", "h2c", "h2", "http", "tls"].iter().any(|it| it.eq_ignore_ascii_case(name));
    !protocols.any(is_ours)
}
