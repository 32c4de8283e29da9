//! Why a name does or does not resolve. Pure; the admin port asks.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use k8s::{
    admin::Explain,
    model::{HostPattern, Labels, Model},
};
use serde_json::{Value, json};

use crate::{
    SharedZones,
    zone::{Lookup, Node, WireName, Zones},
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

fn explain(zones: &Zones, model: &Model, name: &str) -> Value {
    let wire = WireName::from_labels(
        name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()).map(str::as_bytes),
    );
    match zones.lookup(wire.as_bytes()) {
        Lookup::OutOfZone => {
            let known: Vec<String> = zones.iter().map(|zone| zone.apex.to_string()).collect();
            json!({"name": name, "answer": "REFUSED", "because": "no zone holds this name", "zones": known})
        }
        Lookup::Missing { zone } => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NXDOMAIN", "cachedSeconds": zone.negative_ttl,
            "because": "no object asks for this name, and no wildcard covers it",
            "shadowed": shadowed(model, name),
        }),
        Lookup::Found { zone, node, wildcard } if node.has_addresses() => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NOERROR", "cachedSeconds": zone.ttl,
            "a": node.v4, "aaaa": node.v6,
            "wildcard": wildcard.map(ToString::to_string),
            "because": claims(node),
        }),
        Lookup::Found { zone, .. } => json!({
            "name": name, "zone": zone.apex.to_string(), "answer": "NODATA", "cachedSeconds": zone.negative_ttl,
            "because": if wire == zone.apex { "the apex has no address: no object asks for it" } else { "no object asks for this name; it exists because names below it do" },
            "shadowed": shadowed(model, name),
        }),
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
fn shadowed(model: &Model, name: &str) -> Vec<String> {
    let listeners = model.entry_points.iter().flat_map(|entry| &entry.listeners);
    let mut found: Vec<String> = listeners
        .flat_map(|listener| listener.routes.iter().map(move |attachment| (listener, attachment)))
        .flat_map(|(listener, attachment)| {
            listener.effective_hostnames(attachment).into_iter().map(|host| (host, attachment.route.source.clone()))
        })
        .filter_map(|(host, object)| match host {
            HostPattern::Wildcard { parent, .. } => {
                let wide = HostPattern::Wildcard { parent, labels: Labels::OneOrMore };
                wide.covers(name).then(|| {
                    format!("{wide} of {object} does not answer here: a name between the two exists (RFC 4592)")
                })
            }
            HostPattern::Exact(_) => None,
        })
        .collect();
    found.sort();
    found.dedup();
    found
}
