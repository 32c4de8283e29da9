//! Every name that objects ask DNS for, and what becomes of it. Pure and total, as translation is.

mod annotation;
mod asker;
mod dns_endpoint;
mod entry_point;
mod service;
mod unserved;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::Translation;
use crate::{
    config::Config,
    model::{CONFIGURATION, ClaimedAnswer, HostPattern, Labels, NameClaim, ObjectName, RecordData, STATIC_RECORDS},
    problem::{self, Problem, Reason},
    snapshot::Snapshot,
};

/// Every annotation that is read here.
pub(super) const ANNOTATIONS: [&str; 4] =
    [annotation::TTL, service::HOSTNAME[0], service::HOSTNAME[1], service::RESOLVE_ENDPOINTS];

/// What DNS is asked for, and what is wrong with how it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// In the order of precedence: the configuration's own records, entry points in the model's order, Services,
    /// DNSEndpoints, and last the hosts that are served nowhere. Of one kind the older object comes first.
    pub claims: Vec<NameClaim>,
    /// Those of `translate` are not among them. As [`problem::listed`] has them.
    pub problems: Vec<Problem>,
}

/// Never fails: what cannot be answered is withheld with its reason, and a problem where somebody made a mistake.
/// `translation` is that of the same snapshot and configuration. No status of an Ingress or a Gateway is read: whoever
/// may write one could lead a name anywhere.
pub fn names(snapshot: &Snapshot, translation: &Translation, config: &Config) -> Names {
    let mut work = Work::new(snapshot, translation, config);
    for record in &config.dns.records {
        let object = ObjectName::new(CONFIGURATION, "", STATIC_RECORDS);
        work.claim(&record.name, &object, record.ttl, ClaimedAnswer::Records(record.data.clone()));
    }
    let askers = asker::askers(snapshot);
    entry_point::claim(&mut work, &askers);
    service::claim(&mut work);
    dns_endpoint::claim(&mut work);
    unserved::claim(&mut work, &askers);
    let Work { claims, problems, .. } = work;
    Names { claims, problems: problem::listed(problems) }
}

/// No answer has room for more records of a type, and whoever may write an object says how many it has.
const RECORDS: usize = 200;
/// Bytes that the records of a type may take, of all objects that give a name some: a DNS message has 64 KiB, and
/// an alias or two come before them.
const ANSWER: usize = 60 << 10;

/// What an object has asked for a name already: a few things, and there are as many of these as names.
#[derive(Default)]
struct Asked {
    entry_points: BTreeSet<Arc<str>>,
    records: BTreeSet<RecordData>,
    /// How many of `records` are of a type.
    kinds: BTreeMap<&'static str, usize>,
    /// Where in `claims` those of a lifetime are, but for a CNAME, which stands alone.
    places: BTreeMap<Option<u32>, usize>,
    withheld: BTreeSet<Arc<str>>,
}

/// What every source of names reads, and what they add to.
struct Work<'a> {
    snapshot: &'a Snapshot,
    translation: &'a Translation,
    config: &'a Config,
    /// Where clients reach the router.
    doors: HashSet<IpAddr>,
    claims: Vec<NameClaim>,
    asked: HashMap<(HostPattern, ObjectName), Asked>,
    /// Of [`ANSWER`], what is taken.
    taken: HashMap<(HostPattern, &'static str), usize>,
    problems: Vec<Problem>,
}

impl<'a> Work<'a> {
    fn new(snapshot: &'a Snapshot, translation: &'a Translation, config: &'a Config) -> Self {
        let doors = translation.model.entry_points.iter().flat_map(|entry| entry.addresses.iter().copied()).collect();
        Self {
            snapshot,
            translation,
            config,
            doors,
            claims: Vec::new(),
            asked: HashMap::new(),
            taken: HashMap::new(),
            problems: Vec::new(),
        }
    }

    /// Adds a claim, or adds to the one that the object has made for the name already.
    fn claim(&mut self, name: &HostPattern, object: &ObjectName, ttl: Option<u32>, answer: ClaimedAnswer) {
        let name = as_in_dns(name);
        let answer = if self.in_a_zone(&name) { answer } else { self.outside(&name, object) };
        let asked = self.asked.entry((name.clone(), object.clone())).or_default();
        let (mut too_many, mut too_large) = (None, None);
        let answer = match answer {
            ClaimedAnswer::EntryPoint { name: door, addresses, https } => asked
                .entry_points
                .insert(Arc::clone(&door))
                .then_some(ClaimedAnswer::EntryPoint { name: door, addresses, https }),
            ClaimedAnswer::Withheld(why) => {
                asked.withheld.insert(Arc::clone(&why)).then_some(ClaimedAnswer::Withheld(why))
            }
            ClaimedAnswer::Records(mut data) => {
                data.retain(|record| {
                    let count = asked.kinds.entry(record.kind()).or_default();
                    let is_full = *count >= RECORDS && object.kind != CONFIGURATION;
                    if asked.records.contains(record) {
                        return false;
                    }
                    if is_full {
                        too_many = Some(record.kind());
                        return false;
                    }
                    let taken = self.taken.entry((name.clone(), record.kind())).or_default();
                    if *taken + record.size() > ANSWER {
                        too_large = Some(record.kind());
                        return false;
                    }
                    *taken += record.size();
                    *count += 1;
                    asked.records.insert(record.clone())
                });
                let stands_alone = data.iter().any(|record| matches!(record, RecordData::Cname(_)));
                let place = if stands_alone { None } else { asked.places.get(&ttl) };
                match place.and_then(|place| self.claims.get_mut(*place)) {
                    Some(NameClaim { answer: ClaimedAnswer::Records(all), .. }) => {
                        all.append(&mut data);
                        None
                    }
                    _ if data.is_empty() => None,
                    _ => {
                        if !stands_alone {
                            asked.places.insert(ttl, self.claims.len());
                        }
                        Some(ClaimedAnswer::Records(data))
                    }
                }
            }
        };
        if let Some(kind) = too_many {
            self.too_many(object, &name, kind);
        }
        if let Some(kind) = too_large {
            self.problem(object, Reason::AnswerFull { name: name.to_string(), kind: kind.to_owned() });
        }
        if let Some(answer) = answer {
            self.claims.push(NameClaim { name, object: object.clone(), ttl, answer });
        }
    }

    /// Notes that an object asks for a name that is in no zone.
    fn claim_outside(&mut self, name: &HostPattern, object: &ObjectName) {
        let answer = self.outside(name, object);
        self.claim(name, object, None, answer);
    }

    fn too_many(&mut self, object: &ObjectName, name: &HostPattern, kind: &str) {
        let (name, kind) = (name.to_string(), kind.to_owned());
        self.problem(object, Reason::TooManyRecords { name, kind, most: RECORDS });
    }

    fn problem(&mut self, object: &ObjectName, reason: Reason) {
        self.problems.push(Problem::new(object, reason));
    }

    fn in_a_zone(&self, name: &HostPattern) -> bool {
        self.config.zones.iter().any(|zone| name.is_within(&zone.name))
    }

    /// What becomes of a name that is in no zone.
    fn outside(&self, name: &HostPattern, object: &ObjectName) -> ClaimedAnswer {
        let why = "lies in no zone of the configuration; add its domain to `zones`";
        match self.config.zones.first() {
            // K8s_gateway would look for it below each zone, where nobody may have meant it to be.
            Some(zone) if object.kind == "Service" => {
                withheld(format!("{why}, or write the whole name if it is meant to be {name}.{}", zone.name))
            }
            _ => withheld(why),
        }
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
            match record.address().filter(|address| !self.may_answer(*address)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        external_dns::{DnsEndpoint, DnsEndpointSpec, Endpoint},
    };

    fn names_of(endpoints: Vec<Endpoint>) -> Names {
        let config = config::parse(
            "entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}\nzones: [home.example]\ndns: {allowedAddresses: [10.0.0.0/8]}",
        )
        .expect("a right file");
        let mut object = DnsEndpoint { spec: DnsEndpointSpec { endpoints }, ..DnsEndpoint::default() };
        object.metadata.name = Some("many".to_owned());
        let snapshot = Snapshot { dns_endpoints: vec![Arc::new(object)], ..Snapshot::default() };
        names(&snapshot, &Translation::default(), &config)
    }

    fn endpoint(kind: &str, ttl: i64, targets: impl IntoIterator<Item = String>) -> Endpoint {
        Endpoint {
            dns_name: "many.home.example".to_owned(),
            record_type: Some(kind.to_owned()),
            record_ttl: Some(ttl),
            targets: targets.into_iter().collect(),
        }
    }

    fn address(number: u32) -> String {
        std::net::Ipv4Addr::from((10 << 24) + number).to_string()
    }

    #[test]
    fn of_records_without_number_the_first_ones_count() {
        // So many that nobody would see the end of this if each were compared with all before it.
        let many = 100_000;
        let one = |number: u32| endpoint("A", i64::from(number % 86_400), [address(number)]);
        for endpoints in [
            vec![endpoint("A", 60, (0..many).map(address))],
            (0..many).map(|number| endpoint("A", 60, [address(number)])).collect(),
            (0..many).map(one).collect(),
            (0..many).map(|number| endpoint("CNAME", 60, [format!("a{number}.home.example")])).collect(),
            (0..many).map(|number| endpoint("TXT", 60, [address(number)])).collect(),
        ] {
            let Names { claims, problems } = names_of(endpoints);
            let records = claims.iter().map(|claim| match &claim.answer {
                ClaimedAnswer::Records(data) => data.len(),
                _ => 0,
            });
            assert_eq!(records.sum::<usize>(), RECORDS);
            assert_eq!(problems.len(), 1, "{:?}", problems.first());
            assert!(problems[0].to_string().contains("more than 200 "), "{}", problems[0]);
        }
    }

    #[test]
    fn records_that_no_answer_has_room_for_are_left_out_and_harm_no_others() {
        let long = |number: usize| format!("{number} {}", "x".repeat(4000));
        let Names { claims, problems } = names_of(vec![
            endpoint("TXT", 60, ["v=spf1 -all".to_owned()]),
            endpoint("TXT", 60, (0..17).map(long)),
            endpoint("A", 60, [address(1)]),
        ]);
        let sizes = claims.iter().map(|claim| match &claim.answer {
            ClaimedAnswer::Records(data) => (data.len(), data.iter().map(RecordData::size).sum::<usize>()),
            _ => (0, 0),
        });
        let (count, size) = sizes.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        assert_eq!(count, 1 + 15 + 1);
        assert!(size < ANSWER, "{size}");
        let [problem] = &*problems else { panic!("{problems:#?}") };
        assert!(
            problem.to_string().contains("more TXT records of many.home.example than one answer holds"),
            "{problem}"
        );
    }

    #[test]
    fn what_an_object_asks_twice_is_one_record() {
        let a = |ttl, numbers: &[u32]| endpoint("A", ttl, numbers.iter().copied().map(address));
        let Names { claims, problems } = names_of(vec![a(60, &[1, 2, 1]), a(60, &[2, 3]), a(30, &[3, 4]), a(30, &[1])]);
        let found: Vec<_> = claims.iter().map(|claim| (claim.ttl, claim.answer.clone())).collect();
        let records = |numbers: &[u8]| {
            ClaimedAnswer::Records(numbers.iter().map(|number| RecordData::A([10, 0, 0, *number].into())).collect())
        };
        assert_eq!(found, [(Some(60), records(&[1, 2, 3])), (Some(30), records(&[4]))]);
        assert!(problems.is_empty());
    }
}
