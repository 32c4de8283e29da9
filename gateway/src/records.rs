//! Everything that is answered, as a list: for people, for programs, and for other name servers. Pure.

mod alias;
mod dnsmasq;

use std::{collections::BTreeSet, fmt::Write};

use serde::Serialize;

use self::alias::End;
use crate::zone::{Claim, Data, Node, Part, RrSet, WireName, Zone, Zones, kind};

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns: name, type, data, lifetime, and whose it is.
    Table,
    Json,
    /// As in /etc/hosts: addresses of names that are no wildcards, and of their aliases.
    Hosts,
    /// `address=` and its kin, for dnsmasq itself to answer.
    Dnsmasq,
    /// A zone file (RFC 1035 section 5) for each zone, one after the other.
    Zone,
}

impl Format {
    pub const NAMES: &'static str = "table, json, hosts, dnsmasq or zone";

    const ALL: [Self; 5] = [Self::Table, Self::Json, Self::Hosts, Self::Dnsmasq, Self::Zone];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Hosts => "hosts",
            Self::Dnsmasq => "dnsmasq",
            Self::Zone => "zone",
        }
    }
}

/// One record, with the name it has.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    data: String,
    ttl: u32,
    /// The object that gives it.
    object: String,
}

/// Of one zone, where it is named. The error says which there are.
pub(crate) fn list(zones: &Zones, format: Format, only: Option<&str>) -> Result<String, String> {
    let only = only.map(WireName::from_text);
    let chosen: Vec<&Zone> = zones.iter().filter(|zone| only.as_ref().is_none_or(|only| *only == zone.apex)).collect();
    if let (Some(only), []) = (only, &*chosen) {
        let known: Vec<String> = zones.iter().map(|zone| zone.apex.to_string()).collect();
        return Err(format!("there is no zone {only}; the zones are {}", known.join(", ")));
    }
    Ok(match format {
        Format::Table => table(&rows(&chosen)),
        Format::Json => serde_json::to_string_pretty(&rows(&chosen)).unwrap_or_default() + "\n",
        Format::Hosts => hosts(zones, &chosen),
        Format::Dnsmasq => dnsmasq::lines(zones, &chosen),
        Format::Zone => chosen.into_iter().map(zone_file).collect(),
    })
}

/// Of all zones, by name. What a zone holds of itself (SOA, NS) is not among them.
fn rows(zones: &[&Zone]) -> Vec<Row> {
    let mut rows: Vec<Row> = records(zones)
        .map(|(zone, name, ttl, data)| {
            let claims = zone.node(name.as_bytes()).map(|node| node.claims.as_slice()).unwrap_or_default();
            // HTTPS comes with the addresses.
            let given = if data.kind() == kind::HTTPS { [kind::A, kind::AAAA] } else { [data.kind(); 2] };
            let is_giver =
                |claim: &&Claim| claim.part == Part::Answers && given.iter().any(|it| claim.kinds.contains(it));
            let giver = claims.iter().find(is_giver);
            let text = data.to_string();
            let (kind, data) = text.split_once(' ').unwrap_or((&text, ""));
            Row {
                name: name.to_string(),
                kind: kind.to_owned(),
                data: data.to_owned(),
                ttl,
                object: giver.map(|claim| claim.object.to_string()).unwrap_or_default(),
            }
        })
        .collect();
    rows.sort();
    rows
}

fn records<'z>(zones: &[&'z Zone]) -> impl Iterator<Item = (&'z Zone, &'z WireName, u32, &'z Data)> {
    zones.iter().copied().flat_map(|zone| {
        zone.nodes().flat_map(move |(name, node)| {
            node.rrsets.iter().flat_map(move |rrset| rrset.data.iter().map(move |data| (zone, name, rrset.ttl, data)))
        })
    })
}

fn table(rows: &[Row]) -> String {
    let header = ["NAME", "TYPE", "DATA", "TTL", "OBJECT"].map(str::to_owned);
    let mut lines = vec![header];
    lines
        .extend(rows.iter().map(|row| {
            [row.name.clone(), row.kind.clone(), row.data.clone(), row.ttl.to_string(), row.object.clone()]
        }));
    let widths: Vec<usize> =
        (0..4).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    lines
        .iter()
        .map(|[name, kind, data, ttl, object]| {
            let [a, b, c, d] = *widths else { return String::new() };
            format!("{name:a$}  {kind:b$}  {data:c$}  {ttl:>d$}  {object}\n")
        })
        .collect()
}

/// What has addresses and cannot stand in such a file is told, for nobody to miss it unawares.
fn hosts(zones: &Zones, chosen: &[&Zone]) -> String {
    let nodes = chosen.iter().flat_map(|zone| zone.nodes());
    let lines: BTreeSet<HostsLine> = nodes.flat_map(|(name, node)| hosts_of(zones, name, node)).collect();
    lines.into_iter().map(|HostsLine { address, text, .. }| format!("{address} {text}\n")).collect()
}

/// Sorted: an address is called by its first name, which should be no alias.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HostsLine {
    /// `#` where it is a comment.
    address: String,
    is_alias: bool,
    text: String,
}

fn hosts_of(zones: &Zones, name: &WireName, node: &Node) -> Vec<HostsLine> {
    let line = |address: &str, is_alias, text| HostsLine { address: address.to_owned(), is_alias, text };
    let left_out = |why: &str| vec![line("#", false, format!("{name} is left out: {why}"))];
    let is_alias = node.alias().is_some();
    let rrsets: Vec<&RrSet> = match is_alias.then(|| alias::end(zones, name, node)) {
        None => node.addresses().collect(),
        Some(End::Addresses { rrsets, .. }) => rrsets,
        Some(nowhere) => return left_out(&nowhere.to_string()),
    };
    if name.is_wildcard() && !rrsets.is_empty() {
        return left_out("such a file has no wildcards");
    }
    let data = rrsets.iter().flat_map(|rrset| &rrset.data);
    data.filter_map(|data| Some(line(data.to_string().split_once(' ')?.1, is_alias, name.to_string()))).collect()
}

fn zone_file(zone: &Zone) -> String {
    let Zone { apex, name_server, mailbox, serial, ttl, negative_ttl, .. } = zone;
    let [refresh, retry, expire] = crate::zone::SOA_TIMES;
    let mut text = format!(
        "$ORIGIN {apex}.\n{apex}. {negative_ttl} IN SOA {name_server}. {mailbox}. {serial} {refresh} {retry} {expire} {negative_ttl}\n{apex}. {ttl} IN NS {name_server}.\n"
    );
    let mut lines: Vec<String> = zone
        .nodes()
        .flat_map(|(name, node)| node.rrsets.iter().map(move |rrset| (name, rrset)))
        .flat_map(|(name, rrset)| rrset.data.iter().map(move |data| format!("{name}. {} IN {data}\n", rrset.ttl)))
        .collect();
    lines.sort();
    // Writing to a String cannot fail.
    let _ = write!(text, "{}", lines.concat());
    text
}

/// How many names are answered with something.
pub(crate) fn count(zones: &Zones) -> usize {
    zones
        .iter()
        .flat_map(Zone::nodes)
        .filter(|(_, node)| node.rrsets.iter().any(|rrset| rrset.kind != kind::PTR))
        .count()
}

#[cfg(test)]
mod tests;
