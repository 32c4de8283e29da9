//! Label selectors as kubectl's `-l` takes them: `app=web,tier!=test,visible,!hidden`.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

/// Equality and existence only; all requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector(pub Vec<LabelRequirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRequirement {
    Equals(Arc<str>, Arc<str>),
    /// True as well where there is no such label.
    NotEquals(Arc<str>, Arc<str>),
    Exists(Arc<str>),
    Absent(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no selector such as app=web,tier!=test,visible,!hidden")]
pub struct InvalidSelector;

impl LabelSelector {
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            LabelRequirement::Equals(key, value) => labels.get(&**key).is_some_and(|found| **found == **value),
            LabelRequirement::NotEquals(key, value) => labels.get(&**key).is_none_or(|found| **found != **value),
            LabelRequirement::Exists(key) => labels.contains_key(&**key),
            LabelRequirement::Absent(key) => !labels.contains_key(&**key),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        text.split(',').map(|part| requirement(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(text: &str) -> Result<LabelRequirement, InvalidSelector> {
    // The longer sign first: `!=` and `==` hold a `=` each.
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(LabelRequirement::NotEquals(checked_key(key)?, checked_value(value)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(LabelRequirement::Equals(checked_key(key)?, checked_value(value)?));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(LabelRequirement::Absent(checked_key(key)?)),
        None => Ok(LabelRequirement::Exists(checked_key(text)?)),
    }
}

/// A slip of the pen must not become a selector of nothing.
fn checked_key(text: &str) -> Result<Arc<str>, InvalidSelector> {
    let text = text.trim();
    let is_right = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let ends_right = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.ends_with('/');
    if ends_right && text.chars().all(is_right) { Ok(text.into()) } else { Err(InvalidSelector) }
}

/// It may be empty.
fn checked_value(text: &str) -> Result<Arc<str>, InvalidSelector> {
    let text = text.trim();
    let is_right = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.chars().all(is_right) { Ok(text.into()) } else { Err(InvalidSelector) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select_as_kubectl_does() {
        let labels = [("app".to_owned(), "web".to_owned()), ("k8s.io/tier".to_owned(), String::new())].into();
        for (text, selected) in [
            ("app=web", true),
            ("app==web", true),
            ("app = web , k8s.io/tier", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("gone!=web", true),
            ("app", true),
            ("gone", false),
            ("!gone", true),
            ("!app", false),
            ("k8s.io/tier=", true),
            ("app=web,gone", false),
        ] {
            let selector: LabelSelector = text.parse().expect(text);
            assert_eq!(selector.selects(&labels), selected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", ",", "app=web,", "=web", "!=web", "!", "app in (web)", "app=a=b", "app!=a!=b", "app>1", "é"] {
            assert_eq!(text.parse::<LabelSelector>(), Err(InvalidSelector), "{text:?}");
        }
    }
}
