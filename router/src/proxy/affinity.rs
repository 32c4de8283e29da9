//! Requests that belong together: which endpoint they bring with them, and the cookie that tells them.

use std::{fmt::Write, net::IpAddr, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use k8s::model::{Affinity, AffinityCookie, SameSite};
use pingora_core::{ErrorType, OrErr, Result};

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
        Some(Affinity::Cookie(cookie)) => by_token(action, cookies(headers, &cookie.name), random),
        Some(Affinity::Session(header)) => {
            by_token(action, headers.get_all(&*header.name).iter().map(HeaderValue::as_bytes), random)
        }
        Some(Affinity::Header(_)) | None => (action.backend(random), Wish::Any),
    }
}

/// The first of the values that names an endpoint there is.
fn by_token<'a, 'v>(
    action: &'a Action,
    values: impl Iterator<Item = &'v [u8]>,
    random: u64,
) -> (Option<(usize, &'a WeightedCell)>, Wish) {
    let now = seconds();
    let tokens = values.filter_map(|value| token(value, now));
    let mut known = tokens.filter_map(|token| Some((action.backend_of(token)?, token)));
    match known.next() {
        Some((backend, token)) => (Some(backend), Wish::Endpoint(token)),
        None => (action.backend(random), Wish::Any),
    }
}

/// There may be several under one name: rules for other paths have theirs. Other cookies may be of any bytes.
fn cookies<'v>(headers: &'v HeaderMap, name: &str) -> impl Iterator<Item = &'v [u8]> {
    let fields = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = fields.flat_map(|field| field.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    cookies.filter_map(move |cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// What names an endpoint, and perhaps until when. Whoever makes one up chooses an endpoint, and nothing else.
fn token(value: &[u8], now: u64) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let (token, until) = text.split_once('.').map_or((text, None), |(token, until)| (token, Some(until)));
    let until = until.map_or(Some(u64::MAX), |until| u64::from_str_radix(until, 16).ok())?;
    u64::from_str_radix(token, 16).ok().filter(|_| now < until)
}

/// In hexadecimal digits, as [`token`] reads it.
fn value(token: u64, lifetime: Option<u64>, now: u64) -> String {
    match lifetime {
        Some(seconds) => format!("{token:016x}.{:x}", now.saturating_add(seconds)),
        None => format!("{token:016x}"),
    }
}

/// Names the endpoint that answers, where the client does not name it already.
pub(super) fn to_client(headers: &mut HeaderMap, context: &Context) -> Result<()> {
    let (Some(routed), Some(client)) = (&context.routed, &context.client) else { return Ok(()) };
    let (Some(affinity), Some(forward)) = (&routed.action.affinity, &routed.forward) else { return Ok(()) };
    let token = forward.picked.token();
    if forward.wish == Wish::Endpoint(token) {
        return Ok(());
    }
    let (name, value) = match affinity {
        Affinity::Cookie(cookie) => {
            let value = value(token, cookie.lifetime, seconds());
            (header::SET_COOKIE, set_cookie(cookie, &value, client.is_https))
        }
        Affinity::Session(header) => {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.or_err(ErrorType::InternalError, "what names a session is no header")?;
            (name, value(token, header.lifetime, seconds()))
        }
        Affinity::Address | Affinity::Header(_) => return Ok(()),
    };
    let value = value.try_into().or_err(ErrorType::InternalError, "a session has a name that is no header value")?;
    if name == header::SET_COOKIE {
        headers.append(name, value);
    } else {
        headers.insert(name, value);
    }
    Ok(())
}

/// Since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As RFC 6265 section 4.1 has it. Browsers take `SameSite=None` only with `Secure`.
fn set_cookie(cookie: &AffinityCookie, value: &str, is_https: bool) -> String {
    let AffinityCookie { name, path, max_age, same_site, lifetime: _ } = cookie;
    let mut text = format!("{name}={value}; Path={path}; HttpOnly");
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
        let tokens = cookies(&headers, "route").filter_map(|value| token(value, 0));
        assert_eq!(tokens.collect::<Vec<_>>(), [0xff, 7, 8]);
    }

    #[test]
    fn what_names_an_endpoint_may_end() {
        let at = |now, lifetime| token(value(0xabc, lifetime, 1_000).as_bytes(), now);
        assert_eq!(
            [at(1_059, Some(60)), at(1_060, Some(60)), at(u64::MAX - 1, None)],
            [Some(0xabc), None, Some(0xabc)]
        );
        for wrong in ["", ".", "1.", "x.1", "1.x", "1.2.3", "\u{1f600}"] {
            assert_eq!(token(wrong.as_bytes(), 0), None, "{wrong}");
        }
    }

    #[test]
    fn the_cookie_says_what_was_asked_for() {
        let plain =
            AffinityCookie { name: "r".into(), path: "/app".into(), max_age: None, same_site: None, lifetime: None };
        assert_eq!(set_cookie(&plain, "ff", false), "r=ff; Path=/app; HttpOnly");
        let full = AffinityCookie { max_age: Some(60), same_site: Some(SameSite::Lax), ..plain.clone() };
        assert!(set_cookie(&full, "0", true).ends_with("; HttpOnly; Max-Age=60; SameSite=Lax; Secure"));
        let none = AffinityCookie { same_site: Some(SameSite::None), ..plain };
        assert!(set_cookie(&none, "0", false).ends_with("; SameSite=None; Secure"));
    }
}
