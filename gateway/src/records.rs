//! Everything that is answered, as a list: for people, for programs, and for other name servers. Pure.

use std::fmt::Write;

use serde::Serialize;

use crate::zone::{Claim, Data, Part, WireName, Zone, Zones, kind};

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns: name, type, data, lifetime, and whose it is.
    Table,
    Json,
    /// As in /etc/hosts: addresses of names that are no wildcards.
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
        Format::Hosts => hosts(&chosen),
        Format::Dnsmasq => dnsmasq(&chosen),
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

fn hosts(zones: &[&Zone]) -> String {
    let mut lines: Vec<String> = records(zones)
        .filter(|(_, name, _, _)| !name.is_wildcard())
        .filter_map(|(_, name, _, data)| Some(format!("{} {name}\n", address(data)?)))
        .collect();
    lines.sort();
    lines.concat()
}

fn address(data: &Data) -> Option<String> {
    let text = data.to_string();
    text.strip_prefix("A ").or_else(|| text.strip_prefix("AAAA ")).map(str::to_owned)
}

/// `host-record` answers a name alone, `address=/*.name/` what is below it. What a zone has nothing for is not asked
/// of anybody else (`local`), except names of addresses: others may have some of a network too.
fn dnsmasq(zones: &[&Zone]) -> String {
    let whole = zones.iter().filter(|zone| zone.configured.is_some()).map(|zone| format!("local=/{}/\n", zone.apex));
    let mut lines: Vec<String> = records(zones)
        .filter_map(|(_, name, ttl, data)| {
            let text = data.to_string();
            let (kind, value) = text.split_once(' ')?;
            let value = value.trim_end_matches('.');
            Some(match kind {
                "A" | "AAAA" if name.is_wildcard() => {
                    format!("address=/*.{}/{value}\n", name.to_string().trim_start_matches("*."))
                }
                _ if name.is_wildcard() => format!("# {name} {text}: dnsmasq has only addresses for wildcards\n"),
                "A" | "AAAA" => format!("host-record={name},{value},{ttl}\n"),
                "CNAME" => format!("cname={name},{value},{ttl}\n"),
                "PTR" => format!("ptr-record={name},{value}\n"),
                "TXT" => format!("txt-record={name},{}\n", value.replace("\" \"", "\",\"")),
                "MX" => {
                    let (preference, exchange) = value.split_once(' ')?;
                    format!("mx-host={name},{exchange},{preference}\n")
                }
                "SRV" => {
                    let [priority, weight, port, target] = *value.split(' ').collect::<Vec<_>>() else { return None };
                    format!("srv-host={name},{target},{port},{priority},{weight}\n")
                }
                // dnsmasq has no words for it.
                _ => return None,
            })
        })
        .chain(whole)
        .collect();
    lines.sort();
    lines.concat()
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
