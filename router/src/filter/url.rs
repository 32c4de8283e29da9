//! What redirects and rewrites make of the URL of a request.

use std::sync::Arc;

use k8s::model::{Filter, PathRewrite, Redirect, Rewrite, Scheme};

/// A request as its redirect sees it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub is_https: bool,
    /// Without the port.
    pub host: &'a str,
    /// The port of the listener, as clients know it.
    pub port: u16,
    pub path: &'a str,
    /// Whether the path is as the client wrote it.
    pub is_path_untouched: bool,
    pub query: Option<&'a str>,
    /// How much of the path a prefix match took.
    pub prefix: Option<usize>,
}

/// What a backend is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// With the query. None is what the client has asked for, as it has written it.
    pub path: Option<String>,
    /// The Host, where a filter changes it.
    pub host: Option<Arc<str>>,
}

/// Status and Location of the first redirect among the filters.
pub fn redirect(filters: &[Filter], origin: &Origin<'_>) -> Option<(u16, String)> {
    filters.iter().find_map(|filter| match filter {
        Filter::Redirect(redirect) => Some((redirect.status, location(redirect, origin))),
        _ => None,
    })
}

/// The normalised path, or what the rewrites make of it. Where a backend's own rewrite and its rule's both
/// name a host, or a path, the backend's counts: it is the more particular one.
pub fn target(rule: &[Filter], backend: &[Filter], origin: &Origin<'_>) -> Target {
    let rewrites = || backend.iter().chain(rule).filter_map(rewrite);
    let path = rewrites().find_map(|rewrite| rewrite.path.as_ref());
    let host = rewrites().find_map(|rewrite| rewrite.hostname.clone());
    if path.is_none() && origin.is_path_untouched {
        return Target { path: None, host };
    }
    let mut path = rewritten(path, origin.path, origin.prefix);
    if let Some(query) = origin.query {
        path.push('?');
        path.push_str(query);
    }
    Target { path: Some(path), host }
}

fn rewrite(filter: &Filter) -> Option<&Rewrite> {
    match filter {
        Filter::Rewrite(rewrite) => Some(rewrite),
        _ => None,
    }
}

/// The Location of a redirect (Gateway API `HTTPRequestRedirectFilter`).
pub fn location(redirect: &Redirect, origin: &Origin<'_>) -> String {
    let is_https = redirect.scheme.map_or(origin.is_https, |scheme| scheme == Scheme::Https);
    let well_known = if is_https { 443 } else { 80 };
    // A named scheme without a port means that scheme's port; otherwise the listener's stays.
    let port = redirect.port.unwrap_or_else(|| if redirect.scheme.is_some() { well_known } else { origin.port });
    let scheme = if is_https { "https" } else { "http" };
    let host = redirect.hostname.as_deref().unwrap_or(origin.host);
    let path = rewritten(redirect.path.as_ref(), origin.path, origin.prefix);
    let mut location = format!("{scheme}://{host}");
    if port != well_known {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(&path);
    if let Some(query) = origin.query {
        location.push('?');
        location.push_str(query);
    }
    location
}

/// The path after a rewrite; never empty, and without a new double slash where the prefix was.
fn rewritten(rewrite: Option<&PathRewrite>, path: &str, prefix: Option<usize>) -> String {
    match rewrite {
        None => path.to_owned(),
        Some(PathRewrite::Full(full)) => or_root(full.to_string()),
        Some(PathRewrite::Prefix(new)) => {
            // A match of `/` has taken only the slash that begins the rest.
            let taken = prefix.filter(|taken| *taken > 1).unwrap_or(0);
            let rest = path.get(taken..).unwrap_or_default().trim_start_matches('/');
            let new = new.trim_end_matches('/');
            let is_bare = rest.is_empty() && !path.get(taken..).is_some_and(|rest| rest.starts_with('/') && taken > 0);
            if is_bare { or_root(new.to_owned()) } else { format!("{new}/{rest}") }
        }
    }
}

fn or_root(path: String) -> String {
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_path_elements() {
        for (new, path, prefix, expected) in [
            ("/new", "/old", Some(4), "/new"),
            ("/new", "/old/", Some(4), "/new/"),
            ("/new/", "/old/a", Some(4), "/new/a"),
            ("/", "/old/a", Some(4), "/a"),
            ("", "/old/a", Some(4), "/a"),
            ("/", "/old", Some(4), "/"),
            ("/new", "/", Some(1), "/new"),
            ("/new", "/a", Some(1), "/new/a"),
        ] {
            let rewrite = PathRewrite::Prefix(new.into());
            assert_eq!(rewritten(Some(&rewrite), path, prefix), expected, "{new} {path}");
        }
        assert_eq!(rewritten(Some(&PathRewrite::Full("".into())), "/a", None), "/");
    }

    #[test]
    fn a_backends_own_rewrite_counts_before_its_rules() {
        let rewrite = |hostname: Option<&str>, path: Option<PathRewrite>| {
            [Filter::Rewrite(Rewrite { hostname: hostname.map(Into::into), path })]
        };
        let origin = Origin {
            is_https: true,
            host: "a.example",
            port: 443,
            path: "/old/x",
            is_path_untouched: false,
            query: Some("q=1"),
            prefix: Some(4),
        };
        let rule = rewrite(Some("rule.local"), Some(PathRewrite::Full("/rule".into())));
        for (backend, path, host) in [
            (rewrite(None, None), "/rule?q=1", "rule.local"),
            (rewrite(None, Some(PathRewrite::Prefix("/new".into()))), "/new/x?q=1", "rule.local"),
            (rewrite(Some("own.local"), Some(PathRewrite::Full("/own".into()))), "/own?q=1", "own.local"),
        ] {
            let target = target(&rule, &backend, &origin);
            assert_eq!((target.path.as_deref(), target.host.as_deref()), (Some(path), Some(host)));
        }
        let untouched = Origin { is_path_untouched: true, ..origin };
        assert_eq!(target(&[], &[], &untouched), Target { path: None, host: None });
        assert_eq!(target(&[], &[], &origin).path.as_deref(), Some("/old/x?q=1"));
    }

    #[test]
    fn a_redirect_names_a_port_only_where_it_is_not_the_schemes_own() {
        let none = Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 };
        let https = Redirect { scheme: Some(Scheme::Https), ..none.clone() };
        let port = Redirect { port: Some(8443), ..https.clone() };
        let host = Redirect { hostname: Some("b.example".into()), ..none.clone() };
        for (redirect, listener, expected) in [
            (&none, 80, "http://a.example/x?q=1"),
            (&none, 8080, "http://a.example:8080/x?q=1"),
            (&https, 8080, "https://a.example/x?q=1"),
            (&port, 80, "https://a.example:8443/x?q=1"),
            (&host, 80, "http://b.example/x?q=1"),
        ] {
            let origin = Origin {
                is_https: false,
                host: "a.example",
                port: listener,
                path: "/x",
                is_path_untouched: false,
                query: Some("q=1"),
                prefix: None,
            };
            assert_eq!(location(redirect, &origin), expected);
        }
    }
}
