//! Requests that belong together: which endpoint they bring with them, and the cookie that tells them.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderValue, header};
use k8s::model::{Affinity, AffinityCookie, SameSite};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use super::context::Context;
use crate::{
    dataplane::{Action, WeightedCell},
    upstream::{Wish, balance},
};

/// The backend (with its place, by weight where nothing else says) and what endpoint of it. `random` spreads
/// over requests.
pub(super) fn place<'a>(
    action: &'a Action,
    headers: &HeaderMap,
    client: IpAddr,
    random: u64,
) -> (Option<(usize, &'a WeightedCell)>, Wish) {
    let by_hash = |hash| (action.backend(hash), Wish::Hash(hash));
    match &action.affinity {
        Some(Affinity::Address) => by_hash(match client {
            IpAddr::V4(v4) => balance::hash(&v4.octets()),
            IpAddr::V6(v6) => balance::hash(&v6.octets()),
        }),
        Some(Affinity::Header(name)) if headers.contains_key(&**name) => {
            by_hash(headers.get(&**name).map_or(0, |value| balance::hash(value.as_bytes())))
        }
        Some(Affinity::Cookie(cookie)) => {
            let mut known = tokens(headers, &cookie.name).filter_map(|token| Some((action.backend_of(token)?, token)));
            match known.next() {
                Some((backend, token)) => (Some(backend), Wish::Endpoint(token)),
                None => (action.backend(random), Wish::Any),
            }
        }
        Some(Affinity::Header(_)) | None => (action.backend(random), Wish::Any),
    }
}

/// There may be several under one name: rules for other paths have theirs. Other cookies may be of any bytes.
fn tokens(headers: &HeaderMap, name: &str) -> impl Iterator<Item = u64> {
    let fields = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = fields.flat_map(|field| field.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let values = cookies.filter_map(move |cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.filter_map(|value| u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok())
}

/// Names the endpoint that answers, where the client does not name it already.
pub(super) fn to_client(response: &mut ResponseHeader, context: &Context) -> Result<()> {
    let (Some(routed), Some(client)) = (&context.routed, &context.client) else { return Ok(()) };
    let (Some(Affinity::Cookie(cookie)), Some(forward)) = (&routed.action.affinity, &routed.forward) else {
        return Ok(());
    };
    let token = forward.picked.token();
    if forward.wish != Wish::Endpoint(token) {
        response.append_header(header::SET_COOKIE, set_cookie(cookie, token, client.is_https))?;
    }
    Ok(())
}

/// As RFC 6265 section 4.1 has it. Browsers take `SameSite=None` only with `Secure`.
fn set_cookie(cookie: &AffinityCookie, token: u64, is_https: bool) -> String {
    let AffinityCookie { name, path, max_age, same_site } = cookie;
    let mut text = format!("{name}={token:016x}; Path={path}; HttpOnly");
    if let Some(seconds) = max_age {
        // A String takes everything.
        let _ = write!(text, "; Max-Age={seconds}");
    }
    if let Some(same_site) = same_site {
        let _ = write!(text, "; SameSite={}", same_site.as_str());
    }
    if is_https || *same_site == Some(SameSite::None) {
        text.push_str("; Secure");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        for field in ["a=1; route=00ff", "xroute=2;route=x; route =3; route=1ffffffffffffffff;route=7"] {
            headers.append(header::COOKIE, HeaderValue::from_static(field));
        }
        let field = HeaderValue::from_bytes("name=Zoë; route=8; route=Zoë".as_bytes());
        headers.append(header::COOKIE, field.expect("any bytes beyond ASCII"));
        assert_eq!(tokens(&headers, "route").collect::<Vec<_>>(), [0xff, 7, 8]);
    }

    #[test]
    fn the_cookie_says_what_was_asked_for() {
        let plain = AffinityCookie { name: "r".into(), path: "/app".into(), max_age: None, same_site: None };
        assert_eq!(set_cookie(&plain, 255, false), "r=00000000000000ff; Path=/app; HttpOnly");
        let full = AffinityCookie { max_age: Some(60), same_site: Some(SameSite::Lax), ..plain.clone() };
        assert!(set_cookie(&full, 0, true).ends_with("; HttpOnly; Max-Age=60; SameSite=Lax; Secure"));
        let none = AffinityCookie { same_site: Some(SameSite::None), ..plain };
        assert!(set_cookie(&none, 0, false).ends_with("; SameSite=None; Secure"));
    }
}
