//! By the name that a client asks for (SNI): which listener of a socket, and which route of that. Pure.

use std::{cmp::Reverse, sync::Arc};

use k8s::model::{HostPattern, Listener, Route};

/// The TLS listeners of one socket, the most specific hostname first: the first that covers a name is its listener.
#[derive(Debug)]
pub struct ServerNames<M, R> {
    listeners: Vec<OfListener<M, R>>,
}

/// A listener of the socket. `M` is what it does with a connection, `R` where its routes lead.
#[derive(Debug)]
pub struct OfListener<M, R> {
    pub name: Arc<str>,
    pub mode: M,
    hostname: Option<HostPattern>,
    /// The most specific hostname first, and of the same one the oldest route, as the first that covers a name has it.
    routes: Vec<(Option<HostPattern>, R)>,
}

impl<M, R: Clone> ServerNames<M, R> {
    /// `make` is called once for each route of each listener.
    pub fn compile(listeners: Vec<(&Listener, M)>, mut make: impl FnMut(&Arc<Route>) -> R) -> Self {
        let mut listeners: Vec<_> = listeners
            .into_iter()
            .map(|(listener, mode)| OfListener {
                name: Arc::clone(&listener.name),
                mode,
                hostname: listener.hostname.clone(),
                routes: routes(listener, &mut make),
            })
            .collect();
        listeners.sort_by_key(|it| Reverse(specificity(it.hostname.as_ref())));
        Self { listeners }
    }
}

impl<M, R> ServerNames<M, R> {
    /// A client that asks for no name gets only a listener that serves every one.
    pub fn listener(&self, server_name: Option<&str>) -> Option<&OfListener<M, R>> {
        self.listeners.iter().find(|it| covers(it.hostname.as_ref(), server_name))
    }

    pub fn listeners(&self) -> &[OfListener<M, R>] {
        &self.listeners
    }
}

impl<M, R> OfListener<M, R> {
    pub fn route(&self, server_name: Option<&str>) -> Option<&R> {
        self.routes.iter().find(|(hostname, _)| covers(hostname.as_ref(), server_name)).map(|(_, route)| route)
    }
}

fn routes<R: Clone>(listener: &Listener, make: &mut impl FnMut(&Arc<Route>) -> R) -> Vec<(Option<HostPattern>, R)> {
    let mut attachments: Vec<_> = listener.routes.iter().collect();
    attachments.sort_by_key(|it| {
        let source = &it.route.source;
        (it.route.created, Arc::clone(&source.namespace), Arc::clone(&source.name))
    });
    let mut routes = Vec::new();
    for attachment in attachments {
        let route = make(&attachment.route);
        let own = attachment.hostnames.iter().cloned().map(Some);
        let none = attachment.hostnames.is_empty().then_some(None);
        routes.extend(own.chain(none).map(|hostname| (hostname, route.clone())));
    }
    // It keeps the order of what is equal.
    routes.sort_by_key(|(hostname, _)| Reverse(specificity(hostname.as_ref())));
    routes
}

fn specificity(hostname: Option<&HostPattern>) -> Option<(bool, usize)> {
    hostname.map(HostPattern::specificity)
}

fn covers(hostname: Option<&HostPattern>, server_name: Option<&str>) -> bool {
    match (hostname, server_name) {
        (None, _) => true,
        (Some(hostname), Some(name)) => hostname.covers(name),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s::model::{Attachment, Labels, ListenerProtocol, ObjectName};

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text, Labels::OneOrMore).expect("a pattern")
    }

    fn listener(name: &str, hostname: Option<&str>, routes: &[(&str, i64, &[&str])]) -> Listener {
        let attachment = |(name, created, hostnames): &(&str, i64, &[&str])| Attachment {
            hostnames: hostnames.iter().map(|text| pattern(text)).collect(),
            route: Arc::new(Route {
                source: ObjectName::new("TLSRoute", "default", name),
                created: *created,
                rules: Vec::new(),
                falls_through: true,
            }),
        };
        Listener {
            name: name.into(),
            port: 443,
            sockets: Vec::new(),
            protocol: ListenerProtocol::TlsPassthrough,
            hostname: hostname.map(pattern),
            certificates: Vec::new(),
            default_certificate: None,
            client_validation: None,
            authorizers: Ok(Vec::new()),
            routes: routes.iter().map(attachment).collect(),
        }
    }

    fn found(listeners: &[Listener], server_name: Option<&str>) -> Option<(String, Option<String>)> {
        let listeners = listeners.iter().map(|it| (it, ())).collect();
        let names = ServerNames::compile(listeners, |route| route.source.name.to_string());
        let listener = names.listener(server_name)?;
        Some((listener.name.to_string(), listener.route(server_name).cloned()))
    }

    #[test]
    fn the_most_specific_hostname_chooses_the_listener_and_nobody_else_is_asked() {
        let listeners = [
            listener("any", None, &[("everything", 1, &[])]),
            listener("wide", Some("*.example"), &[("wide", 1, &[])]),
            listener("narrow", Some("*.home.example"), &[]),
            listener("exact", Some("a.home.example"), &[("a", 1, &[])]),
        ];
        for (server_name, expected) in [
            (Some("a.home.example"), ("exact", Some("a"))),
            (Some("b.home.example"), ("narrow", None)),
            (Some("home.example"), ("wide", Some("wide"))),
            (Some("other"), ("any", Some("everything"))),
            (None, ("any", Some("everything"))),
        ] {
            let (listener, route) = found(&listeners, server_name).expect("a listener");
            assert_eq!((&*listener, route.as_deref()), expected, "{server_name:?}");
        }
        assert_eq!(found(&listeners[1..], None), None);
        assert_eq!(found(&listeners[1..], Some("other")), None);
    }

    #[test]
    fn routes_rank_by_their_own_hostnames_then_by_age_then_by_name() {
        let routes: &[(&str, i64, &[&str])] = &[
            ("none", 1, &[]),
            ("wide", 2, &["*.example"]),
            ("b", 4, &["a.home.example", "*.home.example"]),
            ("a", 4, &["a.home.example", "b.home.example"]),
            ("old", 3, &["a.home.example"]),
        ];
        for (server_name, expected) in [
            ("a.home.example", "old"),
            ("b.home.example", "a"),
            ("c.home.example", "b"),
            ("c.example", "wide"),
            ("other", "none"),
        ] {
            let (_, route) = found(&[listener("any", None, routes)], Some(server_name)).expect("a listener");
            assert_eq!(route.as_deref(), Some(expected), "{server_name}");
        }
    }
}
