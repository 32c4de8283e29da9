//! Records that DNSEndpoints of external-dns ask for.

use std::{collections::HashSet, sync::Arc};

use super::{RECORDS, Work, withheld};
use crate::{
    external_dns::Endpoint,
    model::{ClaimedAnswer, HostPattern, Labels, ObjectName, RecordData},
    problem::Reason,
    translate::{filter::invalid, object_name},
};

/// Names below it are a tunnel's, and lead to Cloudflare.
const TUNNELS: &str = ".cfargotunnel.com";

pub(super) fn claim(work: &mut Work<'_>) {
    for object in &work.snapshot.dns_endpoints {
        let source = object_name("DNSEndpoint", &object.metadata);
        let left_out: Option<Arc<str>> = work.left_out(&object.metadata).map(Into::into);
        // Heard once a name is answered.
        let mut ttl: Option<Option<u32>> = None;
        for endpoint in &object.spec.endpoints {
            let name = match HostPattern::parse(&endpoint.dns_name, Labels::OneOrMore) {
                Ok(name) => name,
                Err(_) if left_out.is_some() => continue,
                Err(error) => {
                    work.problem(&source, Reason::InvalidHost { text: endpoint.dns_name.clone(), error });
                    continue;
                }
            };
            match &left_out {
                Some(why) => work.claim(&name, &source, None, ClaimedAnswer::Withheld(Arc::clone(why))),
                None if work.in_a_zone(&name) => {
                    let own = record_ttl(work, &source, endpoint);
                    let answer = match records(work, &source, &name, endpoint) {
                        Ok(data) => ClaimedAnswer::Records(data),
                        Err(why) => withheld(why),
                    };
                    let ttl = *ttl.get_or_insert_with(|| work.ttl(&source, &object.metadata));
                    work.claim(&name, &source, own.or(ttl), answer);
                }
                // What is wrong with it is the business of the DNS that has the zone.
                None => work.claim_outside(&name, &source),
            }
        }
    }
}

/// External-dns takes 0 for "not set".
fn record_ttl(work: &mut Work<'_>, source: &ObjectName, endpoint: &Endpoint) -> Option<u32> {
    let seconds = endpoint.record_ttl.filter(|seconds| *seconds != 0)?;
    let ttl = u32::try_from(seconds).ok().filter(|seconds| *seconds <= 86_400);
    if ttl.is_none() {
        let field = format!("endpoint {} recordTTL", endpoint.dns_name);
        work.problem(source, invalid(&field, &seconds.to_string(), "seconds from 0 to 86400"));
    }
    ttl
}

/// Those of the targets that are right, or why there is no answer.
fn records(
    work: &mut Work<'_>,
    source: &ObjectName,
    name: &HostPattern,
    endpoint: &Endpoint,
) -> Result<Vec<RecordData>, String> {
    let kind = endpoint.record_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("A");
    let of = format!("endpoint {name}");
    let refuse = |work: &mut Work<'_>, reason: Reason| {
        let why = reason.to_string();
        work.problem(source, reason);
        Err(why)
    };
    if !RecordData::KINDS.contains(&kind) {
        let expected = format!("one of {}", RecordData::KINDS.join(", "));
        return refuse(work, invalid(&format!("{of} recordType"), kind, &expected));
    }
    if kind == "CNAME" && work.config.zones.iter().any(|zone| zone.needs_addresses(name)) {
        let expected = "A or AAAA, as a zone and its name server can have no CNAME";
        return refuse(work, invalid(&format!("{of} recordType"), kind, expected));
    }
    if endpoint.targets.is_empty() {
        return refuse(work, invalid(&format!("{of} targets"), "", "at least one target"));
    }
    let targets = endpoint.targets.get(..RECORDS).unwrap_or(&endpoint.targets);
    if targets.len() < endpoint.targets.len() {
        work.too_many(source, name, kind);
    }
    let (data, refusal) = parse(work, source, &format!("{of} {kind} target"), kind, targets);
    if data.is_empty() {
        return Err(refusal.unwrap_or_default());
    }
    if let [RecordData::Cname(target)] = &*data {
        if target.as_str().ends_with(TUNNELS) {
            return Err("the tunnel's name is for the Internet; inside, the entry point answers".to_owned());
        }
        if !work.in_a_zone(&HostPattern::Exact(target.clone())) {
            work.problem(source, Reason::TargetInNoZone { name: name.to_string(), target: target.to_string() });
        }
    }
    work.allowed(source, data).map_err(|reason| reason.to_string())
}

/// What is right, once each; and the first thing that is wrong.
fn parse(
    work: &mut Work<'_>,
    source: &ObjectName,
    field: &str,
    kind: &str,
    targets: &[String],
) -> (Vec<RecordData>, Option<String>) {
    let mut data: Vec<RecordData> = Vec::new();
    let mut seen: HashSet<RecordData> = HashSet::new();
    let mut refusal = None;
    for target in targets {
        let expected = match RecordData::parse(kind, target) {
            Ok(record) if seen.contains(&record) => continue,
            Ok(RecordData::Cname(_)) if !data.is_empty() => "no second one, as a name has one CNAME".to_owned(),
            Ok(record) => {
                seen.insert(record.clone());
                data.push(record);
                continue;
            }
            Err(expected) => expected,
        };
        let reason = invalid(field, target, &expected);
        refusal.get_or_insert_with(|| reason.to_string());
        work.problem(source, reason);
    }
    (data, refusal)
}
