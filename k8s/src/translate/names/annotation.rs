//! Labels and annotations that steer DNS, as k8s_gateway and external-dns have them.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use super::Work;
pub(super) use crate::translate::annotation;
use crate::{model::ObjectName, translate::filter::invalid};

const IGNORE: [&str; 2] = ["k8s-gateway.dns/ignore", "doorward.dev/ignore"];
pub(super) const TTL: &str = "external-dns.alpha.kubernetes.io/ttl";

/// The label of an object that keeps its names out of DNS.
pub(super) fn ignoring_label(metadata: &ObjectMeta) -> Option<String> {
    let labels = metadata.labels.as_ref()?;
    let key = IGNORE.iter().find(|key| labels.get(**key).is_some_and(|value| value == "true"))?;
    Some(format!("{key}: \"true\""))
}

impl Work<'_> {
    /// Why an object's names are withheld by its labels.
    pub(super) fn left_out(&self, metadata: &ObjectMeta) -> Option<String> {
        let selectors = &self.config.dns.filter.selectors;
        let none = BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        let is_selected = selectors.is_empty() || selectors.iter().any(|selector| selector.selects(labels));
        match ignoring_label(metadata) {
            Some(label) => Some(format!("it has the label {label}")),
            None if !is_selected => {
                Some("dns.filter.labels of the configuration does not select its labels".to_owned())
            }
            None => None,
        }
    }

    /// The lifetime that an object gives its names. External-dns takes 0 for "not set".
    pub(super) fn ttl(&mut self, object: &ObjectName, metadata: &ObjectMeta) -> Option<u32> {
        let text = annotation(metadata, TTL)?;
        let seconds = seconds(text);
        if seconds.is_none() {
            let field = format!("annotation {TTL}");
            self.problem(object, invalid(&field, text, "seconds from 0 to 86400, or a duration such as 1m"));
        }
        seconds.filter(|seconds| *seconds != 0)
    }
}

const MOST: u32 = 86_400;

/// Seconds, or one of Go's durations such as `1h30m`, in whole seconds: of less than one none is left.
fn seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    text.parse().ok().or_else(|| duration(text)).filter(|seconds| *seconds <= MOST)
}

fn duration(text: &str) -> Option<u32> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let scale = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "ms" => 1e-3,
            "ns" => 1e-9,
            "s" => 1.0,
            "us" | "µs" => 1e-6,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    // Far too long ones are so after the conversion as well, which ends at the greatest number.
    (!text.is_empty()).then_some(seconds as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_seconds_or_a_duration_of_go() {
        for (text, expected) in [
            ("0", Some(0)),
            ("60", Some(60)),
            (" 60 ", Some(60)),
            ("1m", Some(60)),
            ("1h30m", Some(5_400)),
            ("1m500ms", Some(60)),
            ("1.5h", Some(5_400)),
            ("0s", Some(0)),
            ("24h", Some(86_400)),
            ("86401", None),
            ("25h", None),
            ("", None),
            ("-1", None),
            ("m", None),
            ("1d", None),
            ("1m30", None),
            ("soon", None),
            (".s", None),
            ("99999999999999999999h", None),
            ("9999999999999999h9999999999999999h", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }
}
