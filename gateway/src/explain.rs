//! Why a name does or does not resolve. Pure; the admin port and `gateway explain` ask.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use k8s::{
    model::{ClaimedAnswer, HostPattern, NameClaim},
    telemetry,
};
use serde::Serialize;

use crate::{
    reference::{self, Outcome, Policy, Transport},
    view::Views,
    zone::{Claim, Lookup, Node, Part, WireName, Zone, Zones, kind, labels},
};

/// What is answered, and why.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) name: String,
    /// None where it was asked for addresses of either kind.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// `NOERROR`, `NODATA`, `NXDOMAIN`, `REFUSED`, or `asked of …` where the upstream decides.
    pub(crate) answer: String,
    /// The answer's records, as a zone file has them.
    pub(crate) records: Vec<String>,
    pub(crate) cached_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// Who answers in the name's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wildcard: Option<String>,
    /// The view that the client sees; None for the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<String>,
    pub(crate) because: Vec<String>,
    /// Objects that name it and take no effect, with the reason.
    pub(crate) withheld: Vec<String>,
    /// Wildcards that one would expect to cover the name, and that DNS does not let.
    pub(crate) shadowed: Vec<String>,
    pub(crate) serial: Option<u32>,
    /// When anything in any zone has changed last (RFC 3339).
    pub(crate) changed: Option<String>,
}

/// Who asks for what.
pub(crate) struct Question<'a> {
    pub(crate) name: &'a str,
    /// None asks for addresses of both kinds.
    pub(crate) kind: Option<RecordType>,
    /// None is a client that no view names.
    pub(crate) client: Option<IpAddr>,
}

impl<'a> Question<'a> {
    /// From `name`, `type` and `client` as people write them. The error says what is wrong with them.
    pub(crate) fn parse(name: &'a str, kind: Option<&str>, client: Option<&str>) -> Result<Self, String> {
        if Name::from_ascii(absolute(name)).is_err() {
            return Err(format!("{name:?} is no domain name"));
        }
        let kind = kind.map(|text| {
            let known = text.to_ascii_uppercase().parse::<RecordType>().ok();
            known.ok_or_else(|| format!("{text:?} is no type of record, such as A, AAAA, HTTPS or TXT"))
        });
        let client = client.map(|text| text.parse().map_err(|_| format!("{text:?} is no IP address")));
        Ok(Self { name, kind: kind.transpose()?, client: client.transpose()? })
    }
}

/// `views` is None before the first complete list of objects.
pub(crate) fn explain(views: Option<&Views>, policy: &Policy, question: &Question<'_>) -> Explanation {
    let mut explained = Explanation {
        name: question.name.to_owned(),
        kind: question.kind.map(|kind| kind.to_string()),
        ..Explanation::default()
    };
    let client = question.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    for kind in question.kind.map_or_else(|| vec![RecordType::A, RecordType::AAAA], |kind| vec![kind]) {
        ask(views, policy, (question.name, kind, client), &mut explained);
    }
    let Some(views) = views else {
        explained.because.push("not ready: waiting for the first complete list of objects".to_owned());
        return explained;
    };
    let (_, view) = views.of(client);
    explained.view = Some(view.name.clone()).filter(|name| !name.is_empty());
    let name = WireName::from_text(question.name);
    because(&view.zones, &name, question.kind, &mut explained);
    explained.withheld = withheld(views.claims(), &name);
    if explained.answer != "NOERROR" {
        explained.shadowed = shadowed(views.claims(), &name);
    }
    // A serial is the time of the last change, so that a person sees how old this is.
    explained.serial = Some(views.serial());
    explained.changed = Some(telemetry::rfc3339(UNIX_EPOCH + Duration::from_secs(views.serial().into())));
    explained
}

/// Puts the question to [`reference`], so that what is explained is what is answered.
fn ask(
    views: Option<&Views>,
    policy: &Policy,
    (name, kind, client): (&str, RecordType, IpAddr),
    explained: &mut Explanation,
) {
    let Ok(name) = Name::from_ascii(absolute(name)) else { return };
    let mut query = Message::new(0, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, kind));
    let Ok(bytes) = query.to_vec() else { return };
    let answer = match reference::respond(views, policy, &bytes, client, Transport::Tcp) {
        Outcome::Answer(answer) => Message::from_vec(&answer.bytes).ok(),
        Outcome::Dropped => None,
        Outcome::Forward(_) => {
            "FORWARDED".clone_into(&mut explained.answer);
            return;
        }
    };
    let Some(answer) = answer else { return };
    explained.records.extend(answer.answers.iter().map(as_in_a_zone_file));
    let ttl = answer.answers.iter().chain(&answer.authorities).map(|record| record.ttl).min();
    let said = match answer.metadata.response_code {
        ResponseCode::NoError if answer.answers.is_empty() => "NODATA",
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        _ => "an error",
    };
    // One kind of address is enough to reach it.
    if explained.answer.is_empty() || said == "NOERROR" {
        said.clone_into(&mut explained.answer);
        explained.cached_seconds = ttl;
    }
}

/// hickory runs the strings of text together, and puts commas between parameters.
fn as_in_a_zone_file(record: &Record) -> String {
    let data = match &record.data {
        RData::TXT(text) => {
            let strings = text.txt_data.iter().map(|it| format!("{:?}", String::from_utf8_lossy(it)));
            strings.collect::<Vec<_>>().join(" ")
        }
        RData::HTTPS(_) => record.data.to_string().trim_end_matches(',').replace(", ", " "),
        other => other.to_string(),
    };
    format!("{} {} {} {} {data}", record.name, record.ttl, record.dns_class, record.record_type())
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn because(zones: &Zones, name: &WireName, kind: Option<RecordType>, explained: &mut Explanation) {
    let reasons = &mut explained.because;
    match zones.lookup(name.as_bytes()) {
        Lookup::OutOfZone | Lookup::Denied { .. } if explained.answer == "FORWARDED" => {
            reasons.push("no zone holds this name: dns.forwardTo is asked".to_owned());
        }
        Lookup::OutOfZone => {
            let known: Vec<String> = zones.iter().map(|zone| zone.apex.to_string()).collect();
            reasons.push(format!("no zone holds this name; the zones are {}", known.join(", ")));
        }
        Lookup::Denied { .. } => reasons.push(
            "no zone holds this name; single labels and reverse names of private addresses are denied rather than refused"
                .to_owned(),
        ),
        Lookup::Missing { zone } => {
            explained.zone = Some(zone.apex.to_string());
            reasons.push(match zone.acme_challenge_target(name.as_bytes()) {
                Some(target) => format!("acmeChallenge of the zone leads _acme-challenge names elsewhere, here to {target}"),
                None => "no object asks for this name, and no wildcard covers it".to_owned(),
            });
        }
        Lookup::Found { zone, node, wildcard } => {
            explained.zone = Some(zone.apex.to_string());
            if wildcard {
                explained.wildcard = wildcard_over(zone, name).map(|name| name.to_string());
            }
            if node.claims.is_empty() {
                reasons.push(without_claim(zone, name));
            }
            reasons.extend(node.claims.iter().map(|claim| of_claim(claim, &node.claims)));
            reasons.extend(other_types(node, kind));
        }
    }
}

fn wildcard_over(zone: &Zone, name: &WireName) -> Option<WireName> {
    let all: Vec<&[u8]> = labels(name.as_bytes()).collect();
    let wildcards = (1..all.len())
        .map(|skip| WireName::from_labels([b"*".as_slice()].into_iter().chain(all[skip..].iter().copied())));
    wildcards.into_iter().find(|wildcard| zone.node(wildcard.as_bytes()).is_some())
}

fn without_claim(zone: &Zone, name: &WireName) -> String {
    if *name == zone.apex {
        return "the apex has no address: no object asks for it".to_owned();
    }
    if *name == zone.name_server {
        return "the zone's name server has no address: dns.addresses names none".to_owned();
    }
    let mut below: Vec<&WireName> = zone
        .nodes()
        .filter(|(other, node)| !node.claims.is_empty() && name.is_at_or_above(other.as_bytes()))
        .map(|(other, _)| other)
        .collect();
    below.sort();
    let example = below.first().map(|name| format!(", such as {name}")).unwrap_or_default();
    format!("no object asks for this name; it exists because names below it do{example}")
}

fn of_claim(claim: &Claim, all: &[Claim]) -> String {
    let Claim { object, entry_point, part } = claim;
    let place = entry_point.as_ref().map(|name| format!(" on entry point {name}")).unwrap_or_default();
    let winner = all.iter().find(|claim| claim.part == Part::Answers);
    match (part, winner) {
        (Part::Answers, _) => format!("{object}{place} gives the answer"),
        (Part::NoAddress, _) => format!("{object} asks for this name, and has no address{place}"),
        (Part::Outranked, Some(winner)) => {
            format!("{object}{place} is not answered: {} comes before it", winner.object)
        }
        (Part::Outranked, None) => format!("{object}{place} is not answered"),
    }
}

/// For a question that finds nothing at a name that has something.
fn other_types(node: &Node, kind: Option<RecordType>) -> Option<String> {
    let asked = u16::from(kind?);
    let is_answered = asked == kind::ANY || node.rrset(asked).is_some() || node.rrset(kind::CNAME).is_some();
    if is_answered || node.rrsets.is_empty() {
        return None;
    }
    let types: Vec<String> = node.rrsets.iter().map(|rrset| RecordType::from(rrset.kind).to_string()).collect();
    Some(format!("the name has {}, and nothing of type {}", types.join(" and "), RecordType::from(asked)))
}

fn withheld(claims: &[NameClaim], name: &WireName) -> Vec<String> {
    let of_claim = |claim: &NameClaim| {
        let ClaimedAnswer::Withheld(why) = &claim.answer else { return None };
        let covers = WireName::from(&claim.name) == *name || is_wildcard_over(&claim.name, name);
        covers.then(|| format!("{} names {}: {why}", claim.object, claim.name))
    };
    claims.iter().filter_map(of_claim).collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_wildcard_over(pattern: &HostPattern, name: &WireName) -> bool {
    match pattern {
        HostPattern::Wildcard { parent, .. } => {
            let parent = WireName::from(parent);
            parent != *name && parent.is_at_or_above(name.as_bytes())
        }
        HostPattern::Exact(_) => false,
    }
}

fn shadowed(claims: &[NameClaim], name: &WireName) -> Vec<String> {
    let of_claim = |claim: &NameClaim| {
        let is_answered = !matches!(claim.answer, ClaimedAnswer::Withheld(_));
        (is_answered && is_wildcard_over(&claim.name, name)).then(|| {
            format!(
                "{} of {} does not answer here: this name, or one above it, exists (RFC 4592)",
                claim.name, claim.object
            )
        })
    };
    claims.iter().filter_map(of_claim).collect::<BTreeSet<_>>().into_iter().collect()
}

/// For people: one statement a line.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("address");
        write!(f, "{} {kind}: {}", self.name, self.answer)?;
        if let Some(seconds) = self.cached_seconds {
            write!(f, ", cached for {seconds} s")?;
        }
        for record in &self.records {
            write!(f, "\n  {record}")?;
        }
        let lines = [("zone", &self.zone), ("view", &self.view), ("wildcard", &self.wildcard)];
        for (key, value) in lines {
            if let Some(value) = value {
                write!(f, "\n{key}: {value}")?;
            }
        }
        for (key, values) in [("because", &self.because), ("withheld", &self.withheld), ("shadowed", &self.shadowed)] {
            for value in values {
                write!(f, "\n{key}: {value}")?;
            }
        }
        if let (Some(serial), Some(changed)) = (self.serial, &self.changed) {
            write!(f, "\nzones last changed {changed} (serial {serial})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
