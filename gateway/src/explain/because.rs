//! The reasons: whose claims give the answer, and what keeps others from giving one.

use std::collections::BTreeSet;

use hickory_proto::rr::RecordType;
use k8s::{
    config::Config,
    model::{ClaimedAnswer, HostPattern, NameClaim},
    problem::{Problem, Reason},
};

use super::{Explanation, InVain, Known, Question, kinds, type_name};
use crate::{
    reference::ALIASES,
    view::{View, Views},
    zone::{Claim, Lookup, Node, Part, WireName, Zone, Zones, kind, labels},
};

/// Why, for the name and for each that it is an alias of.
pub(super) fn because(
    known: &Known<'_>,
    (views, view): (&Views, &View),
    question: &Question,
    in_vain: Option<&InVain>,
    explained: &mut Explanation,
) {
    let mut name = WireName::from_text(&question.name);
    let follows = !matches!(question.kind, Some(RecordType::CNAME | RecordType::ANY));
    let n_names = in_vain.map_or(usize::MAX, |in_vain| in_vain.n_names).min(ALIASES + 1);
    for step in 0..n_names {
        let found = match question.kind {
            Some(RecordType::DS) if step == 0 => {
                view.zones.zone_of_ds(name.as_bytes()).map(|zone| zone.lookup(name.as_bytes()))
            }
            _ => None,
        };
        let found = found.unwrap_or_else(|| view.zones.lookup(name.as_bytes()));
        let withheld = withheld(views.claims(), &name);
        let asked = Asked { name: &name, kind: question.kind, is_in_vain: in_vain.is_some() };
        let reasons = reasons(known.config, &view.zones, &found, &asked, &withheld, explained);
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
        let is_ours = explained.answer != "FORWARDED";
        if is_unclaimed && is_ours && withheld.is_empty() {
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

struct Asked<'a> {
    name: &'a WireName,
    /// None where it was asked for addresses of either kind.
    kind: Option<RecordType>,
    /// Whether clients get nothing, whatever the name has.
    is_in_vain: bool,
}

fn reasons(
    config: &Config,
    zones: &Zones,
    found: &Lookup<'_>,
    asked: &Asked<'_>,
    withheld: &[String],
    explained: &mut Explanation,
) -> Vec<String> {
    let name = asked.name;
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
        Lookup::Missing { zone } if zone.configured.is_none() && explained.answer == "FORWARDED" => {
            vec![format!(
                "no name here is answered with this address, and {} is no zone of the configuration: dns.forwardTo is asked",
                zone.apex
            )]
        }
        Lookup::Missing { zone } if zone.configured.is_none() => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            vec!["no name is answered with this address".to_owned()]
        }
        Lookup::Missing { zone } => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            vec![match zone.acme_challenge_target(name.as_bytes()) {
                Some(target) => of_challenge(&target),
                None => format!("{nobody}, and no wildcard covers it"),
            }]
        }
        Lookup::Found { zone, node, wildcard } => {
            explained.zone.get_or_insert_with(|| zone.apex.to_string());
            // A wildcard covers no challenge.
            if let Some(target) = zone.acme_challenge_target(name.as_bytes()).filter(|_| *wildcard) {
                return vec![of_challenge(&target)];
            }
            if *wildcard && explained.wildcard.is_none() {
                explained.wildcard = wildcard_over(zone, name).map(|name| name.to_string());
            }
            if let Some(whole) = of_zone(zones, zone, asked).filter(|_| node.alias().is_none()) {
                return vec![whole];
            }
            let without = node.is_empty_non_terminal().then(|| without_claim(zones, zone, name, nobody));
            let claims = node.claims.iter().map(|claim| of_claim(claim, node, asked));
            without.into_iter().chain(claims).chain(other_types(node, asked.kind)).collect()
        }
    }
}

fn of_challenge(target: &WireName) -> String {
    format!("acmeChallenge of the zone leads _acme-challenge names elsewhere, here to {target}")
}

/// What no object has a part in.
fn of_zone(zones: &Zones, zone: &Zone, asked: &Asked<'_>) -> Option<String> {
    let (name, kind) = (asked.name, asked.kind?);
    match kind {
        RecordType::SOA | RecordType::NS if *name == zone.apex => {
            Some(format!("every zone has its own {} record", type_name(kind)))
        }
        RecordType::DS if *name != zone.apex && zones.iter().any(|inner| inner.apex == *name) => Some(format!(
            "{name} is a zone, and its DS records would stand in the zone above it: none is signed (DNSSEC)"
        )),
        RecordType::DS | RecordType::DNSKEY => {
            Some(format!("there is nothing of type {}: no zone here is signed (DNSSEC)", type_name(kind)))
        }
        _ => None,
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

fn of_claim(claim: &Claim, node: &Node, asked: &Asked<'_>) -> String {
    let Asked { kind: asked, is_in_vain, .. } = *asked;
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
        Part::Answers if !is_in_vain && is_all && claim.kinds.iter().any(is_asked) => format!("{who} gives the answer"),
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
    kinds.iter().map(|it| type_name(RecordType::from(*it))).collect::<Vec<_>>().join(" and ")
}

/// For a question that finds nothing at a name that has something.
fn other_types(node: &Node, kind: Option<RecordType>) -> Option<String> {
    let asked = u16::from(kind?);
    let is_answered = asked == kind::ANY || node.rrset(asked).is_some() || node.rrset(kind::CNAME).is_some();
    if is_answered || node.rrsets.is_empty() {
        return None;
    }
    let types: Vec<u16> = node.rrsets.iter().map(|rrset| rrset.kind).collect();
    Some(format!("the name has {}, and nothing of type {}", names_of(&types), type_name(RecordType::from(asked))))
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
