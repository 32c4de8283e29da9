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
    admin::Objects,
    config::{Config, Strangers},
    model::{ClaimedAnswer, HostPattern, NameClaim},
    problem::{Problem, Reason},
    telemetry,
};
use serde::Serialize;

use crate::{
    reference::{self, ALIASES, Outcome, Policy, Transport},
    view::{View, Views},
    zone::{Claim, Lookup, Node, Part, WireName, Zone, Zones, kind, labels, name_of_address},
};

/// What is answered, and why.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) name: String,
    /// None where it was asked for addresses of either kind.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// `NOERROR`, `NODATA`, `NXDOMAIN`, `REFUSED`, or `FORWARDED` where the upstream decides.
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
    /// Mistakes that may have cost the name: objects that cannot be read, and hosts much like it that are none.
    pub(crate) mistakes: Vec<String>,
    /// Addresses that other views have for it.
    pub(crate) elsewhere: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<u32>,
    /// When anything in any zone has changed last (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objects: Option<AsOf>,
}

/// How old the objects are that all this is made from.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AsOf {
    /// They are the last known state, and nothing has been heard of the cluster since the start.
    pub(crate) restored: bool,
    /// When they changed last, or were written down (RFC 3339).
    pub(crate) time: String,
}

/// Who asks for what.
pub(crate) struct Question {
    /// As it was asked; the name of the address where that was asked.
    pub(crate) name: String,
    /// None asks for addresses of both kinds.
    pub(crate) kind: Option<RecordType>,
    /// None is a client that no view names.
    pub(crate) client: Option<IpAddr>,
}

impl Question {
    /// From `name`, `type` and `client` as people write them. The error says what is wrong with them.
    pub(crate) fn parse(name: &str, kind: Option<&str>, client: Option<&str>) -> Result<Self, String> {
        let kind = kind.map(|text| {
            let known = text.to_ascii_uppercase().parse::<RecordType>().ok();
            known.ok_or_else(|| format!("{text:?} is no type of record, such as A, AAAA, HTTPS or TXT"))
        });
        let client = client.map(|text| text.parse().map_err(|_| format!("{text:?} is no IP address")));
        let (kind, client) = (kind.transpose()?, client.transpose()?);
        if let Ok(address) = name.parse() {
            let kind = kind.or(Some(RecordType::PTR));
            return Ok(Self { name: name_of_address(address).to_string(), kind, client });
        }
        let is_url = name.contains('/');
        if is_url || Name::from_ascii(absolute(name)).is_err() {
            return Err(format!("{name:?} is no domain name, such as grafana.home.example"));
        }
        Ok(Self { name: name.to_owned(), kind, client })
    }
}

/// What there is to explain with.
pub(crate) struct Known<'a> {
    /// None before the first complete list of objects.
    pub(crate) views: Option<&'a Views>,
    pub(crate) config: &'a Config,
    pub(crate) policy: &'a Policy,
    pub(crate) problems: &'a [Problem],
    /// None where they are not followed.
    pub(crate) objects: Option<Objects>,
}

pub(crate) fn explain(known: &Known<'_>, question: &Question) -> Explanation {
    let mut explained = Explanation {
        name: question.name.clone(),
        kind: question.kind.map(|kind| kind.to_string()),
        objects: known.objects.map(as_of),
        ..Explanation::default()
    };
    let client = question.client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.to_canonical());
    for kind in kinds(question) {
        ask(known.views, known.policy, (&question.name, kind, client), &mut explained);
    }
    if question.client.is_some() && !known.config.dns.clients.iter().any(|network| network.contains(&client)) {
        let (answer, gets) = match known.config.dns.strangers {
            Strangers::Drop => ("DROPPED", "gets no answer at all"),
            Strangers::Refuse => ("REFUSED", "is refused"),
        };
        answer.clone_into(&mut explained.answer);
        (explained.records, explained.cached_seconds) = (Vec::new(), None);
        explained.because.push(format!("{client} is not in dns.clients: whoever asks from there {gets}"));
    }
    let Some(views) = known.views else {
        explained.because.push("not ready: waiting for the first complete list of objects".to_owned());
        return explained;
    };
    let (place, view) = views.of(client);
    explained.view = Some(view.name.clone()).filter(|name| !name.is_empty());
    because(known, (views, view), question, &mut explained);
    let others = views.all().iter().enumerate().filter(|(other, _)| *other != place);
    explained.elsewhere = others.filter_map(|(_, other)| differs(&question.name, view, other)).collect();
    if known.objects.is_some() {
        // A serial is the time of the last change, so that a person sees how old this is.
        explained.serial = Some(views.serial());
        explained.changed = Some(telemetry::rfc3339(UNIX_EPOCH + Duration::from_secs(views.serial().into())));
    }
    explained
}

fn kinds(question: &Question) -> Vec<RecordType> {
    question.kind.map_or_else(|| vec![RecordType::A, RecordType::AAAA], |kind| vec![kind])
}

fn as_of(objects: Objects) -> AsOf {
    match objects {
        Objects::Followed { changed } => AsOf { restored: false, time: telemetry::rfc3339(changed) },
        Objects::Restored { as_of } => AsOf { restored: true, time: telemetry::rfc3339(as_of) },
    }
}

/// The addresses of a name in another view, where they are others.
fn differs(name: &str, here: &View, there: &View) -> Option<String> {
    let name = WireName::from_text(name);
    let addresses = |view: &View| -> Vec<String> {
        let Lookup::Found { node, .. } = view.zones.lookup(name.as_bytes()) else { return Vec::new() };
        let rrsets = node.rrsets.iter().filter(|rrset| matches!(rrset.kind, kind::A | kind::AAAA));
        rrsets.flat_map(|rrset| rrset.data.iter().map(ToString::to_string)).collect()
    };
    let (ours, theirs) = (addresses(here), addresses(there));
    let view = if there.name.is_empty() { "the default view".to_owned() } else { format!("view {}", there.name) };
    (ours != theirs).then(|| match &*theirs {
        [] => format!("{view} has no address"),
        some => format!("{view} has {}", some.join(" and ")),
    })
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
    for record in answer.answers.iter().map(as_in_a_zone_file) {
        // An alias is in the answer to either kind of address.
        if !explained.records.contains(&record) {
            explained.records.push(record);
        }
    }
    let ttl = answer.answers.iter().chain(&answer.authorities).map(|record| record.ttl).min();
    // What is denied has an SOA record, at the end of aliases too (RFC 2308 section 2).
    let is_denied = answer.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    let said = match answer.metadata.response_code {
        ResponseCode::NoError if is_denied => "NODATA",
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        _ => "an error",
    };
    // One kind of address is enough to reach it.
    if explained.answer.is_empty() || (said == "NOERROR" && explained.answer != said) {
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

/// Why, for the name and for each that it is an alias of.
fn because(known: &Known<'_>, (views, view): (&Views, &View), question: &Question, explained: &mut Explanation) {
    let mut name = WireName::from_text(&question.name);
    let follows = !matches!(question.kind, Some(RecordType::CNAME | RecordType::ANY));
    for step in 0..=ALIASES {
        let found = view.zones.lookup(name.as_bytes());
        let withheld = withheld(views.claims(), &name);
        let reasons = reasons(known.config, &view.zones, &found, (&name, question.kind), &withheld, explained);
        let of_whom = if step == 0 { String::new() } else { format!("{name}: ") };
        explained.because.extend(reasons.into_iter().map(|reason| format!("{of_whom}{reason}")));
        let (is_unanswered, is_unclaimed) = match found {
            Lookup::Found { node, .. } => {
                let has_it = |kind: RecordType| node.rrset(u16::from(kind)).is_some();
                (node.alias().is_none() && !kinds(question).into_iter().any(has_it), node.is_empty_non_terminal())
            }
            Lookup::Missing { .. } | Lookup::Denied { .. } | Lookup::OutOfZone => (true, true),
        };
        if is_unanswered {
            explained.shadowed.extend(shadowed(views.claims(), &view.zones, &name, &kinds(question)));
        }
        if is_unclaimed && withheld.is_empty() {
            explained.mistakes.extend(mistakes(known.problems, &name));
        }
        explained.withheld.extend(withheld);
        let Lookup::Found { node, .. } = found else { return };
        match node.alias().filter(|_| follows) {
            Some(target) => name = target,
            None => return,
        }
    }
}

fn reasons(
    config: &Config,
    zones: &Zones,
    found: &Lookup<'_>,
    (name, kind): (&WireName, Option<RecordType>),
    withheld: &[String],
    explained: &mut Explanation,
) -> Vec<String> {
    let nobody =
        if withheld.is_empty() { "no object asks for this name" } else { "all that asks for this name is withheld" };
    match found {
        Lookup::OutOfZone | Lookup::Denied { .. } if explained.answer == "FORWARDED" => {
            vec!["no zone holds this name: dns.forwardTo is asked".to_owned()]
        }
        Lookup::OutOfZone => {
            let known: Vec<String> = config.zones.iter().map(|zone| zone.name.to_string()).collect();
            vec![match &*known {
                [] => "no zone holds this name: `zones` in the configuration names none".to_owned(),
                known => format!("no zone holds this name; the zones are {}", known.join(", ")),
            }]
        }
        Lookup::Denied { apex, .. } if apex.is_root() => {
            let example =
                config.zones.first().map(|zone| format!(": ask for {name}.{}", zone.name)).unwrap_or_default();
            vec![format!("a single label lies in no zone{example}")]
        }
        Lookup::Denied { .. } => {
            let why = if config.dns.reverse {
                "no name is answered with an address of its network"
            } else {
                "dns.reverse is off"
            };
            vec![format!("{why}; reverse names of private addresses are denied rather than refused")]
        }
        Lookup::Missing { zone } if zone.configured.is_none() => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            vec!["no name is answered with this address".to_owned()]
        }
        Lookup::Missing { zone } => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            vec![match zone.acme_challenge_target(name.as_bytes()) {
                Some(target) => {
                    format!("acmeChallenge of the zone leads _acme-challenge names elsewhere, here to {target}")
                }
                None => format!("{nobody}, and no wildcard covers it"),
            }]
        }
        Lookup::Found { zone, node, wildcard } => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            if *wildcard && explained.wildcard.is_none() {
                explained.wildcard = wildcard_over(zone, name).map(|name| name.to_string());
            }
            let without = node.is_empty_non_terminal().then(|| without_claim(zones, zone, name, nobody));
            let claims = node.claims.iter().map(|claim| of_claim(claim, node, kind));
            without.into_iter().chain(claims).chain(other_types(node, kind)).collect()
        }
    }
}

fn wildcard_over(zone: &Zone, name: &WireName) -> Option<WireName> {
    let all: Vec<&[u8]> = labels(name.as_bytes()).collect();
    let wildcards = (1..all.len())
        .map(|skip| WireName::from_labels([b"*".as_slice()].into_iter().chain(all[skip..].iter().copied())));
    wildcards.into_iter().find(|wildcard| zone.node(wildcard.as_bytes()).is_some())
}

fn without_claim(zones: &Zones, zone: &Zone, name: &WireName, nobody: &str) -> String {
    if *name == zone.apex {
        return format!("the name of a zone has an address only where an object asks for it: {nobody}");
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
    let inner = zones.iter().find(|inner| inner.apex != zone.apex && name.is_at_or_above(inner.apex.as_bytes()));
    let below = below.first().map(ToString::to_string).or_else(|| inner.map(|zone| zone.apex.to_string()));
    let example = below.map(|name| format!(", such as {name}")).unwrap_or_default();
    format!("{nobody}; it exists because names below it do{example}")
}

/// `asked` is None where it was asked for addresses of either kind.
fn of_claim(claim: &Claim, node: &Node, asked: Option<RecordType>) -> String {
    let who = who(claim);
    let is_address = |kind: &u16| matches!(*kind, kind::A | kind::AAAA | kind::CNAME);
    let is_asked = |kind: &u16| match asked.map(u16::from) {
        None => is_address(kind),
        // The service binding of a name is made of its addresses.
        Some(kind::HTTPS) => is_address(kind),
        Some(asked) => *kind == asked || *kind == kind::CNAME || asked == kind::ANY,
    };
    let is_all = node.rrsets.iter().all(|rrset| rrset.kind == kind::HTTPS || claim.kinds.contains(&rrset.kind));
    match claim.part {
        Part::Answers if is_all && claim.kinds.iter().any(is_asked) => format!("{who} gives the answer"),
        Part::Answers if asked.is_none() && !claim.kinds.iter().any(is_address) => {
            format!("{who} gives {}, and no address", names_of(&claim.kinds))
        }
        Part::Answers => format!("{who} gives {}", names_of(&claim.kinds)),
        Part::NoAddress => {
            let place = claim.entry_point.as_ref().map(|name| format!(" on entry point {name}")).unwrap_or_default();
            format!("{} asks for this name, and has no address{place}", claim.object)
        }
        Part::Outranked => {
            let rival = |other: &&Claim| other.part == Part::Answers && compete(&other.kinds, &claim.kinds);
            match node.claims.iter().find(rival) {
                Some(winner) => format!("{who} is not answered: {} comes before it", self::who(winner)),
                None => format!("{who} is not answered with {}: an alias (CNAME) stands alone", names_of(&claim.kinds)),
            }
        }
    }
}

fn who(claim: &Claim) -> String {
    let place = claim.entry_point.as_ref().map(|name| format!(" on entry point {name}")).unwrap_or_default();
    format!("{}{place}", claim.object)
}

/// Whether of two claims on a name with these types only one can be answered. Addresses of both kinds have one giver.
fn compete(ours: &[u16], theirs: &[u16]) -> bool {
    let is_address = |it: &u16| matches!(*it, kind::A | kind::AAAA);
    ours.iter().any(|it| theirs.contains(it)) || (ours.iter().any(is_address) && theirs.iter().any(is_address))
}

fn names_of(kinds: &[u16]) -> String {
    kinds.iter().map(|it| RecordType::from(*it).to_string()).collect::<Vec<_>>().join(" and ")
}

/// For a question that finds nothing at a name that has something.
fn other_types(node: &Node, kind: Option<RecordType>) -> Option<String> {
    let asked = u16::from(kind?);
    let is_answered = asked == kind::ANY || node.rrset(asked).is_some() || node.rrset(kind::CNAME).is_some();
    if is_answered || node.rrsets.is_empty() {
        return None;
    }
    let types: Vec<u16> = node.rrsets.iter().map(|rrset| rrset.kind).collect();
    Some(format!("the name has {}, and nothing of type {}", names_of(&types), RecordType::from(asked)))
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

/// Wildcards that have what is asked for, and that what exists keeps from answering.
fn shadowed(claims: &[NameClaim], zones: &Zones, name: &WireName, asked: &[RecordType]) -> Vec<String> {
    let Some(zone) = zones.zone(name.as_bytes()) else { return Vec::new() };
    let all: Vec<&[u8]> = labels(name.as_bytes()).collect();
    let mut ending = (0..all.len()).map(|skip| WireName::from_labels(all[skip..].iter().copied()));
    let Some(exists) = ending.find(|name| zone.node(name.as_bytes()).is_some()) else { return Vec::new() };
    let of_claim = |claim: &NameClaim| {
        let is_answered = !matches!(claim.answer, ClaimedAnswer::Withheld(_));
        // Not what is held by a zone inside its own: there it has never been.
        let is_here = zones.zone(WireName::from(&claim.name).as_bytes()).is_some_and(|holder| holder.apex == zone.apex);
        let has_it =
            |node: &Node| node.alias().is_some() || asked.iter().any(|kind| node.rrset(u16::from(*kind)).is_some());
        let is_missed = zone.node(WireName::from(&claim.name).as_bytes()).is_some_and(has_it);
        (is_answered && is_here && is_missed && is_wildcard_over(&claim.name, name)).then(|| {
            format!(
                "{} of {} does not answer here, as {exists} exists: a wildcard covers nothing that exists, nor what is below it (RFC 4592)",
                claim.name, claim.object
            )
        })
    };
    claims.iter().filter_map(of_claim).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What may be why nobody asks for a name.
fn mistakes(problems: &[Problem], name: &WireName) -> Vec<String> {
    let name = name.to_string();
    let first_label = |text: &str| text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_near = |problem: &&Problem| match &problem.reason {
        Reason::Unreadable { .. } => true,
        Reason::InvalidHost { text, .. } => text.is_empty() || first_label(text).contains(&first_label(&name)),
        _ => false,
    };
    problems.iter().filter(is_near).map(ToString::to_string).take(MISTAKES).collect()
}

/// More say nothing of one name.
const MISTAKES: usize = 5;

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
        for (key, values) in [
            ("because", &self.because),
            ("withheld", &self.withheld),
            ("shadowed", &self.shadowed),
            ("a mistake that may be why", &self.mistakes),
            ("elsewhere", &self.elsewhere),
        ] {
            for value in values {
                write!(f, "\n{key}: {value}")?;
            }
        }
        if let (Some(serial), Some(changed)) = (self.serial, &self.changed) {
            write!(f, "\nzones: last changed {changed} (serial {serial})")?;
        }
        match &self.objects {
            Some(AsOf { restored: true, time }) => {
                write!(f, "\nobjects: the last known state, of {time}: the cluster was not reached since the start")
            }
            Some(AsOf { restored: false, time }) => write!(f, "\nobjects: last changed {time}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
