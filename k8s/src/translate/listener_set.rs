//! ListenerSets: more listeners for a Gateway that takes them.

use std::{ops::Range, sync::Arc};

use super::{
    Work,
    attachment::{self, Door, gateway_of, takes_namespace},
    listener::{Fault, Standing, Taken, judge},
    object_name, version,
};
use crate::{
    gateway_api::ListenerSet,
    model::ObjectName,
    problem::Reason,
    status::{Condition, Desired, Status},
};

/// A ListenerSet that names a Gateway of ours.
pub(super) struct SetOf<'a> {
    set: &'a ListenerSet,
    pub(super) source: Arc<ObjectName>,
    /// Why the Gateway does not take it.
    pub(super) refusal: Option<Fault>,
    /// Of the door's listeners those that are its own.
    pub(super) listeners: Range<usize>,
}

/// Adds the ListenerSets of a Gateway, and the listeners of those that it takes: the oldest first.
pub(super) fn add<'a>(work: &mut Work<'a>, door: &mut Door<'a>, taken: &mut Taken) {
    let snapshot = work.snapshot;
    let from = door.gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    for set in &snapshot.listener_sets {
        let source = object_name("ListenerSet", &set.metadata);
        if gateway_of(&set.spec.parent_ref, &source) != Some((&door.source.namespace, &door.source.name)) {
            continue;
        }
        let source = Arc::new(source);
        let is_taken = takes_namespace(work, from, "None", &door.source.namespace, &source.namespace);
        let refusal = (!is_taken).then(|| {
            let why =
                format!("its spec.allowedListeners does not take ListenerSets from namespace {}", source.namespace);
            work.problem(&source, Reason::NotAttached { target: door.source.to_string(), why: why.clone() });
            Fault::new("NotAllowed", format!("{} does not take it: {why}", door.source))
        });
        let first = door.listeners.len();
        if is_taken {
            for spec in &set.spec.listeners {
                let standing = judge(work, door, &source, spec, &set.spec.listeners, taken);
                door.listeners.push(standing);
            }
        }
        door.claims.add(door.listeners.get(first..).unwrap_or_default());
        door.sets.push(SetOf { set, source, refusal, listeners: first..door.listeners.len() });
    }
}

/// Nobody else tells the author of a ListenerSet that its Gateway is not there.
pub(super) fn report_missing(work: &mut Work<'_>) {
    let snapshot = work.snapshot;
    for set in &snapshot.listener_sets {
        let source = object_name("ListenerSet", &set.metadata);
        attachment::report_missing(work, &set.spec.parent_ref, &source);
    }
}

impl SetOf<'_> {
    pub(super) fn is_accepted(&self, door: &Door<'_>) -> bool {
        self.fault(door).is_none()
    }

    fn own<'d, 'a>(&self, door: &'d Door<'a>) -> &'d [Standing<'a>] {
        door.listeners.get(self.listeners.clone()).unwrap_or_default()
    }

    fn fault(&self, door: &Door<'_>) -> Option<Fault> {
        self.refusal
            .clone()
            .or_else(|| {
                let refusal = Some(&door.infrastructure.accepted).filter(|accepted| !accepted.is_true)?;
                Some(Fault::new("ParentNotAccepted", format!("{}: {}", door.source, refusal.message)))
            })
            .or_else(|| {
                let is_any_valid = self.own(door).iter().any(|it| it.is_valid());
                (!is_any_valid).then(|| Fault::new("ListenersNotValid", "none of its listeners is valid"))
            })
    }

    pub(super) fn status(&self, door: &Door<'_>) -> Desired {
        let own = self.own(door);
        let fault = self.fault(door);
        let accepted = match &fault {
            Some(fault) => Condition::fails("Accepted", fault.reason, &fault.message),
            None if own.iter().all(|it| it.is_valid()) => Condition::holds("Accepted"),
            None => Condition {
                reason: "ListenersNotValid",
                message: "some of its listeners are not valid".to_owned(),
                ..Condition::holds("Accepted")
            },
        };
        let programmed = match fault {
            Some(fault) => Condition::fails("Programmed", fault.reason, fault.message),
            None if own.iter().any(|it| it.is_programmed()) => Condition::holds("Programmed"),
            None => Condition::fails("Programmed", "Pending", "none of its listeners is open"),
        };
        Desired {
            object: (*self.source).clone(),
            version: version(&self.set.metadata),
            status: Status::ListenerSet {
                conditions: vec![accepted, programmed],
                listeners: own.iter().map(|it| it.status()).collect(),
            },
        }
    }
}
