//! What is said of Gateways whose Services cannot be as they should.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    model::ObjectName,
    problem::{Problem, Reason},
    status::{Condition, Findings, Status},
};

/// By the Gateway: what stands in the way.
pub(in crate::status) type Refusals = BTreeMap<ObjectName, String>;

/// Sends what translation has found, and beside it what stands in the way of Services; for ever.
pub(in crate::status) async fn tell(
    mut findings: watch::Receiver<Option<Arc<Findings>>>,
    mut refusals: watch::Receiver<Refusals>,
    told: watch::Sender<Option<Arc<Findings>>>,
) {
    loop {
        let found = findings.borrow_and_update().clone();
        let refused = refusals.borrow_and_update().clone();
        told.send_replace(found.map(|found| with(found, &refused)));
        let changed = tokio::select! {
            changed = findings.changed() => changed,
            changed = refusals.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// A Gateway that is gone by now is left out.
fn with(findings: Arc<Findings>, refusals: &Refusals) -> Arc<Findings> {
    if refusals.is_empty() {
        return findings;
    }
    let (mut statuses, mut problems) = (findings.statuses.clone(), findings.problems.clone());
    for desired in &mut statuses {
        let Some(why) = refusals.get(&desired.object) else { continue };
        let Status::Gateway { conditions, listeners, .. } = &mut desired.status else { continue };
        let reason = Reason::ServiceRefused { why: why.clone() };
        let of_listeners = listeners.iter_mut().flat_map(|listener| &mut listener.conditions);
        let waits = |it: &&mut Condition| !it.is_true && matches!(it.reason, "AddressNotAssigned" | "Pending");
        conditions.iter_mut().chain(of_listeners).filter(waits).for_each(|it| it.message = reason.to_string());
        problems.push(Problem::new(&desired.object, reason));
    }
    problems.sort();
    Arc::new(Findings::new(statuses, problems))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Desired, Version};

    #[test]
    fn a_gateway_that_waits_for_its_service_says_what_stands_in_the_way() {
        let object = |name: &str| ObjectName::new("Gateway", "shop", name);
        let desired = |name: &str| Desired {
            object: object(name),
            version: Version::default(),
            status: Status::Gateway {
                conditions: vec![
                    Condition::holds("Accepted"),
                    Condition::fails("Programmed", "AddressNotAssigned", "its Service is not there yet"),
                ],
                addresses: Vec::new(),
                listeners: Vec::new(),
                listener_sets: 0,
            },
        };
        let findings = Arc::new(Findings::new(vec![desired("home"), desired("other")], Vec::new()));
        assert!(Arc::ptr_eq(&findings, &with(Arc::clone(&findings), &Refusals::new())));
        let refusals = [("gone", "no"), ("home", "exceeded quota")].map(|(name, why)| (object(name), why.to_owned()));
        let told = with(findings, &refusals.into());
        let message = |name: &str| match &told.of(&object(name)).expect("it is there").status {
            Status::Gateway { conditions, .. } => conditions.iter().map(|it| it.message.clone()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(message("home"), ["", "has a Service that cannot be as it should: exceeded quota"]);
        assert_eq!(message("other"), ["", "its Service is not there yet"]);
        let problems: Vec<String> = told.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, ["Gateway shop/home: has a Service that cannot be as it should: exceeded quota"]);
    }
}
