//! Names of Services that have an address of their own, by their annotations.

use std::{collections::HashSet, net::IpAddr};

use k8s_openapi::api::core::v1::Service;

use super::{Work, annotation::annotation, withheld};
use crate::{
    model::{ClaimedAnswer, HostPattern, Labels, ObjectName, RecordData},
    problem::Reason,
    translate::{filter::invalid, object_name},
};

/// The first one that says something counts.
pub(super) const HOSTNAME: [&str; 2] = ["coredns.io/hostname", "external-dns.alpha.kubernetes.io/hostname"];
pub(super) const RESOLVE_ENDPOINTS: &str = "k8s-gateway.dns/resolve-endpoints";

pub(super) fn claim(work: &mut Work<'_>) {
    for service in &work.snapshot.services {
        let texts =
            HOSTNAME.iter().find_map(|key| annotation(&service.metadata, key).filter(|it| !it.trim().is_empty()));
        let object = object_name("Service", &service.metadata);
        let Some(texts) = texts else {
            claim_automatic(work, &object, service);
            continue;
        };
        let left_out = work.left_out(&service.metadata);
        let names = if left_out.is_some() { right_names(work, texts) } else { names(work, &object, texts) };
        // Whatever is wrong with names in other people's zones is their business.
        let is_asked = names.iter().any(|name| work.in_a_zone(name));
        let (ttl, answer) = match left_out {
            Some(why) => (None, withheld(why)),
            None if !is_asked => {
                names.iter().for_each(|name| work.claim_outside(name, &object));
                continue;
            }
            None => (work.ttl(&object, &service.metadata), answer(work, &object, service)),
        };
        for name in names {
            work.claim(&name, &object, ttl, answer.clone());
        }
    }
}

/// `name.namespace` of each zone, which k8s_gateway answers for every load balancer, and which nobody has asked for
/// here: every namespace would become a name, and keep wildcards from answering for it.
fn claim_automatic(work: &mut Work<'_>, object: &ObjectName, service: &Service) {
    if !is_load_balancer(service) {
        return;
    }
    let config = work.config;
    for zone in &config.zones {
        let text = format!("{}.{}.{}", object.name, object.namespace, zone.name);
        let Ok(name) = HostPattern::parse(&text, Labels::OneOrMore) else { continue };
        let answer = withheld(format!("only names in its annotation {} are answered: write it there", HOSTNAME[0]));
        work.claim(&name, object, None, answer);
    }
}

fn type_of(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

fn is_load_balancer(service: &Service) -> bool {
    type_of(service) == "LoadBalancer"
}

/// What is no name is a problem.
fn names(work: &mut Work<'_>, object: &ObjectName, texts: &str) -> Vec<HostPattern> {
    let (right, wrong): (Vec<_>, Vec<_>) = parsed(work, texts).into_iter().partition(Result::is_ok);
    for reason in wrong.into_iter().filter_map(Result::err) {
        work.problem(object, reason);
    }
    right.into_iter().flatten().collect()
}

fn right_names(work: &Work<'_>, texts: &str) -> Vec<HostPattern> {
    parsed(work, texts).into_iter().flatten().collect()
}

/// A name without a dot is one in every zone.
fn parsed(work: &Work<'_>, texts: &str) -> Vec<Result<HostPattern, Reason>> {
    let parse = |text: &str| {
        HostPattern::parse(text, Labels::OneOrMore)
            .map_err(|error| Reason::InvalidHost { text: text.to_owned(), error })
    };
    let in_zones = |text: &str| -> Vec<Result<HostPattern, Reason>> {
        match parse(text) {
            Ok(_) if !text.contains('.') => {
                work.config.zones.iter().map(|zone| parse(&format!("{text}.{}", zone.name))).collect()
            }
            parsed => vec![parsed],
        }
    };
    texts.split(',').map(str::trim).filter(|text| !text.is_empty()).flat_map(in_zones).collect()
}

fn answer(work: &mut Work<'_>, object: &ObjectName, service: &Service) -> ClaimedAnswer {
    if annotation(&service.metadata, RESOLVE_ENDPOINTS) == Some("true") {
        return withheld(format!(
            "it asks for the addresses of its pods ({RESOLVE_ENDPOINTS}), which is not supported: remove the annotation, and the address of its load balancer is answered"
        ));
    }
    if !is_load_balancer(service) {
        let kind = type_of(service);
        return withheld(format!("it is of type {kind}, and only one of type LoadBalancer has an address for clients"));
    }
    let addresses = match addresses(work, object, service) {
        Ok(addresses) => addresses,
        Err(why) => return withheld(why),
    };
    match work.allowed(object, addresses) {
        Ok(addresses) => ClaimedAnswer::Records(addresses),
        Err(reason) => withheld(reason.to_string()),
    }
}

/// Addresses that its author names count before those that a load balancer gives.
fn addresses(work: &mut Work<'_>, object: &ObjectName, service: &Service) -> Result<Vec<RecordData>, String> {
    let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten()).map(String::as_str);
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let given = || status.iter().flat_map(|status| status.ingress.iter().flatten());
    let mut texts: Vec<(&str, &str)> = external.map(|text| ("spec.externalIPs", text)).collect();
    if texts.is_empty() {
        let ips = given().filter_map(|ingress| ingress.ip.as_deref()).filter(|text| !text.is_empty());
        texts = ips.map(|text| ("status.loadBalancer.ingress.ip", text)).collect();
    }
    if texts.is_empty() {
        return Err(match given().find_map(|ingress| ingress.hostname.as_deref()) {
            Some(hostname) => format!(
                "its load balancer has given it the name {hostname} and no address: write a CNAME to that name, or the address, into a DNSEndpoint or `dns.records` of the configuration"
            ),
            None => "it has no address yet: no load balancer has given it one".to_owned(),
        });
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for (field, text) in texts {
        match text.parse::<IpAddr>().map(RecordData::from) {
            Ok(data) if seen.contains(&data) => {}
            Ok(data) => {
                seen.insert(data.clone());
                found.push(data);
            }
            Err(_) => work.problem(object, invalid(field, text, "an IP address")),
        }
    }
    if found.is_empty() { Err("none of its addresses is an IP address".to_owned()) } else { Ok(found) }
}
