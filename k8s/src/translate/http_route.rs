//! The rules of an HTTPRoute: matches, filters, backends, timeouts.

use std::{collections::HashSet, sync::Arc};

use super::{
    Work, affinity, backend_ref,
    filter::{self, invalid},
    ingress::without_trailing_slash,
};
use crate::{
    gateway_api::{HttpBackendRef, HttpHeaderMatch, HttpRouteMatch, HttpRouteRetry, HttpRouteRule},
    model::{
        MOST_RETRIES, Match, NamedMatch, ObjectName, PathMatch, REGEX_BYTES, Retry, Rule, Target, Timeouts, ValueMatch,
        WeightedBackend,
    },
    problem::Reason,
};

/// The rules once; where they are attached is another matter.
pub(super) fn translate(work: &mut Work<'_>, source: &ObjectName, rules: &[HttpRouteRule]) -> Vec<Rule> {
    let translated = rules.iter().enumerate().filter_map(|(place, rule)| {
        let matches = understood(work, source, rule.matches.iter().map(translate_match))?;
        Some(translate_rule(work, source, place, rule, matches))
    });
    translated.collect()
}

/// Those of a rule's matches that can be understood. None where that is none of them: the rule would otherwise match
/// what nobody named.
pub(super) fn understood(
    work: &mut Work<'_>,
    source: &ObjectName,
    matches: impl ExactSizeIterator<Item = Result<Match, Reason>>,
) -> Option<Vec<Match>> {
    if matches.len() == 0 {
        let path = PathMatch::Prefix("/".into());
        return Some(vec![Match { path, method: None, headers: Vec::new(), query: Vec::new() }]);
    }
    let good: Vec<Match> = matches.filter_map(|it| it.map_err(|reason| work.problem(source, reason)).ok()).collect();
    Some(good).filter(|good| !good.is_empty())
}

/// A rule but for what it matches. `place` is its own in the route.
pub(super) fn translate_rule(
    work: &mut Work<'_>,
    source: &ObjectName,
    place: usize,
    rule: &HttpRouteRule,
    matches: Vec<Match>,
) -> Rule {
    let mut backends: Vec<WeightedBackend> =
        rule.backend_refs.iter().map(|backend| translate_backend(work, source, backend)).collect();
    let filters = filter::translate(work, source, &rule.filters).unwrap_or_else(|why| {
        backends = vec![WeightedBackend { weight: 1, target: Target::Invalid(why), filters: Vec::new() }];
        Vec::new()
    });
    let timeouts = rule.timeouts.as_ref();
    let mut limit = |field: &str, text: Option<&String>| milliseconds(work, source, field, text).filter(|it| *it > 0);
    let timeouts = Timeouts {
        request: limit("timeouts.request", timeouts.and_then(|it| it.request.as_ref())),
        backend_request: limit("timeouts.backendRequest", timeouts.and_then(|it| it.backend_request.as_ref())),
    };
    let retry = rule.retry.as_ref().map(|it| translate_retry(work, source, it));
    let session = rule.session_persistence.as_ref();
    let session = session.and_then(|it| affinity::of_session(work, source, place, it));
    let affinity = affinity::of_rule(work, session.as_ref(), &matches, &backends);
    Rule { name: rule.name.as_deref().map(Into::into), matches, filters, backends, timeouts, retry, affinity }
}

fn translate_retry(work: &mut Work<'_>, source: &ObjectName, retry: &HttpRouteRetry) -> Retry {
    let mut codes = Vec::with_capacity(retry.codes.len());
    for code in &retry.codes {
        match code {
            400..=599 => codes.push(*code),
            _ => work.problem(source, invalid("retry.codes", &code.to_string(), "a status from 400 to 599")),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let attempts = retry.attempts.unwrap_or(1).min(MOST_RETRIES);
    Retry { attempts, codes, backoff: milliseconds(work, source, "retry.backoff", retry.backoff.as_ref()) }
}

/// None, and a problem, for what is no duration.
fn milliseconds(work: &mut Work<'_>, source: &ObjectName, field: &str, text: Option<&String>) -> Option<u64> {
    let text = text?;
    let parsed = duration(text);
    if parsed.is_none() {
        work.problem(source, invalid(field, text, "a duration such as 500ms or 1m30s"));
    }
    parsed
}

fn translate_match(it: &HttpRouteMatch) -> Result<Match, Reason> {
    let path = it.path.as_ref();
    let value = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
    let kind = path.and_then(|path| path.type_.as_deref()).unwrap_or("PathPrefix");
    let path = match kind {
        "Exact" | "PathPrefix" if !value.starts_with('/') => {
            return Err(invalid("matches.path.value", value, "a path that begins with /"));
        }
        "Exact" => PathMatch::Exact(value.into()),
        "PathPrefix" => PathMatch::Prefix(without_trailing_slash(value).into()),
        "RegularExpression" => PathMatch::Regex(checked_regex(value, &PathMatch::anchored(value))?),
        other => return Err(Reason::Unsupported { field: "path match".to_owned(), value: other.to_owned() }),
    };
    let query = it.query_params.iter().map(|parameter| {
        let value = value_match(parameter.type_.as_deref(), &parameter.value)?;
        Ok(NamedMatch { name: parameter.name.as_str().into(), value })
    });
    Ok(Match {
        path,
        method: it.method.as_deref().map(Into::into),
        headers: header_matches(&it.headers)?,
        query: first_of_each_name(query)?,
    })
}

pub(super) fn header_matches(headers: &[HttpHeaderMatch]) -> Result<Vec<NamedMatch>, Reason> {
    first_of_each_name(headers.iter().map(|header| {
        Ok(NamedMatch {
            name: filter::header_name(&header.name)?,
            value: value_match(header.type_.as_deref(), &header.value)?,
        })
    }))
}

/// Of equivalent names the first counts; the others are to be ignored.
fn first_of_each_name(matches: impl Iterator<Item = Result<NamedMatch, Reason>>) -> Result<Vec<NamedMatch>, Reason> {
    let mut seen = HashSet::new();
    let all = matches.collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|it| seen.insert(Arc::clone(&it.name))).collect())
}

fn value_match(kind: Option<&str>, value: &str) -> Result<ValueMatch, Reason> {
    match kind.unwrap_or("Exact") {
        "Exact" => Ok(ValueMatch::Exact(value.into())),
        "RegularExpression" => checked_regex(value, value).map(ValueMatch::Regex),
        other => Err(Reason::Unsupported { field: "match type".to_owned(), value: other.to_owned() }),
    }
}

/// `compiled` is what is made of the author's text.
pub(super) fn checked_regex(text: &str, compiled: &str) -> Result<Arc<str>, Reason> {
    match regex::RegexBuilder::new(compiled).size_limit(REGEX_BYTES).build() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(invalid("regular expression", text, "one that compiles to less than 1 MiB, without look-around")),
    }
}

fn translate_backend(work: &mut Work<'_>, source: &ObjectName, backend: &HttpBackendRef) -> WeightedBackend {
    let target = backend_ref::resolve(work, source, "backendRef", &backend.target);
    let weight = backend.weight.unwrap_or(1);
    match (filter::translate_of_backend(work, source, &backend.filters), target) {
        (Ok(filters), target) => WeightedBackend { weight, target, filters },
        (Err(_), target @ Target::Invalid(_)) => WeightedBackend { weight, target, filters: Vec::new() },
        (Err(why), Target::Backend(_)) => WeightedBackend { weight, target: Target::Invalid(why), filters: Vec::new() },
    }
}

/// Milliseconds of a Gateway API duration (GEP-2257): one to four numbers of up to five digits, each with h, m, s or ms.
pub(super) fn duration(text: &str) -> Option<u64> {
    let mut total = 0;
    let mut rest = text;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let units = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(units);
        let scale = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "ms" => 1,
            "s" => 1_000,
            _ => return None,
        };
        if number.len() > 5 {
            return None;
        }
        total += number.parse::<u64>().ok()? * scale;
        rest = tail;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("0s", Some(0)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("10", None),
            ("1d", None),
            ("123456s", None),
            ("1s1s1s1s1s", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), milliseconds, "{text}");
        }
    }
}
