//! What has to be written so that a status says what it should. Pure.
//!
//! A status has several writers. Of the lists in it each holds entries of others, which stay exactly as they were read:
//! `parents` and `ancestors` are by controller, `conditions` by type. A merge patch replaces a list whole, so each patch
//! names the version it was made for, and fails where somebody else was faster.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Address, Condition, Desired, ListenerStatus, ParentStatus, Status, observed::Observation};
use crate::gateway_api::{GROUP, ParentReference};

/// Every condition type of the Gateway API that is ours to write, and so to remove.
const OURS: [&str; 9] = [
    "Accepted",
    "AddressesAssigned",
    "Conflicted",
    "InsecureFrontendValidationMode",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
    "Programmed",
    "ResolvedRefs",
    "SupportedVersion",
];

/// What the CRDs allow, the entries of others included.
const MOST_CONDITIONS: usize = 8;
const MOST_PARENTS: usize = 32;
const MOST_ANCESTORS: usize = 16;
const MOST_LISTENERS: usize = 64;
const MOST_ADDRESSES: usize = 16;
/// In bytes. The API takes 32 KiB, and nobody reads as much.
const LONGEST_MESSAGE: usize = 1024;

/// Who writes, of which generation, and when.
#[derive(Clone, Copy, Debug)]
struct Writer<'a> {
    controller: &'a str,
    generation: i64,
    now: Timestamp,
}

/// The body of a JSON merge patch of the subresource `status`. None when it says so already.
pub(super) fn patch(observation: &Observation, desired: &Desired, controller: &str, now: Timestamp) -> Option<Value> {
    let writer = Writer { controller, generation: desired.version.generation, now };
    let current = observation.status();
    let wanted = match &desired.status {
        Status::GatewayClass { conditions, features } => {
            let features: Vec<Value> = features.iter().map(|name| json!({"name": name})).collect();
            vec![("conditions", writer.conditions(&current, conditions)), ("supportedFeatures", features.into())]
        }
        Status::Gateway { conditions, addresses, listeners, listener_sets } => {
            let addresses: Vec<Value> = addresses.iter().take(MOST_ADDRESSES).map(address).collect();
            vec![
                ("conditions", writer.conditions(&current, conditions)),
                ("addresses", addresses.into()),
                ("listeners", writer.listeners(&current, listeners)),
                ("attachedListenerSets", json!(listener_sets)),
            ]
        }
        Status::ListenerSet { conditions, listeners } => vec![
            ("conditions", writer.conditions(&current, conditions)),
            ("listeners", writer.listeners(&current, listeners)),
        ],
        Status::Route { parents } => vec![("parents", writer.parents(&current, parents))],
        Status::Policy { ancestors } => vec![("ancestors", writer.ancestors(&current, ancestors))],
        Status::Ingress { addresses } => {
            let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
            let is_said = list(current.get("loadBalancer"), "ingress") == addresses;
            return (!is_said).then(|| body(observation, json!({"loadBalancer": {"ingress": addresses}})));
        }
    };
    differing(observation, &current, wanted)
}

/// The same for a route or a policy of which there is nothing to say any more: entries of ours go.
pub(super) fn withdrawal(observation: &Observation, controller: &str) -> Option<Value> {
    let writer = Writer { controller, generation: 0, now: Timestamp::UNIX_EPOCH };
    let current = observation.status();
    let remaining = [("parents", writer.parents(&current, &[])), ("ancestors", writer.ancestors(&current, &[]))];
    differing(observation, &current, remaining.into())
}

/// A list that is not there is an empty one.
fn differing(observation: &Observation, current: &Value, wanted: Vec<(&str, Value)>) -> Option<Value> {
    let is_said = |(field, value): &(&str, Value)| match current.get(field) {
        Some(said) => said == value,
        None => value.as_array().is_some_and(Vec::is_empty),
    };
    let differing: Map<String, Value> =
        wanted.into_iter().filter(|it| !is_said(it)).map(|(field, value)| (field.to_owned(), value)).collect();
    (!differing.is_empty()).then(|| body(observation, differing.into()))
}

fn body(observation: &Observation, status: Value) -> Value {
    let mut body = json!({"metadata": {"resourceVersion": observation.resource_version}});
    body["status"] = status;
    body
}

impl Writer<'_> {
    /// In `holder`, which is a status or an entry of it. Conditions stay where they are in the list; new ones follow.
    fn conditions(self, holder: &Value, wanted: &[Condition]) -> Value {
        let current = list(Some(holder), "conditions");
        let kind = |condition: &Value| condition.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_ours = |kind: &str| OURS.contains(&kind) || wanted.iter().any(|it| it.kind == kind);
        let foreign = current.iter().filter(|it| !is_ours(&kind(it))).count();
        let mut wanted: Vec<&Condition> = wanted.iter().take(MOST_CONDITIONS.saturating_sub(foreign)).collect();
        let mut conditions = Vec::new();
        for old in current {
            let kind = kind(old);
            if let Some(place) = wanted.iter().position(|it| it.kind == kind) {
                conditions.push(self.condition(Some(old), wanted.remove(place)));
            } else if !is_ours(&kind) {
                conditions.push(old.clone());
            }
        }
        conditions.extend(wanted.into_iter().map(|it| self.condition(None, it)));
        conditions.into()
    }

    /// The time is that of the last change of `status`, whatever else has changed since.
    fn condition(self, old: Option<&Value>, wanted: &Condition) -> Value {
        let Condition { kind, is_true, reason, message } = wanted;
        let status = if *is_true { "True" } else { "False" };
        let since = old
            .filter(|old| old.get("status").and_then(Value::as_str) == Some(status))
            .and_then(|old| old.get("lastTransitionTime").cloned())
            .unwrap_or_else(|| format!("{:.0}", self.now).into());
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": shortened(message),
            "observedGeneration": self.generation,
            "lastTransitionTime": since,
        })
    }

    fn listeners(self, holder: &Value, wanted: &[ListenerStatus]) -> Value {
        let current = list(Some(holder), "listeners");
        let entry = |wanted: &ListenerStatus| {
            let ListenerStatus { name, supported_kinds, attached_routes, conditions } = wanted;
            let old = current.iter().find(|it| it.get("name").and_then(Value::as_str) == Some(name));
            let kinds: Vec<Value> = supported_kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect();
            json!({
                "name": name,
                "supportedKinds": kinds,
                "attachedRoutes": attached_routes,
                "conditions": self.conditions(old.unwrap_or(&Value::Null), conditions),
            })
        };
        wanted.iter().take(MOST_LISTENERS).map(entry).collect::<Vec<_>>().into()
    }

    fn parents(self, holder: &Value, wanted: &[ParentStatus]) -> Value {
        self.by_controller(list(Some(holder), "parents"), "parentRef", wanted, MOST_PARENTS)
    }

    fn ancestors(self, holder: &Value, wanted: &[ParentStatus]) -> Value {
        self.by_controller(list(Some(holder), "ancestors"), "ancestorRef", wanted, MOST_ANCESTORS)
    }

    /// Whose an entry is says its controller alone: another may speak of the same parent.
    fn by_controller(self, current: &[Value], reference: &str, wanted: &[ParentStatus], most: usize) -> Value {
        let is_ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(self.controller);
        let foreign = current.iter().filter(|entry| !is_ours(entry)).count();
        let wanted = wanted.iter().take(most.saturating_sub(foreign));
        let mut wanted: Vec<(Value, &ParentStatus)> = wanted.map(|it| (parent(&it.parent), it)).collect();
        let entry = |old: &Value, parent: &Value, wanted: &ParentStatus| {
            let conditions = self.conditions(old, &wanted.conditions);
            json!({reference: parent, "controllerName": self.controller, "conditions": conditions})
        };
        let mut entries = Vec::new();
        for old in current {
            if !is_ours(old) {
                entries.push(old.clone());
            } else if let Some(place) = wanted.iter().position(|(parent, _)| old.get(reference) == Some(parent)) {
                let (parent, wanted) = wanted.remove(place);
                entries.push(entry(old, &parent, wanted));
            }
        }
        entries.extend(wanted.into_iter().map(|(parent, wanted)| entry(&Value::Null, &parent, wanted)));
        entries.into()
    }
}

/// As the API server stores it: it adds the group and the kind where they are missing.
fn parent(reference: &ParentReference) -> Value {
    let ParentReference { group, kind, namespace, name, section_name, port } = reference;
    let mut parent = json!({
        "group": group.as_deref().unwrap_or(GROUP),
        "kind": kind.as_deref().unwrap_or("Gateway"),
        "name": name,
    });
    let rest = [("namespace", json!(namespace)), ("sectionName", json!(section_name)), ("port", json!(port))];
    for (field, value) in rest.into_iter().filter(|(_, value)| !value.is_null()) {
        parent[field] = value;
    }
    parent
}

fn address(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => json!({"type": "IPAddress", "value": ip}),
        Address::Hostname(name) => json!({"type": "Hostname", "value": name}),
    }
}

fn list<'a>(holder: Option<&'a Value>, field: &str) -> &'a [Value] {
    holder.and_then(|it| it.get(field)).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// At most [`LONGEST_MESSAGE`] bytes.
pub(super) fn shortened(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(LONGEST_MESSAGE - '…'.len_utf8());
    format!("{}…", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
