//! Claims to zones: which names exist, and what each is answered with.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use k8s::{
    config::{Config, ViewConfig, ZoneConfig},
    model::{CONFIGURATION, ClaimedAnswer, HostName, HostPattern, NameClaim, ObjectName, RecordData},
};

use super::{Claim, Data, Node, Part, RrSet, Soa, WireName, Zone, Zones, kind, name, reverse};

impl Zones {
    /// What clients of `view` are answered; without one, everybody.
    ///
    /// Of the claims on a name the first that has an address gives all its addresses: two doors in one
    /// answer would send half of the requests to the one that does not know the name. A view and
    /// the configuration put some entry points before the others. Other types of records are merged.
    pub fn build(claims: &[NameClaim], config: &Config, view: Option<&ViewConfig>, serial: u32) -> Self {
        let mut zones: Vec<Zone> = config.zones.iter().enumerate().map(|(at, zone)| empty(zone, at, serial)).collect();
        sort(&mut zones);
        let doors = if config.dns.reverse { reverse::doors(claims, config) } else { Vec::new() };
        let mut own: Vec<NameClaim> = doors.iter().cloned().map(|(name, addresses)| door(name, addresses)).collect();
        own.extend(config.zones.iter().filter_map(|zone| name_server(zone, &config.dns.addresses)));

        let mut by_name: BTreeMap<WireName, Vec<&NameClaim>> = BTreeMap::new();
        for claim in claims.iter().chain(&own).filter(|claim| !matches!(claim.answer, ClaimedAnswer::Withheld(_))) {
            by_name.entry(WireName::from(&claim.name)).or_default().push(claim);
        }
        for (name, claims) in &mut by_name {
            claims.sort_by_key(|claim| place_in_view(claim, view, config));
            place(&mut zones, name, claims, config);
        }
        if config.dns.reverse {
            let pointers = pointers(&zones, claims, &doors, config);
            zones.extend(reverse_zones(&pointers, config, serial));
            sort(&mut zones);
            for (name, pointer) in &pointers {
                let others = by_name.remove(name).unwrap_or_default();
                place(&mut zones, name, &[others, vec![pointer]].concat(), config);
            }
        }
        place_inner_zones(&mut zones);
        for zone in &mut zones {
            place_name_server(zone);
        }
        Self { zones, serial }
    }
}

/// The longest apex first.
fn sort(zones: &mut [Zone]) {
    zones.sort_by_key(|zone| std::cmp::Reverse(name::labels(zone.apex.as_bytes()).count()));
}

/// Gives a name what all claims on it come to, in the zone that holds it.
fn place(zones: &mut [Zone], name: &WireName, claims: &[&NameClaim], config: &Config) {
    if let Some(zone) = zones.iter_mut().find(|zone| zone.apex.is_at_or_above(name.as_bytes())) {
        let (rrsets, claims) = settle(claims, zone.ttl, config.dns.https_records);
        let node = node(zone, name);
        (node.rrsets, node.claims) = (rrsets, claims);
    }
}

/// Static records first, then the view's entry points in its order, those of `dns.entryPoints` in theirs, and then
/// everything as it comes.
fn place_in_view(claim: &NameClaim, view: Option<&ViewConfig>, config: &Config) -> usize {
    let of_view = view.map(|view| view.entry_points.as_slice()).unwrap_or_default();
    let of_all = &config.dns.entry_points;
    let last = 1 + of_view.len() + of_all.len();
    match &claim.answer {
        ClaimedAnswer::EntryPoint { name, .. } => {
            of_view.iter().chain(of_all).position(|it| it == name).map_or(last, |place| 1 + place)
        }
        ClaimedAnswer::Records(_) if claim.is_static() => 0,
        ClaimedAnswer::Records(_) | ClaimedAnswer::Withheld(_) => last,
    }
}

/// What all claims on one name come to.
fn settle(claims: &[&NameClaim], zone_ttl: u32, https_records: bool) -> (Vec<RrSet>, Vec<Claim>) {
    // Whose lifetime counts is the first to give a type; one object may give it in parts.
    let mut types: BTreeMap<u16, (&ObjectName, u32, Vec<Data>)> = BTreeMap::new();
    // Whose addresses they are: an entry point's, or an object's own.
    let mut winner: Option<Result<&Arc<str>, &ObjectName>> = None;
    let mut settled = Settled::default();
    for claim in claims {
        let (entry_point, data, has_https) = match &claim.answer {
            ClaimedAnswer::EntryPoint { name, addresses, https } => {
                (Some(name), addresses.iter().map(|it| RecordData::from(*it)).collect(), *https)
            }
            ClaimedAnswer::Records(data) => (None, data.clone(), false),
            ClaimedAnswer::Withheld(_) => continue,
        };
        let who = entry_point.ok_or(&claim.object);
        let fits = |data: &RecordData| {
            let kind = kind_of(data);
            match kind {
                kind::CNAME => types.is_empty(),
                kind::A | kind::AAAA => !types.contains_key(&kind::CNAME) && winner.is_none_or(|winner| winner == who),
                _ => !types.contains_key(&kind::CNAME),
            }
        };
        let (taken, lost): (Vec<RecordData>, Vec<RecordData>) = data.iter().cloned().partition(fits);
        let is_empty = data.is_empty().then_some((&data, Part::NoAddress));
        let parts =
            [(&taken, Part::Answers), (&lost, Part::Outranked)].into_iter().filter(|(data, _)| !data.is_empty());
        for (data, part) in parts.chain(is_empty) {
            settled.tell(&claim.object, entry_point, data.iter().map(kind_of), part);
        }
        let ttl = claim.ttl.unwrap_or(zone_ttl);
        for data in taken {
            if matches!(data, RecordData::A(_) | RecordData::Aaaa(_)) {
                winner.get_or_insert(who);
            }
            let (first, least, all) = types.entry(kind_of(&data)).or_insert_with(|| (&claim.object, ttl, Vec::new()));
            if *first == &claim.object {
                *least = ttl.min(*least);
            }
            all.push(Data::Record(data));
        }
        if https_records && has_https && winner == Some(who) {
            let (v4, v6) = by_family(&data);
            types.entry(kind::HTTPS).or_insert_with(|| (&claim.object, ttl, vec![Data::Https { v4, v6 }]));
        }
    }
    (types.into_values().map(|(_, ttl, data)| RrSet::new(ttl, data)).collect(), settled.claims)
}

fn kind_of(data: &RecordData) -> u16 {
    Data::Record(data.clone()).kind()
}

/// What each claim comes to, in the order of precedence. Several endpoints of one object, or several listeners of one
/// door, are one claim to a reader.
#[derive(Default)]
struct Settled<'a> {
    claims: Vec<Claim>,
    places: HashMap<(&'a ObjectName, Option<&'a Arc<str>>, Part), usize>,
}

impl<'a> Settled<'a> {
    fn tell(
        &mut self,
        object: &'a ObjectName,
        entry_point: Option<&'a Arc<str>>,
        kinds: impl Iterator<Item = u16>,
        part: Part,
    ) {
        let place = *self.places.entry((object, entry_point, part)).or_insert_with(|| {
            let (object, entry_point) = (object.clone(), entry_point.cloned());
            self.claims.push(Claim { object, entry_point, kinds: Vec::new(), part });
            self.claims.len() - 1
        });
        let all = &mut self.claims[place].kinds;
        all.extend(kinds);
        all.sort_unstable();
        all.dedup();
    }
}

fn by_family(data: &[RecordData]) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let v4 = data.iter().filter_map(|data| if let RecordData::A(v4) = data { Some(*v4) } else { None });
    let v6 = data.iter().filter_map(|data| if let RecordData::Aaaa(v6) = data { Some(*v6) } else { None });
    (v4.collect(), v6.collect())
}

/// A zone with its apex.
fn empty(config: &ZoneConfig, place: usize, serial: u32) -> Zone {
    let apex = WireName::from(&config.name);
    let (name_server, mailbox) = (below(&apex, "ns"), below(&apex, "hostmaster"));
    let zone = bare(apex, name_server, mailbox, (config.ttl, config.negative_ttl), serial);
    Zone { configured: Some(place), acme_challenge: config.acme_challenge.as_ref().map(WireName::from), ..zone }
}

fn bare(apex: WireName, name_server: WireName, mailbox: WireName, ttls: (u32, u32), serial: u32) -> Zone {
    let (ttl, negative_ttl) = ttls;
    Zone {
        soa: Soa::new(&apex, &name_server, &mailbox, serial, negative_ttl),
        serial,
        ttl,
        negative_ttl,
        configured: None,
        acme_challenge: None,
        names: std::iter::once((apex.clone(), 0)).collect(),
        nodes: vec![Node::default()],
        apex,
        name_server,
        mailbox,
    }
}

fn below(apex: &WireName, label: &str) -> WireName {
    WireName::from_labels(std::iter::once(label.as_bytes()).chain(name::labels(apex.as_bytes())))
}

/// A zone's apex is a name of the zone around it too. Without it the names above it would be
/// denied there, and with them everything below (RFC 8020).
fn place_inner_zones(zones: &mut [Zone]) {
    for index in 1..zones.len() {
        let (inner, outer) = zones.split_at_mut(index);
        let Some(Zone { apex, .. }) = inner.last() else { continue };
        // The longest apex first: the first that holds it is the nearest.
        if let Some(outer) = outer.iter_mut().find(|zone| zone.apex.is_at_or_above(apex.as_bytes())) {
            node(outer, apex);
        }
    }
}

/// After every object's claim: the router serves the name at the object's address, and nothing that forwards to us
/// asks where the name server is.
fn name_server(zone: &ZoneConfig, addresses: &[IpAddr]) -> Option<NameClaim> {
    let name = format!("ns.{}", zone.name).parse().ok()?;
    (!addresses.is_empty())
        .then(|| configured("dns.addresses", name, addresses.iter().map(|it| RecordData::from(*it)).collect()))
}

/// It exists, with an address or without.
fn place_name_server(zone: &mut Zone) {
    let name_server = zone.name_server.clone();
    if zone.apex.is_at_or_above(name_server.as_bytes()) {
        node(zone, &name_server);
    }
}

/// The node of a name, made if need be.
fn node<'z>(zone: &'z mut Zone, name: &WireName) -> &'z mut Node {
    // Everything between the name and the apex exists once the name does (RFC 4592 section 2.2.2).
    let mut missing: Vec<WireName> = name::ancestors(name.as_bytes())
        .take_while(|ancestor| *ancestor != zone.apex.as_bytes())
        .filter(|ancestor| !zone.names.contains_key(*ancestor))
        .map(|ancestor| WireName::from_labels(name::labels(ancestor)))
        .collect();
    missing.insert(0, name.clone());
    // From the top, so that a wildcard finds the name it stands below.
    for name in missing.into_iter().rev() {
        insert(zone, name);
    }
    let index = zone.names.get(name).map_or(0, |index| *index as usize);
    &mut zone.nodes[index]
}

fn insert(zone: &mut Zone, name: WireName) {
    let next = u32::try_from(zone.nodes.len()).unwrap_or(u32::MAX);
    let parent = name.is_wildcard().then(|| name::ancestors(name.as_bytes()).next()).flatten();
    let parent = parent.and_then(|parent| zone.names.get(parent)).map(|index| *index as usize);
    if let std::collections::hash_map::Entry::Vacant(free) = zone.names.entry(name) {
        free.insert(next);
        zone.nodes.push(Node::default());
        if let Some(parent) = parent.and_then(|index| zone.nodes.get_mut(index)) {
            parent.wildcard = Some(next);
        }
    }
}

fn configured(key: &str, name: HostName, data: Vec<RecordData>) -> NameClaim {
    NameClaim {
        name: HostPattern::Exact(name),
        object: ObjectName::new(CONFIGURATION, "", key),
        ttl: None,
        answer: ClaimedAnswer::Records(data),
    }
}

/// An entry point called after itself. After every object's own claim.
fn door(name: HostName, addresses: Vec<IpAddr>) -> NameClaim {
    configured("dns.reverse", name, addresses.into_iter().map(RecordData::from).collect())
}

/// The addresses' own names (PTR), in the order of the alphabet. Whoever gives one a pointer or an alias of its own
/// (RFC 2317) has the last word.
fn pointers(
    zones: &[Zone],
    claims: &[NameClaim],
    doors: &[(HostName, Vec<IpAddr>)],
    config: &Config,
) -> BTreeMap<WireName, NameClaim> {
    let has_its_own = |owner: &WireName| {
        let node = reverse::zone_of(zones, owner).and_then(|zone| zone.node(owner.as_bytes()));
        node.is_some_and(|node| [kind::PTR, kind::CNAME].into_iter().any(|kind| node.rrset(kind).is_some()))
    };
    let named = reverse::names_of_addresses(zones, claims, doors, config).into_iter();
    let pointers = named.filter_map(|(address, name)| {
        let owner = reverse::name_of(address);
        let host = owner.to_string().parse().ok()?;
        (!has_its_own(&owner)).then(|| (owner, configured("dns.reverse", host, vec![RecordData::Ptr(name)])))
    });
    pointers.collect()
}

/// One for each network of the addresses that have names, but in a zone that the configuration names: there they are
/// names like any other.
fn reverse_zones(pointers: &BTreeMap<WireName, NameClaim>, config: &Config, serial: u32) -> Vec<Zone> {
    let Some(first) = config.zones.first() else { return Vec::new() };
    let apex = WireName::from(&first.name);
    let (name_server, mailbox) = (below(&apex, "ns"), below(&apex, "hostmaster"));
    let configured: Vec<WireName> = config.zones.iter().map(|zone| WireName::from(&zone.name)).collect();
    let is_free = |owner: &&WireName| !configured.iter().any(|apex| apex.is_at_or_above(owner.as_bytes()));
    let mut apexes: Vec<WireName> = pointers.keys().filter(is_free).map(reverse::network_of).collect();
    apexes.sort();
    apexes.dedup();
    apexes
        .into_iter()
        .map(|apex| bare(apex, name_server.clone(), mailbox.clone(), (first.ttl, first.negative_ttl), serial))
        .collect()
}
