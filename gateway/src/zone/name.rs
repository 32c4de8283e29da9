//! Names in DNS wire form (RFC 1035 section 3.1), lower case: the form in which queries bring them.

use std::{borrow::Borrow, fmt};

use k8s::model::{HostName, HostPattern};

/// Bytes of the longest name, the root's zero included (RFC 1035 section 3.1).
pub const LONGEST: usize = 255;

/// Length-prefixed labels in lower case, with the root's zero at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireName(Box<[u8]>);

impl WireName {
    /// Labels of more than 63 bytes do not exist: neither hickory nor [`HostName`] yields them.
    pub fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::with_capacity(32);
        for label in labels {
            bytes.push(u8::try_from(label.len()).unwrap_or(63));
            bytes.extend(label.iter().take(63).map(u8::to_ascii_lowercase));
        }
        bytes.push(0);
        Self(bytes.into())
    }

    /// `text` is a domain with dots, as people write it.
    pub fn from_text(text: &str) -> Self {
        Self::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes))
    }

    /// `bytes` are a name in wire form and lower case.
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// `*.parent`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        *self.0 == [0]
    }

    /// Whether `name` (wire form, lower case) is this name or lies below it.
    pub fn is_at_or_above(&self, name: &[u8]) -> bool {
        let Some(own) = name.len().checked_sub(self.0.len()) else { return false };
        // What ends alike may still begin amid a label.
        name.ends_with(&self.0) && {
            let mut at = 0;
            while at < own {
                at += 1 + name.get(at).map_or(0, |length| usize::from(*length));
            }
            at == own
        }
    }
}

impl From<&HostName> for WireName {
    fn from(name: &HostName) -> Self {
        Self::from_labels(name.as_str().split('.').map(str::as_bytes))
    }
}

/// A wildcard pattern is the wildcard name, whatever the API it comes from means by the star: DNS has one meaning.
impl From<&HostPattern> for WireName {
    fn from(pattern: &HostPattern) -> Self {
        match pattern {
            HostPattern::Exact(name) => name.into(),
            HostPattern::Wildcard { parent, .. } => Self(wildcard_below(Self::from(parent).as_bytes()).into()),
        }
    }
}

/// So that a map of names can be asked with bytes of a query.
impl Borrow<[u8]> for WireName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// With dots, as people write it; without the root's dot.
impl fmt::Display for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for label in labels(&self.0) {
            if !first {
                f.write_str(".")?;
            }
            first = false;
            f.write_str(&String::from_utf8_lossy(label))?;
        }
        Ok(())
    }
}

impl fmt::Debug for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The labels of a name in wire form, without the root's.
pub fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first()?;
        let label = tail.get(..usize::from(*length)).filter(|label| !label.is_empty())?;
        rest = tail.get(label.len()..)?;
        Some(label)
    })
}

/// The names above this one, nearest first, the root last.
pub(super) fn ancestors(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length == 0 {
            return None;
        }
        rest = rest.get(length + 1..)?;
        Some(rest)
    })
}

/// `*.name`.
pub(super) fn wildcard_below(name: &[u8]) -> Vec<u8> {
    [b"\x01*", name].concat()
}
