//! Names that the router serves, each at the entry point that serves it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use kube::core::ObjectMeta;

use super::{
    Work,
    annotation::ignoring_label,
    as_in_dns,
    asker::{Asker, By},
    withheld,
};
use crate::{
    gateway_api::Gateway,
    model::{ClaimedAnswer, EntryPoint, HostPattern, ListenerProtocol, ObjectName},
    translate::{
        ingress_class::{Class, class_of},
        key_of,
    },
};

/// What an object says of all of its names.
struct Said<'a> {
    left_out: Option<String>,
    metadata: Option<&'a ObjectMeta>,
    /// None until a name is answered: what is wrong with the lifetime of one that nobody gets is nobody's business.
    ttl: Option<Option<u32>>,
}

pub(super) fn claim(work: &mut Work<'_>, askers: &[Asker<'_>]) {
    let (snapshot, translation) = (work.snapshot, work.translation);
    let askers: HashMap<&ObjectName, &Asker<'_>> = askers.iter().map(|asker| (&asker.source, asker)).collect();
    let gateways: HashMap<(&str, &str), &Gateway> =
        snapshot.gateways.iter().map(|gateway| (key_of(&gateway.metadata), &**gateway)).collect();
    let mut said: HashMap<&ObjectName, Said<'_>> = HashMap::new();
    for (place, entry_point) in translation.model.entry_points.iter().enumerate() {
        // Those of the configuration come first, and may be called what they like.
        let is_gateway = place >= work.config.entry_points.len();
        let gateway = entry_point.name.split_once('/').filter(|_| is_gateway).and_then(|key| gateways.get(&key));
        let closed = gateway.and_then(|gateway| left_out(work, gateway));
        let addresses: Arc<[IpAddr]> = entry_point.addresses.as_slice().into();
        let secure = names_with_https(entry_point);
        for listener in &entry_point.listeners {
            for attachment in &listener.routes {
                let source = &attachment.route.source;
                let said = said.entry(source).or_insert_with(|| hear(work, askers.get(source).copied()));
                for name in listener.effective_hostnames(attachment) {
                    if let Some(why) = said.left_out.as_ref().or(closed.as_ref()) {
                        work.claim(&name, source, None, withheld(why));
                        continue;
                    }
                    if !work.in_a_zone(&name) {
                        work.claim_outside(&name, source);
                        continue;
                    }
                    let answer = ClaimedAnswer::EntryPoint {
                        name: Arc::clone(&entry_point.name),
                        addresses: Arc::clone(&addresses),
                        https: secure.contains(&as_in_dns(&name)),
                    };
                    let ttl = *said.ttl.get_or_insert_with(|| work.ttl(source, said.metadata?));
                    work.claim(&name, source, ttl, answer);
                }
            }
        }
    }
}

fn hear<'a>(work: &Work<'_>, asker: Option<&Asker<'a>>) -> Said<'a> {
    let Some(asker) = asker else { return Said { left_out: None, metadata: None, ttl: None } };
    let left_out = work.left_out(asker.metadata).or_else(|| {
        let classes = work.config.dns.filter.ingress_classes.as_ref()?;
        let By::Class(ingress) = asker.by else { return None };
        let Class::Ours(class) = class_of(work.snapshot, work.config, ingress) else { return None };
        let is_listed = classes.iter().any(|listed| **listed == *class);
        (!is_listed)
            .then(|| format!("its IngressClass {class} is not in dns.filter.ingressClasses of the configuration"))
    });
    Said { left_out, metadata: Some(asker.metadata), ttl: None }
}

/// Why a Gateway's names are withheld, whichever routes they come from.
fn left_out(work: &Work<'_>, gateway: &Gateway) -> Option<String> {
    let (namespace, name) = key_of(&gateway.metadata);
    let class = gateway.spec.gateway_class_name.as_str();
    let classes = work.config.dns.filter.gateway_classes.as_ref();
    let is_listed = classes.is_none_or(|classes| classes.iter().any(|listed| **listed == *class));
    match ignoring_label(&gateway.metadata) {
        Some(label) => Some(format!("its Gateway {namespace}/{name} has the label {label}")),
        None if !is_listed => Some(format!(
            "its Gateway {namespace}/{name} is of class {class}, which is not in dns.filter.gatewayClasses of the configuration"
        )),
        None => None,
    }
}

/// Those that have TLS on the port where browsers expect it.
fn names_with_https(entry_point: &EntryPoint) -> HashSet<HostPattern> {
    entry_point
        .listeners
        .iter()
        .filter(|listener| listener.protocol == ListenerProtocol::Https && listener.port == 443)
        .flat_map(|listener| listener.routes.iter().flat_map(|attachment| listener.effective_hostnames(attachment)))
        .map(|name| as_in_dns(&name))
        .collect()
}
