//! Which protocols a connection may change to.

use http::{HeaderMap, HeaderValue, Version, header};

/// The protocols that a request asks to change to (RFC 9110 section 7.8), where that is the backend's to grant. Whoever
/// asks for something else as well is served in plain HTTP.
pub fn to_tunnel(version: Version, fields: &HeaderMap) -> Option<HeaderValue> {
    let values = |name| fields.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let mut options = values(header::CONNECTION).flat_map(|value| value.split(','));
    let is_for_this_hop = options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let protocols: Vec<&str> = values(header::UPGRADE).collect();
    let is_asked = version == Version::HTTP_11 && is_for_this_hop && !protocols.is_empty();
    let is_granted = is_asked && protocols.iter().all(|value| is_tunnel(value));
    is_granted.then(|| HeaderValue::from_str(&protocols.join(", ")).ok()).flatten()
}

/// Whether `value`, of an Upgrade field, asks for a tunnel that is the backend's to grant: WebSocket, SPDY and
/// others. HTTP and TLS themselves are not: a request inside of them would pass by the routes.
pub fn is_tunnel(value: &str) -> bool {
    let mut protocols = value.split(',').map(|protocol| protocol.trim().split('/').next().unwrap_or_default());
    let is_ours = |name: &str| ["", "h2c", "h2", "http", "tls"].iter().any(|it| it.eq_ignore_ascii_case(name));
    !protocols.any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_asked_for_by_both_fields_in_http_1_1_and_by_nothing_that_is_http() {
        for (version, connection, upgrade, expected) in [
            (Version::HTTP_11, "Upgrade", &["websocket"][..], Some("websocket")),
            (Version::HTTP_11, "keep-alive, upgrade", &["SPDY/3.1"], Some("SPDY/3.1")),
            (Version::HTTP_11, "Upgrade", &["a", "b/1"], Some("a, b/1")),
            (Version::HTTP_11, "Upgrade", &["websocket", "h2c"], None),
            (Version::HTTP_11, "Upgrade", &["websocket, TLS/1.2"], None),
            (Version::HTTP_11, "Upgrade", &[], None),
            (Version::HTTP_11, "close", &["websocket"], None),
            (Version::HTTP_10, "Upgrade", &["websocket"], None),
            (Version::HTTP_2, "Upgrade", &["websocket"], None),
        ] {
            let mut fields = HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static(connection))]);
            for value in upgrade {
                fields.append(header::UPGRADE, HeaderValue::from_static(value));
            }
            let asked = to_tunnel(version, &fields);
            assert_eq!(asked.as_ref().and_then(|value| value.to_str().ok()), expected, "{connection} {upgrade:?}");
        }
    }
}
