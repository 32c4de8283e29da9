//! Host names and host patterns, parsed once at the edge so that `==` is right everywhere.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A DNS host name: lower case, no trailing dot, no port, not an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostName(Box<str>);

/// Why a text is no host name or pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error, Serialize)]
pub enum InvalidHost {
    #[error("is an IP address")]
    Address,
    #[error("is empty")]
    Empty,
    #[error("has an empty label")]
    EmptyLabel,
    #[error("has the character {0:?}, which no host name may have")]
    Character(char),
    #[error("has a label that begins or ends with a hyphen")]
    Hyphen,
    #[error("has a label of more than 63 characters")]
    LongLabel,
    #[error("has more than 253 characters")]
    TooLong,
    #[error("has a `*` that is not the whole first label")]
    Star,
}

/// What a listener or route serves: a name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum HostPattern {
    Exact(HostName),
    /// `*.parent`. It never covers the parent itself.
    Wildcard {
        parent: HostName,
        labels: Labels,
    },
}

/// How many labels the `*` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Labels {
    /// Ingress, and certificates (RFC 6125 section 6.4.3).
    One,
    /// Gateway API.
    OneOrMore,
}

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first label; None for a single label.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, parent)| Self(parent.into()))
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self == ancestor || is_below(&self.0, &ancestor.0)
    }
}

impl FromStr for HostName {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if text.len() > 253 {
            return Err(InvalidHost::TooLong);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(InvalidHost::Address);
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

/// Underscores are allowed: they are common in homelab names, and DNS and HTTP carry them.
fn check_label(label: &str) -> Result<(), InvalidHost> {
    if label.is_empty() {
        return Err(InvalidHost::EmptyLabel);
    }
    if label.contains('*') {
        return Err(InvalidHost::Star);
    }
    if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_') {
        return Err(InvalidHost::Character(odd));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(InvalidHost::Hyphen);
    }
    if label.len() > 63 {
        return Err(InvalidHost::LongLabel);
    }
    Ok(())
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HostPattern {
    /// Reads `name` or `*.name`; `labels` says what a `*` stands for in the API the text comes from.
    pub fn parse(text: &str, labels: Labels) -> Result<Self, InvalidHost> {
        match text.strip_prefix("*.") {
            Some(parent) => Ok(Self::Wildcard { parent: parent.parse()?, labels }),
            None => Ok(Self::Exact(text.parse()?)),
        }
    }

    /// `host` must be in the form of a [`HostName`].
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => &*name.0 == host,
            Self::Wildcard { parent, labels: Labels::OneOrMore } => is_below(host, &parent.0),
            Self::Wildcard { parent, labels: Labels::One } => {
                is_below(host, &parent.0) && host.find('.') == Some(host.len() - parent.0.len() - 1)
            }
        }
    }

    /// Whether everything it covers is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &HostName) -> bool {
        let (Self::Exact(name) | Self::Wildcard { parent: name, .. }) = self;
        name.is_within(ancestor)
    }

    /// The greater one is asked first: exact before wildcard, then the longer name.
    pub fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(name) => (true, name.0.len()),
            Self::Wildcard { parent, .. } => (false, parent.0.len()),
        }
    }

    /// The hosts both patterns cover, as a pattern; None where there are none.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => {
                pattern.covers(&name.0).then(|| Self::Exact(name.clone()))
            }
            (Self::Wildcard { parent: a, labels: m }, Self::Wildcard { parent: b, labels: n }) => {
                let (outer, outer_labels, inner, inner_labels) =
                    if a.0.len() <= b.0.len() { (a, *m, b, *n) } else { (b, *n, a, *m) };
                let labels = if inner == outer { inner_labels.min(outer_labels) } else { inner_labels };
                let meet = inner == outer || (inner.is_within(outer) && outer_labels == Labels::OneOrMore);
                meet.then(|| Self::Wildcard { parent: inner.clone(), labels })
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard { parent, .. } => write!(f, "*.{parent}"),
        }
    }
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> HostPattern {
        HostPattern::parse(text, Labels::OneOrMore).expect("a pattern")
    }

    fn one(text: &str) -> HostPattern {
        HostPattern::parse(text, Labels::One).expect("a pattern")
    }

    #[test]
    fn names_are_folded_to_lower_case_and_lose_the_root_dot() {
        assert_eq!("Grafana.Home.Example.".parse::<HostName>().expect("a name").as_str(), "grafana.home.example");
    }

    #[test]
    fn what_is_no_host_name_says_why() {
        for (text, why) in [
            ("", InvalidHost::Empty),
            ("192.168.8.21", InvalidHost::Address),
            ("a..b", InvalidHost::EmptyLabel),
            ("a.*.b", InvalidHost::Star),
            ("-a.b", InvalidHost::Hyphen),
            ("a b", InvalidHost::Character(' ')),
            ("${HOST}", InvalidHost::Character('$')),
        ] {
            assert_eq!(text.parse::<HostName>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_star_spans_one_label_in_ingress_and_more_in_gateway_api() {
        for (pattern, host, covered) in [
            (one("*.home.example"), "a.home.example", true),
            (one("*.home.example"), "a.b.home.example", false),
            (one("*.home.example"), "home.example", false),
            (any("*.home.example"), "a.b.home.example", true),
            (any("*.home.example"), "home.example", false),
            (any("*.home.example"), "ahome.example", false),
            (any("a.home.example"), "a.home.example", true),
        ] {
            assert_eq!(pattern.covers(host), covered, "{pattern:?} {host}");
        }
    }

    #[test]
    fn patterns_intersect_in_the_more_specific_one() {
        for (a, b, both) in [
            (any("*.example"), any("*.home.example"), Some(any("*.home.example"))),
            (any("*.example"), any("a.home.example"), Some(any("a.home.example"))),
            (any("*.home.example"), any("*.lab.example"), None),
            (one("*.example"), any("*.home.example"), None),
            (one("*.example"), any("*.example"), Some(one("*.example"))),
            (any("a.example"), any("b.example"), None),
        ] {
            assert_eq!(a.intersect(&b), both, "{a} {b}");
            assert_eq!(b.intersect(&a), both, "{b} {a}");
        }
    }
}
