//! Every name that objects ask DNS for, and what becomes of it. Pure and total, as translation is.

mod annotation;
mod asker;
mod dns_endpoint;
mod entry_point;
mod service;
mod unserved;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::Translation;
use crate::{
    config::Config,
    model::{ClaimedAnswer, HostPattern, Labels, NameClaim, ObjectName, RecordData},
    problem::{Problem, Reason},
    snapshot::Snapshot,
};

/// What DNS is asked for, and what is wrong with how it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// In the order of precedence: the configuration's own records, entry points in the model's order, Services,
    /// DNSEndpoints, and last the hosts that are served nowhere. Of one kind the older object comes first.
    pub claims: Vec<NameClaim>,
    /// Those of `translate` are not among them. Sorted, without duplicates.
    pub problems: Vec<Problem>,
}

/// Never fails: what cannot be answered is withheld with its reason, and a problem where somebody made a mistake.
/// `translation` is that of the same snapshot and configuration. No status of an Ingress or a Gateway is read: whoever
/// may write one could lead a name anywhere.
pub fn names(snapshot: &Snapshot, translation: &Translation, config: &Config) -> Names {
    let mut work = Work::new(snapshot, translation, config);
    for record in &config.dns.records {
        let object = ObjectName::new("Configuration", "", "dns.records");
        work.claim(&record.name, &object, record.ttl, ClaimedAnswer::Records(record.data.clone()));
    }
    let askers = asker::askers(snapshot);
    entry_point::claim(&mut work, &askers);
    service::claim(&mut work);
    dns_endpoint::claim(&mut work);
    unserved::claim(&mut work, &askers);
    let Work { claims, mut problems, .. } = work;
    problems.sort();
    problems.dedup();
    Names { claims, problems }
}

/// What every source of names reads, and what they add to.
struct Work<'a> {
    snapshot: &'a Snapshot,
    translation: &'a Translation,
    config: &'a Config,
    /// Where clients reach the router.
    doors: HashSet<IpAddr>,
    claims: Vec<NameClaim>,
    /// Where in `claims` an object has asked for a name before.
    places: HashMap<(HostPattern, ObjectName), Vec<usize>>,
    problems: Vec<Problem>,
}

impl<'a> Work<'a> {
    fn new(snapshot: &'a Snapshot, translation: &'a Translation, config: &'a Config) -> Self {
        let doors = translation.model.entry_points.iter().flat_map(|entry| entry.addresses.iter().copied()).collect();
        Self { snapshot, translation, config, doors, claims: Vec::new(), places: HashMap::new(), problems: Vec::new() }
    }

    /// Adds a claim, or adds to the one that the object has made for the name already.
    fn claim(&mut self, name: &HostPattern, object: &ObjectName, ttl: Option<u32>, answer: ClaimedAnswer) {
        let name = as_in_dns(name);
        let answer = if self.in_a_zone(&name) { answer } else { withheld("lies in no zone of the configuration") };
        let places = self.places.entry((name.clone(), object.clone())).or_default();
        for place in &*places {
            let Some(known) = self.claims.get_mut(*place) else { continue };
            match (&mut known.answer, &answer) {
                (ClaimedAnswer::EntryPoint { name, .. }, ClaimedAnswer::EntryPoint { name: other, .. })
                    if name == other =>
                {
                    return;
                }
                (ClaimedAnswer::Records(all), ClaimedAnswer::Records(more))
                    if known.ttl == ttl && !all.iter().chain(more).any(|data| matches!(data, RecordData::Cname(_))) =>
                {
                    all.extend(more.iter().filter(|data| !all.contains(data)).cloned().collect::<Vec<_>>());
                    return;
                }
                (known, answer) if known == answer => return,
                _ => {}
            }
        }
        places.push(self.claims.len());
        self.claims.push(NameClaim { name, object: object.clone(), ttl, answer });
    }

    fn problem(&mut self, object: &ObjectName, reason: Reason) {
        self.problems.push(Problem::new(object, reason));
    }

    fn in_a_zone(&self, name: &HostPattern) -> bool {
        self.config.zones.iter().any(|zone| name.is_within(&zone.name))
    }

    /// Whether an object may have this address answered.
    fn may_answer(&self, address: IpAddr) -> bool {
        self.doors.contains(&address)
            || self.config.dns.allowed_addresses.iter().any(|network| network.contains(&address))
    }

    /// The data without addresses that nobody allows; each of those is a problem. The error is the last one.
    fn allowed(&mut self, object: &ObjectName, data: Vec<RecordData>) -> Result<Vec<RecordData>, Reason> {
        let mut refusal = None;
        let mut allowed = Vec::new();
        for record in data {
            let address = match &record {
                RecordData::A(v4) => Some(IpAddr::from(*v4)),
                RecordData::Aaaa(v6) => Some(IpAddr::from(*v6)),
                RecordData::Cname(_)
                | RecordData::Mx { .. }
                | RecordData::Ptr(_)
                | RecordData::Srv { .. }
                | RecordData::Txt(_) => None,
            };
            match address.filter(|address| !self.may_answer(*address)) {
                None => allowed.push(record),
                Some(address) => {
                    let reason = Reason::AddressNotAllowed { address };
                    self.problem(object, reason.clone());
                    refusal = Some(reason);
                }
            }
        }
        match refusal {
            Some(reason) if allowed.is_empty() => Err(reason),
            _ => Ok(allowed),
        }
    }
}

/// In DNS a star stands for one label or more, whatever it stands for at the router.
fn as_in_dns(name: &HostPattern) -> HostPattern {
    match name {
        HostPattern::Exact(name) => HostPattern::Exact(name.clone()),
        HostPattern::Wildcard { parent, .. } => {
            HostPattern::Wildcard { parent: parent.clone(), labels: Labels::OneOrMore }
        }
    }
}

fn withheld(why: impl AsRef<str>) -> ClaimedAnswer {
    ClaimedAnswer::Withheld(why.as_ref().into())
}
