//! What a match asks for besides a literal path: method, headers, query, expressions.

use k8s::model::{Match, NamedMatch, PathMatch, REGEX_BYTES, ValueMatch};
use regex::{Regex, RegexBuilder};

use super::{Headers, Request};

#[derive(Debug)]
pub(super) struct Predicates {
    method: Option<Box<str>>,
    path: Option<Regex>,
    call: Option<Call>,
    headers: Vec<(Box<str>, Value)>,
    query: Vec<(Box<str>, Value)>,
}

#[derive(Debug)]
struct Call {
    service: Option<Value>,
    method: Option<Value>,
}

#[derive(Debug)]
enum Value {
    Exact(Box<str>),
    Regex(Regex),
}

impl Predicates {
    /// None where the path alone decides. `Err` where an expression does not compile, which the
    /// translation has ruled out: then the match is left out rather than taken to hold.
    pub(super) fn of(it: &Match) -> Result<Option<Self>, regex::Error> {
        let path = match &it.path {
            PathMatch::Regex(text) => Some(expression(&PathMatch::anchored(text))?),
            PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::Call { .. } => None,
        };
        let call = match &it.path {
            PathMatch::Call { service, method } => Some(Call {
                service: service.as_ref().map(Value::of).transpose()?,
                method: method.as_ref().map(Value::of).transpose()?,
            }),
            _ => None,
        };
        if path.is_none() && call.is_none() && it.method.is_none() && it.headers.is_empty() && it.query.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            method: it.method.as_deref().map(Into::into),
            path,
            call,
            headers: it.headers.iter().map(named).collect::<Result<_, _>>()?,
            query: it.query.iter().map(named).collect::<Result<_, _>>()?,
        }))
    }

    pub(super) fn hold<H: Headers + ?Sized>(&self, request: &Request<'_, H>) -> bool {
        self.method.as_deref().is_none_or(|method| method == request.method)
            && self.path.as_ref().is_none_or(|path| path.is_match(request.path))
            && self.call.as_ref().is_none_or(|call| call.holds(request.path))
            && self
                .headers
                .iter()
                .all(|(name, wanted)| request.headers.value(name).is_some_and(|value| wanted.holds(value)))
            && self.query.iter().all(|(name, wanted)| {
                parameter(request.query.unwrap_or_default(), name).is_some_and(|value| match wanted {
                    Value::Exact(text) => decodes_to(value, text),
                    Value::Regex(expression) => expression.is_match(value),
                })
            })
    }
}

impl Call {
    /// A path of any other form is no call.
    fn holds(&self, path: &str) -> bool {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return false;
        };
        let is = |wanted: &Option<Value>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted.holds(name));
        !service.is_empty()
            && !method.is_empty()
            && !method.contains('/')
            && is(&self.service, service)
            && is(&self.method, method)
    }
}

impl Value {
    fn of(wanted: &ValueMatch) -> Result<Self, regex::Error> {
        Ok(match wanted {
            ValueMatch::Exact(text) => Self::Exact((&**text).into()),
            ValueMatch::Regex(text) => Self::Regex(expression(text)?),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *value,
            Self::Regex(expression) => expression.is_match(value),
        }
    }
}

fn named(it: &NamedMatch) -> Result<(Box<str>, Value), regex::Error> {
    Ok(((&*it.name).into(), Value::of(&it.value)?))
}

fn expression(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES).build()
}

/// The first value of a query parameter, as it was sent.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| decodes_to(key, name))
        .map(|(_, value)| value)
}

/// Whether percent-encoded text stands for `plain`; compared as it goes, because copying would allocate.
fn decodes_to(encoded: &str, plain: &str) -> bool {
    let mut rest = encoded.as_bytes();
    for wanted in plain.bytes() {
        let (byte, taken) = match rest {
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
            [] => return false,
        };
        if byte != wanted {
            return false;
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    rest.is_empty()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
