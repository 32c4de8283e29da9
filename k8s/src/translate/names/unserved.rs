//! Hosts that Ingresses and routes name, and that no entry point serves: why.

use std::collections::{HashMap, HashSet};

use super::{
    Work,
    asker::{Asker, By},
    withheld,
};
use crate::{
    gateway_api::{Gateway, ParentReference},
    model::{HostPattern, ObjectName},
    problem::Reason,
    translate::{
        attachment::{gateway_of, listener_set_of},
        gateway, ingress_class, key_of,
    },
};

/// What a reason is looked up in.
struct Known<'a> {
    gateways: HashMap<(&'a str, &'a str), &'a Gateway>,
    /// Translation's own words for an object and its target.
    not_attached: HashMap<(&'a ObjectName, &'a str), &'a Reason>,
}

pub(super) fn claim(work: &mut Work<'_>, askers: &[Asker<'_>]) {
    let (snapshot, translation) = (work.snapshot, work.translation);
    let attachments = translation
        .model
        .entry_points
        .iter()
        .flat_map(|entry_point| &entry_point.listeners)
        .flat_map(|listener| &listener.routes);
    let served: HashSet<(&ObjectName, &HostPattern)> = attachments
        .flat_map(|attachment| attachment.hostnames.iter().map(|host| (&attachment.route.source, host)))
        .collect();
    let not_attached = translation.problems.iter().filter_map(|problem| match &problem.reason {
        Reason::NotAttached { target, .. } => Some(((&problem.object, target.as_str()), &problem.reason)),
        _ => None,
    });
    let known = Known {
        gateways: snapshot.gateways.iter().map(|gateway| (key_of(&gateway.metadata), &**gateway)).collect(),
        not_attached: not_attached.collect(),
    };
    for asker in askers {
        let unserved: Vec<&HostPattern> =
            asker.hosts.iter().filter(|host| !served.contains(&(&asker.source, host))).collect();
        if unserved.is_empty() {
            continue;
        }
        let answer = withheld(match asker.by {
            By::Class(ingress) => by_class(ingress_class::class_of(work.snapshot, work.config, ingress)),
            By::Parents(parents) => by_parents(work, &known, &asker.source, parents),
        });
        for host in unserved {
            work.claim(host, &asker.source, None, answer.clone());
        }
    }
}

fn by_class(class: ingress_class::Class<'_>) -> String {
    use ingress_class::Class;
    match class {
        Class::Ours(_) => "no entry point serves it".to_owned(),
        Class::Foreign { name, controller } => {
            format!("its IngressClass {name} belongs to another controller, {controller}")
        }
        Class::Missing(name) => format!("its IngressClass {name} does not exist"),
        Class::None(ours) if ours.is_empty() => "it names no IngressClass, and this controller has none".to_owned(),
        Class::None(ours) => format!("it {}", Reason::NoIngressClass { classes: ours.join(" or ") }),
    }
}

fn by_parents(work: &Work<'_>, known: &Known<'_>, source: &ObjectName, parents: &[ParentReference]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for parent in parents {
        let reason = by_parent(work, known, source, parent);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() { "it names no Gateway in spec.parentRefs".to_owned() } else { reasons.join("; ") }
}

fn by_parent(work: &Work<'_>, known: &Known<'_>, source: &ObjectName, parent: &ParentReference) -> String {
    use gateway::Class;
    if let Some((namespace, name)) = listener_set_of(parent, source) {
        let target = format!("ListenerSet {namespace}/{name}");
        return match known.not_attached.get(&(source, target.as_str())) {
            Some(reason) => format!("it {reason}"),
            None => format!("its {target} does not exist, or belongs to no Gateway of this controller"),
        };
    }
    let Some((namespace, name)) = gateway_of(parent, source) else {
        let kind = parent.kind.as_deref().unwrap_or_default();
        return format!("its parent {kind} {} is no Gateway and no ListenerSet", parent.name);
    };
    let target = format!("Gateway {namespace}/{name}");
    let Some(gateway) = known.gateways.get(&(namespace, name)) else {
        return format!("its {target} does not exist");
    };
    let class = &gateway.spec.gateway_class_name;
    match gateway::class_of(work.snapshot, work.config, gateway) {
        Class::Foreign { controller } => {
            format!("its {target} is of class {class}, which belongs to another controller, {controller}")
        }
        Class::Missing => format!("its {target} is of class {class}, which does not exist"),
        Class::Ours => match known.not_attached.get(&(source, target.as_str())) {
            Some(reason) => format!("it {reason}"),
            None => format!("no listener of {target} that takes it has a hostname that meets this one"),
        },
    }
}
