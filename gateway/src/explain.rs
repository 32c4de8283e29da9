//! Why a name does or does not resolve. Pure; the admin port and `gateway explain` ask.

mod because;

use std::{
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
    problem::Problem,
    telemetry,
};
use serde::Serialize;

use self::because::because;
use crate::{
    reference::{self, Outcome, Policy, Transport},
    view::{View, Views},
    zone::{Lookup, WireName, Zones, name_of_address},
};

/// What is answered, and why.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) name: String,
    /// None where it was asked for addresses of either kind.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// `NOERROR`, `NODATA` (also where aliases end in nothing), `NXDOMAIN`, `REFUSED`, `SERVFAIL`, `DROPPED`, or
    /// `FORWARDED` where the upstream decides.
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
            type_named(&text.to_ascii_uppercase())
                .ok_or_else(|| format!("{text:?} is no type of record, such as A, AAAA, HTTPS or TXT"))
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
        kind: question.kind.map(type_name),
        objects: known.objects.map(as_of),
        ..Explanation::default()
    };
    let client = question.client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.to_canonical());
    let mut in_vain = None;
    for kind in kinds(question) {
        in_vain = ask(known.views, known.policy, (&question.name, kind, client), &mut explained).or(in_vain);
    }
    explained.because.extend(in_vain.as_ref().map(|in_vain| in_vain.why.clone()));
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
    if matches!(question.kind, Some(RecordType::AXFR | RecordType::IXFR)) {
        let instead = "`gateway records --format zone` writes what a zone has";
        explained.because.push(format!("transfers of zones (AXFR, IXFR) are refused; {instead}"));
    } else {
        because(known, (views, view), question, in_vain.as_ref(), &mut explained);
    }
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

/// `text` in capitals; `TYPE65` where a type has no name, or none that is known (RFC 3597 section 5).
fn type_named(text: &str) -> Option<RecordType> {
    let number = text.strip_prefix("TYPE").filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(number) => number.parse::<u16>().ok().map(RecordType::from),
        // hickory writes it, and does not read it.
        None if text == "IXFR" => Some(RecordType::IXFR),
        None => text.parse().ok(),
    }
}

fn type_name(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(_) | RecordType::ZERO => format!("TYPE{}", u16::from(kind)),
        known => known.to_string(),
    }
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
        node.addresses().flat_map(|rrset| rrset.data.iter().map(ToString::to_string)).collect()
    };
    let (ours, theirs) = (addresses(here), addresses(there));
    let view = if there.name.is_empty() { "the default view".to_owned() } else { format!("view {}", there.name) };
    (ours != theirs).then(|| match &*theirs {
        [] => format!("{view} has no address"),
        some => format!("{view} has {}", some.join(" and ")),
    })
}

/// Why clients get nothing, though there is something.
struct InVain {
    why: String,
    /// Names that the answer has looked at.
    n_names: usize,
}

/// Puts the question to [`reference`], so that what is explained is what is answered.
fn ask(
    views: Option<&Views>,
    policy: &Policy,
    (name, kind, client): (&str, RecordType, IpAddr),
    explained: &mut Explanation,
) -> Option<InVain> {
    let name = Name::from_ascii(absolute(name)).ok()?;
    let mut query = Message::new(0, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, kind));
    let bytes = query.to_vec().ok()?;
    let answer = match reference::respond(views, policy, &bytes, client, Transport::Tcp) {
        Outcome::Answer(answer) => Message::from_vec(&answer.bytes).ok()?,
        Outcome::Dropped => return None,
        Outcome::Forward(_) => {
            "FORWARDED".clone_into(&mut explained.answer);
            return None;
        }
    };
    let in_vain = views.and_then(|views| in_vain(&views.of(client).1.zones, &answer, kind));
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
        ResponseCode::NoError if is_denied || in_vain.is_some() => "NODATA",
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::ServFail => "SERVFAIL",
        _ => "an error",
    };
    // One kind of address is enough to reach it.
    if explained.answer.is_empty() || (said == "NOERROR" && explained.answer != said) {
        said.clone_into(&mut explained.answer);
        explained.cached_seconds = ttl;
    }
    in_vain
}

fn in_vain(zones: &Zones, answer: &Message, kind: RecordType) -> Option<InVain> {
    if answer.metadata.response_code == ResponseCode::ServFail {
        let why = format!(
            "the {} records do not fit in any message (64 KiB): clients get an error (SERVFAIL) until there are fewer",
            type_name(kind)
        );
        return Some(InVain { why, n_names: usize::MAX });
    }
    let is_alias_asked = matches!(kind, RecordType::CNAME | RecordType::ANY);
    let is_only_aliases = answer.answers.iter().all(|record| record.record_type() == RecordType::CNAME);
    if is_alias_asked || !is_only_aliases || !answer.authorities.is_empty() {
        return None;
    }
    let RData::CNAME(last) = &answer.answers.last()?.data else { return None };
    let n_names = answer.answers.len();
    let target = WireName::from_labels(last.0.iter());
    let nothing = match kind {
        RecordType::A | RecordType::AAAA => "no address".to_owned(),
        other => format!("nothing of type {}", type_name(other)),
    };
    let why = if answer.answers.iter().any(|record| record.name == last.0) {
        format!("aliases lead in a circle, back to {target}: clients get {nothing}")
    } else if matches!(zones.lookup(target.as_bytes()), Lookup::Found { .. } | Lookup::Missing { .. }) {
        format!("{n_names} aliases lead on to {target}, and no answer follows more: clients get {nothing}")
    } else {
        // Whoever asked goes on from there.
        return None;
    };
    Some(InVain { why, n_names })
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
