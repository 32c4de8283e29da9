//! What of a status is ours and what is not, and when there is nothing to write.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{model::ObjectName, status::Version};

const CONTROLLER: &str = "doorward.dev/gateway";
const THEN: &str = "2026-11-01T00:00:00Z";
const NOW: &str = "2026-11-29T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn desired(status: Status) -> Desired {
    Desired {
        object: ObjectName::new("Any", "default", "it"),
        version: Version { generation: 3, ..Version::default() },
        status,
    }
}

fn observation(status: &Value) -> Observation {
    Observation { resource_version: "17".into(), status: status.to_string().into(), ..Observation::default() }
}

/// What the status is after a patch, by RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (field, value) in fields {
                if value.is_null() {
                    into.as_object_mut().expect("an object").remove(field);
                } else {
                    merge(&mut into[field], value);
                }
            }
        }
        other => *into = other.clone(),
    }
}

/// The status after what is written, which says so: there is nothing more to write. None when nothing is written.
fn written(current: &Value, status: Status) -> Option<Value> {
    let desired = desired(status);
    let patch = patch(&observation(current), &desired, CONTROLLER, now())?;
    assert_eq!(patch["metadata"], json!({"resourceVersion": "17"}));
    let mut after = current.clone();
    merge(&mut after, &patch["status"]);
    let again = super::patch(&observation(&after), &desired, CONTROLLER, now());
    assert_eq!(again, None, "of {after}");
    Some(after)
}

fn condition(kind: &str, status: &str, reason: &str, generation: i64, since: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": generation, "lastTransitionTime": since})
}

fn foreign_condition() -> Value {
    json!({"type": "example.com/Checked", "status": "True", "reason": "Fine", "message": "by hand", "observedGeneration": 1, "lastTransitionTime": THEN})
}

fn foreign_entry(reference: &str) -> Value {
    json!({reference: {"group": GROUP, "kind": "Gateway", "name": "home"}, "controllerName": "example.com/other", "conditions": [condition("Accepted", "False", "Pending", 1, THEN)]})
}

fn entry(reference: &str, name: &str, conditions: Value) -> Value {
    let mut entry = json!({reference: {"group": GROUP, "kind": "Gateway", "name": name}, "controllerName": CONTROLLER});
    entry["conditions"] = conditions;
    entry
}

fn parent_status(name: &str, conditions: Vec<Condition>) -> ParentStatus {
    ParentStatus { parent: ParentReference { name: name.to_owned(), ..ParentReference::default() }, conditions }
}

fn accepted() -> Vec<Condition> {
    vec![Condition::holds("Accepted")]
}

#[test]
fn a_condition_is_new_when_its_status_changes_and_not_when_the_rest_does() {
    let accepted = |status, reason, generation, since| condition("Accepted", status, reason, generation, since);
    for (current, wanted, after) in [
        // Nothing yet; then the same again.
        (json!([]), accepted_because("Accepted", true), Some(accepted("True", "Accepted", 3, NOW))),
        (json!([accepted("True", "Accepted", 3, THEN)]), accepted_because("Accepted", true), None),
        // Another generation, another reason: since the same time.
        (
            json!([accepted("True", "Accepted", 2, THEN)]),
            accepted_because("Accepted", true),
            Some(accepted("True", "Accepted", 3, THEN)),
        ),
        (
            json!([accepted("True", "Accepted", 3, THEN)]),
            accepted_because("ListenersNotValid", true),
            Some(accepted("True", "ListenersNotValid", 3, THEN)),
        ),
        (
            json!([accepted("True", "Accepted", 3, THEN)]),
            accepted_because("Invalid", false),
            Some(accepted("False", "Invalid", 3, NOW)),
        ),
        // What the CRD puts there by itself.
        (
            json!([{"type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}]),
            accepted_because("Accepted", true),
            Some(accepted("True", "Accepted", 3, NOW)),
        ),
    ] {
        let status = Status::GatewayClass { conditions: vec![wanted], features: Vec::new() };
        let found = written(&json!({"conditions": current}), status).map(|after| after["conditions"].clone());
        assert_eq!(found, after.map(|after| json!([after])), "{current}");
    }
}

fn accepted_because(reason: &'static str, is_true: bool) -> Condition {
    Condition { kind: "Accepted", is_true, reason, message: String::new() }
}

#[test]
fn a_condition_of_ours_that_is_not_meant_any_more_goes_and_a_foreign_one_stays_in_its_place() {
    let current = json!({"conditions": [
        condition("Programmed", "True", "Programmed", 2, THEN),
        foreign_condition(),
        condition("OverlappingTLSConfig", "True", "OverlappingHostnames", 2, THEN),
        condition("Accepted", "True", "Accepted", 2, THEN),
    ]});
    let status = Status::GatewayClass {
        conditions: vec![Condition::holds("Accepted"), Condition::holds("ResolvedRefs")],
        features: Vec::new(),
    };
    let after = written(&current, status).expect("something to write");
    assert_eq!(
        after["conditions"],
        json!([
            foreign_condition(),
            condition("Accepted", "True", "Accepted", 3, THEN),
            condition("ResolvedRefs", "True", "ResolvedRefs", 3, NOW),
        ])
    );
}

#[test]
fn of_more_conditions_than_the_api_takes_the_foreign_ones_stay_and_our_last_ones_are_left_out() {
    let foreign: Vec<Value> =
        (0..7).map(|number| json!({"type": format!("example.com/{number}"), "status": "True"})).collect();
    let status = Status::GatewayClass {
        conditions: vec![Condition::holds("Accepted"), Condition::holds("SupportedVersion")],
        features: Vec::new(),
    };
    let after = written(&json!({"conditions": foreign}), status).expect("something to write");
    let conditions = after["conditions"].as_array().expect("a list");
    assert_eq!(conditions[..7], foreign);
    assert_eq!(conditions[7..], [condition("Accepted", "True", "Accepted", 3, NOW)]);
}

#[test]
fn a_message_is_cut_where_a_letter_ends() {
    for (message, length) in [("ä".repeat(512), 1024), ("ä".repeat(513), 1023), ("a".repeat(99_999), 1024)] {
        let status = Status::GatewayClass {
            conditions: vec![Condition::fails("Accepted", "Invalid", message)],
            features: Vec::new(),
        };
        let after = written(&json!({}), status).expect("something to write");
        assert_eq!(after["conditions"][0]["message"].as_str().map(str::len), Some(length));
    }
}

#[test]
fn a_class_has_its_features() {
    let status = || Status::GatewayClass { conditions: accepted(), features: vec!["Gateway", "HTTPRoute"] };
    let after = written(&json!({"supportedFeatures": [{"name": "Mesh"}]}), status()).expect("something to write");
    assert_eq!(after["supportedFeatures"], json!([{"name": "Gateway"}, {"name": "HTTPRoute"}]));
    assert_eq!(written(&after, status()), None);
}

fn gateway(listeners: Vec<ListenerStatus>) -> Status {
    let addresses =
        vec![Address::Ip("192.168.8.24".parse().expect("an address")), Address::Hostname("home.example".into())];
    Status::Gateway { conditions: accepted(), addresses, listeners, listener_sets: 0 }
}

fn listener(name: &str, supported_kinds: Vec<&'static str>) -> ListenerStatus {
    ListenerStatus { name: name.to_owned(), supported_kinds, attached_routes: 0, conditions: accepted() }
}

/// GatewayPreserveForeignConditions of the conformance suite.
#[test]
fn the_conditions_that_others_put_on_a_gateway_and_its_listeners_are_preserved() {
    let current = json!({
        "conditions": [condition("Accepted", "True", "Accepted", 2, THEN), foreign_condition()],
        "listeners": [{"name": "http", "supportedKinds": [], "attachedRoutes": 1, "conditions": [foreign_condition(), condition("Accepted", "True", "Accepted", 2, THEN)]}],
    });
    let after = written(&current, gateway(vec![listener("http", vec!["HTTPRoute"])])).expect("something to write");
    let ours = condition("Accepted", "True", "Accepted", 3, THEN);
    assert_eq!(after["conditions"], json!([ours, foreign_condition()]));
    assert_eq!(after["listeners"][0]["conditions"], json!([foreign_condition(), ours]));
}

#[test]
fn a_gateway_has_exactly_its_listeners_each_with_its_kinds_and_its_count() {
    let gone = json!({"name": "gone", "supportedKinds": [], "attachedRoutes": 1, "conditions": [foreign_condition()]});
    let wanted = gateway(vec![listener("http", vec!["HTTPRoute", "GRPCRoute"]), listener("none", Vec::new())]);
    let after = written(&json!({"listeners": [gone]}), wanted).expect("something to write");
    let is_accepted = json!([condition("Accepted", "True", "Accepted", 3, NOW)]);
    assert_eq!(
        after["listeners"],
        json!([
            {"name": "http", "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}, {"group": GROUP, "kind": "GRPCRoute"}], "attachedRoutes": 0, "conditions": is_accepted},
            {"name": "none", "supportedKinds": [], "attachedRoutes": 0, "conditions": is_accepted},
        ])
    );
    let addresses =
        json!([{"type": "IPAddress", "value": "192.168.8.24"}, {"type": "Hostname", "value": "home.example"}]);
    assert_eq!((&after["addresses"], &after["attachedListenerSets"]), (&addresses, &json!(0)));
    let set = Status::ListenerSet { conditions: accepted(), listeners: Vec::new() };
    assert_eq!(written(&after, set).expect("something to write")["listeners"], json!([]));
}

/// HTTPRoutePreserveForeignStatus and BackendTLSPolicyPreserveForeignStatus of the conformance suite.
#[test]
fn the_entries_of_other_controllers_are_preserved_and_ours_are_known_by_the_controller() {
    for (list, reference, status) in [
        ("parents", "parentRef", (|it| Status::Route { parents: it }) as fn(Vec<ParentStatus>) -> Status),
        ("ancestors", "ancestorRef", |it| Status::Policy { ancestors: it }),
    ] {
        let foreign = foreign_entry(reference);
        let old = json!([foreign_condition(), condition("Accepted", "True", "Accepted", 2, THEN)]);
        let current =
            json!({list: [entry(reference, "gone", json!([])), foreign, entry(reference, "home", old.clone())]});
        let wanted = vec![parent_status("new", accepted()), parent_status("home", accepted())];
        let after = written(&current, status(wanted)).expect("something to write");
        let is = |since| condition("Accepted", "True", "Accepted", 3, since);
        assert_eq!(
            after[list],
            json!([
                foreign,
                entry(reference, "home", json!([foreign_condition(), is(THEN)])),
                entry(reference, "new", json!([is(NOW)])),
            ])
        );
        assert_eq!(written(&json!({list: [foreign]}), status(Vec::new())), None);
        let none: Vec<Value> = Vec::new();
        for (current, left) in [
            (json!({list: [foreign, entry(reference, "home", old)]}), Some(json!([foreign]))),
            (json!({list: [entry(reference, "home", json!([]))]}), Some(json!(none))),
            (json!({list: [foreign]}), None),
            (json!({list: []}), None),
            (Value::Null, None),
        ] {
            let patch = withdrawal(&observation(&current), CONTROLLER);
            assert_eq!(patch.map(|patch| patch["status"].clone()), left.map(|left| json!({list: left})), "{current}");
        }
    }
}

#[test]
fn a_parent_is_named_as_the_route_names_it_with_what_the_api_server_adds() {
    let parent = ParentReference {
        namespace: Some("infra".into()),
        name: "home".into(),
        section_name: Some("http".into()),
        port: Some(80),
        ..ParentReference::default()
    };
    let parents = vec![ParentStatus { parent, conditions: accepted() }];
    let after = written(&Value::Null, Status::Route { parents }).expect("something to write");
    let expected = json!({"group": GROUP, "kind": "Gateway", "namespace": "infra", "name": "home", "sectionName": "http", "port": 80});
    assert_eq!(after["parents"][0]["parentRef"], expected);
}

#[test]
fn where_others_fill_a_list_ours_are_left_out() {
    for (list, reference, most) in [("parents", "parentRef", 32), ("ancestors", "ancestorRef", 16)] {
        for foreign in [most - 1, most] {
            let current = json!({list: vec![foreign_entry(reference); foreign]});
            let wanted = ["a", "b"].map(|name| parent_status(name, accepted())).into();
            let status = if list == "parents" {
                Status::Route { parents: wanted }
            } else {
                Status::Policy { ancestors: wanted }
            };
            let after = written(&current, status).map(|after| after[list].as_array().map(Vec::len));
            assert_eq!(after, (foreign < most).then_some(Some(most)), "{list} {foreign}");
        }
    }
}

#[test]
fn an_ingress_has_the_addresses_where_clients_reach_it() {
    let status = |addresses: &[&str]| Status::Ingress {
        addresses: addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address")).collect(),
    };
    let is = |addresses: &[&str]| {
        let all: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"loadBalancer": {"ingress": all}})
    };
    let both = ["192.168.8.21", "fd00::21"];
    assert_eq!(written(&Value::Null, status(&both)), Some(is(&both)));
    assert_eq!(written(&is(&both), status(&both)), None);
    assert_eq!(written(&is(&both[..1]), status(&both)), Some(is(&both)));
    assert_eq!(written(&is(&both), status(&[])), Some(is(&[])));
    assert_eq!(written(&json!({"loadBalancer": {}}), status(&[])), None);
}

#[test]
fn a_status_of_another_shape_is_replaced_and_nothing_panics() {
    for current in [
        json!([]),
        json!("status"),
        json!({"parents": {"a": 1}}),
        json!({"parents": null}),
        json!({"parents": [1, null, {}]}),
    ] {
        let status = Status::Route { parents: vec![parent_status("home", accepted())] };
        let patch = patch(&observation(&current), &desired(status), CONTROLLER, now()).expect("something to write");
        let ours = entry("parentRef", "home", json!([condition("Accepted", "True", "Accepted", 3, NOW)]));
        let entries = patch["status"]["parents"].as_array().expect("a list").clone();
        assert_eq!(entries.last(), Some(&ours), "{current}");
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let kinds = prop::sample::select(&OURS[..]);
    (kinds, any::<bool>(), prop::sample::select(vec!["Accepted", "Invalid"]), ".{0,8}")
        .prop_map(|(kind, is_true, reason, message)| Condition { kind, is_true, reason, message })
}

fn any_conditions() -> impl Strategy<Value = Vec<Condition>> {
    prop::collection::vec(any_condition(), 0..6).prop_map(|mut all| {
        all.sort_by_key(|it| it.kind);
        all.dedup_by_key(|it| it.kind);
        all
    })
}

/// Of a few names, so that entries meet.
fn any_parents() -> impl Strategy<Value = Vec<ParentStatus>> {
    let parent = (prop::sample::select(vec!["a", "b", "c"]), prop::option::of(1_u16..3), any_conditions());
    prop::collection::vec(parent, 0..5).prop_map(|all| {
        let mut all: Vec<ParentStatus> = all
            .into_iter()
            .map(|(name, port, conditions)| {
                let parent = ParentReference { name: name.to_owned(), port, ..ParentReference::default() };
                ParentStatus { parent, conditions }
            })
            .collect();
        all.sort_by_key(|it| (it.parent.name.clone(), it.parent.port));
        all.dedup_by(|a, b| a.parent == b.parent);
        all
    })
}

/// What two writers have left: ours at an earlier time, and another's.
fn any_current() -> impl Strategy<Value = Value> {
    let foreign = prop::collection::vec(any::<bool>(), 0..4);
    (any_parents(), foreign).prop_map(|(ours, foreign)| {
        let status = Status::Route { parents: ours };
        let patch = patch(&Observation::default(), &desired(status), CONTROLLER, Timestamp::UNIX_EPOCH);
        let mut entries = patch.map(|patch| patch["status"]["parents"].clone()).unwrap_or_else(|| json!([]));
        let list = entries.as_array_mut().expect("a list");
        for is_first in foreign {
            let place = if is_first { 0 } else { list.len() };
            list.insert(place, foreign_entry("parentRef"));
        }
        json!({"parents": entries})
    })
}

proptest! {
    #[test]
    fn what_is_written_needs_no_more_writing_and_leaves_others_as_they_were(current in any_current(), parents in any_parents()) {
        let after = written(&current, Status::Route { parents: parents.clone() }).unwrap_or_else(|| current.clone());
        let (foreign, ours): (Vec<_>, Vec<_>) =
            after["parents"].as_array().expect("a list").iter().cloned().partition(|it| it["controllerName"] != CONTROLLER);
        let before = current["parents"].as_array().expect("a list").iter().filter(|it| it["controllerName"] != CONTROLLER);
        prop_assert_eq!(foreign, before.cloned().collect::<Vec<_>>());
        let mut said: Vec<Value> = ours.iter().map(|it| it["parentRef"].clone()).collect();
        let mut meant: Vec<Value> = parents.iter().map(|it| parent(&it.parent)).collect();
        said.sort_by_key(Value::to_string);
        meant.sort_by_key(Value::to_string);
        prop_assert_eq!(said, meant);
    }
}
