//! Why a name does or does not resolve. Pure; the admin port asks.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use k8s::{
    admin::Explain,
    model::{HostPattern, Labels, Model},
    telemetry,
};
use serde_json::{Value, json};

use crate::{
    SharedZones,
    zone::{DENIED_TTL, Lookup, Node, WireName, Zone, Zones},
};

/// For `/explain?name=grafana.home.example`.
pub(crate) fn for_admin(zones: SharedZones, model: Arc<ArcSwapOption<Model>>) -> Arc<Explain> {
    Arc::new(move |query| {
        let usage = "ask /explain?name=grafana.home.example";
        let name = query.iter().find(|(key, _)| key == "name").map(|(_, value)| value).ok_or(usage)?;
        Ok(match (zones.load().as_deref(), model.load().as_deref()) {
            (Some(zones), Some(model)) => explain(zones, model, name),
            _ => {
                json!({"name": name, "answer": "REFUSED", "because": "not ready: waiting for the first complete list of objects"})
            }
        })
    })
}

/// What [`reference`](crate::reference) answers to A and AAAA, in words: both follow one [`Lookup`].
fn explain(zones: &Zones, model: &Model, name: &str) -> Value {
    let wire = WireName::from_labels(
        name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()).map(str::as_bytes),
    );
    let mut explained = match zones.lookup(wire.as_bytes()) {
        Lookup::OutOfZone => {
            let known: Vec<String> = zones.iter().map(|zone| zone.apex.to_string()).collect();
            json!({"name": name, "answer": "REFUSED", "because": "no zone holds this name", "zones": known})
        }
        Lookup::Denied { .. } => json!({
            "name": name, "answer": "NXDOMAIN", "cachedSeconds": DENIED_TTL,
            "because": "no zone holds this name; single labels and reverse names of private addresses are denied rather than refused",
        }),
        Lookup::Missing { zone } => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NXDOMAIN", "cachedSeconds": zone.negative_ttl,
            "because": "no object asks for this name, and no wildcard covers it",
            "shadowed": shadowed(model, &wire),
        }),
        Lookup::Found { zone, node, wildcard } if node.has_addresses() => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NOERROR", "cachedSeconds": zone.ttl,
            "a": node.v4, "aaaa": node.v6,
            "wildcard": wildcard.map(ToString::to_string),
            "because": claims(node),
        }),
        Lookup::Found { zone, node, .. } => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NODATA", "cachedSeconds": zone.negative_ttl,
            "because": without_address(zone, node, &wire),
            "shadowed": shadowed(model, &wire),
        }),
    };
    // A serial is the time of the last change, so that a person sees how old this is.
    explained["serial"] = json!(zones.serial());
    explained["changed"] = json!(telemetry::rfc3339(UNIX_EPOCH + Duration::from_secs(zones.serial().into())));
    explained
}

fn without_address(zone: &Zone, node: &Node, name: &WireName) -> String {
    match node.claims.first() {
        Some(claim) => {
            format!("{} asks for this name, and entry point {} has no address", claim.object, claim.entry_point)
        }
        None if *name == zone.apex => "the apex has no address: no object asks for it".to_owned(),
        None if *name == zone.name_server => {
            "the zone's name server has no address: dns.addresses names none".to_owned()
        }
        None => "no object asks for this name; it exists because names below it do".to_owned(),
    }
}

fn claims(node: &Node) -> Vec<String> {
    node.claims
        .iter()
        .enumerate()
        .map(|(index, claim)| {
            let place = if index == 0 { "gives the address" } else { "is served too, but one entry point answers" };
            format!("{} on entry point {} {place}", claim.object, claim.entry_point)
        })
        .collect()
}

/// Wildcards that a reader would expect to cover the name, and that DNS does not let.
fn shadowed(model: &Model, name: &WireName) -> Vec<String> {
    let name = name.to_string();
    let listeners = model.entry_points.iter().flat_map(|entry| &entry.listeners);
    let mut found: Vec<String> = listeners
        .flat_map(|listener| listener.routes.iter().map(move |attachment| (listener, attachment)))
        .flat_map(|(listener, attachment)| {
            listener.effective_hostnames(attachment).into_iter().map(|host| (host, attachment.route.source.clone()))
        })
        .filter_map(|(host, object)| match host {
            HostPattern::Wildcard { parent, .. } => {
                let wide = HostPattern::Wildcard { parent, labels: Labels::OneOrMore };
                wide.covers(&name).then(|| {
                    format!("{wide} of {object} does not answer here: this name, or one above it, exists (RFC 4592)")
                })
            }
            HostPattern::Exact(_) => None,
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query, ResponseCode},
        rr::{Name, Record, RecordType},
    };

    use super::*;
    use crate::{fixture, reference};

    fn served() -> (Zones, Model) {
        let model = fixture::model(&[
            ("192.168.8.21", "grafana.home.example"),
            ("192.168.8.23", "grafana.home.example"),
            ("fd00::21", "six.home.example"),
            ("192.168.8.21", "*.home.example"),
            ("192.168.8.21", "a.b.home.example"),
            ("", "pending.home.example"),
        ]);
        let config = fixture::config("zones: [{name: home.example, ttl: 10, negativeTtl: 60}, a.lab.home.example]");
        (Zones::build(&model, &config, 1_764_000_000), model)
    }

    /// What a client gets that asks for both kinds of address: the answer in our words, and its TTL.
    fn answered(zones: &Zones, name: &str) -> (&'static str, Option<u32>) {
        let ask = |kind| {
            let mut query = Message::new(7, MessageType::Query, OpCode::Query);
            query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
            reference::answer(Some(zones), &query).expect("an answer")
        };
        let ttl = |records: &[Record]| records.first().map(|record| record.ttl);
        let (v4, v6) = (ask(RecordType::A), ask(RecordType::AAAA));
        match v4.metadata.response_code {
            ResponseCode::NoError => match ttl(&v4.answers).or_else(|| ttl(&v6.answers)) {
                Some(ttl) => ("NOERROR", Some(ttl)),
                None => ("NODATA", ttl(&v4.authorities)),
            },
            ResponseCode::NXDomain => ("NXDOMAIN", ttl(&v4.authorities)),
            ResponseCode::Refused => ("REFUSED", None),
            other => panic!("{other} for {name}"),
        }
    }

    #[test]
    fn what_is_explained_is_what_is_answered() {
        let (zones, model) = served();
        for name in [
            "grafana.home.example",
            "GRAFANA.Home.Example.",
            "six.home.example",
            "free.home.example",
            "*.home.example",
            "b.home.example",
            "x.b.home.example",
            "lab.home.example",
            "x.a.lab.home.example",
            "pending.home.example",
            "home.example",
            "ns.home.example",
            "nas",
            "NAS.",
            "9.8.168.192.in-addr.arpa",
            "a.example",
            ".",
        ] {
            let said = explain(&zones, &model, name);
            let seconds = said["cachedSeconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
            assert_eq!((said["answer"].as_str().unwrap_or_default(), seconds), answered(&zones, name), "{name}");
        }
    }

    #[test]
    fn the_reason_says_what_there_is_to_change() {
        let (zones, model) = served();
        for (name, because) in [
            (
                "grafana.home.example",
                json!([
                    "Ingress default/grafana.home.example on entry point 192.168.8.21 gives the address",
                    "Ingress default/grafana.home.example on entry point 192.168.8.23 is served too, but one entry point answers"
                ]),
            ),
            (
                "pending.home.example",
                json!(
                    "Ingress default/pending.home.example asks for this name, and entry point nowhere has no address"
                ),
            ),
            ("home.example", json!("the apex has no address: no object asks for it")),
            ("NS.home.example.", json!("the zone's name server has no address: dns.addresses names none")),
            ("b.home.example", json!("no object asks for this name; it exists because names below it do")),
            ("x.b.home.example", json!("no object asks for this name, and no wildcard covers it")),
            ("a.example", json!("no zone holds this name")),
        ] {
            assert_eq!(explain(&zones, &model, name)["because"], because, "{name}");
        }
    }

    #[test]
    fn it_says_since_when() {
        let (zones, model) = served();
        for name in ["grafana.home.example", "nothing.b.home.example", "nas", "a.example"] {
            let said = explain(&zones, &model, name);
            assert_eq!(
                (&said["serial"], &said["changed"]),
                (&json!(1_764_000_000), &json!("2025-11-24T16:00:00.000Z"))
            );
        }
    }

    #[test]
    fn a_wildcard_that_does_not_answer_is_named_however_the_name_is_written() {
        let (zones, model) = served();
        for name in ["b.home.example", "x.b.home.example", "X.B.Home.Example."] {
            let expected = "*.home.example of Ingress default/*.home.example does not answer here: this name, or one above it, exists (RFC 4592)";
            assert_eq!(explain(&zones, &model, name)["shadowed"], json!([expected]), "{name}");
        }
    }
}
