//! The list in dnsmasq's words, for dnsmasq itself to answer.

use std::{collections::BTreeSet, sync::Arc};

use k8s::model::RecordData;

use super::alias::{self, End};
use crate::zone::{Data, Node, RrSet, WireName, Zone, Zones, labels};

/// dnsmasq reads its file in pieces of this many bytes, and what is longer is two lines to it.
const LINE: usize = 1024;

/// `host-record` answers a name alone, `address=/*.name/` what is below it. What a zone has nothing for is not asked
/// of anybody else (`local`), except names of addresses: others may have some of a network too.
pub(super) fn lines(zones: &Zones, chosen: &[&Zone]) -> String {
    let mut lines = BTreeSet::new();
    for zone in chosen {
        if zone.configured.is_some() {
            lines.insert(format!("local=/{}/\n", zone.apex));
        }
        for (name, node) in zone.nodes() {
            let of_node = if name.is_wildcard() { of_wildcard(zones, name, node) } else { of_name(zones, name, node) };
            lines.extend(of_node);
            if has_wildcard_beside_it(zone, name) {
                // To dnsmasq a wildcard covers what exists too, and what is below it.
                lines.insert(format!("local=/{name}/\n"));
            }
        }
    }
    lines.into_iter().collect()
}

fn has_wildcard_beside_it(zone: &Zone, name: &WireName) -> bool {
    let above = labels(name.as_bytes()).skip(1);
    let wildcard = WireName::from_labels(std::iter::once(b"*".as_slice()).chain(above));
    *name != zone.apex && *name != wildcard && zone.node(wildcard.as_bytes()).is_some()
}

fn of_wildcard(zones: &Zones, name: &WireName, node: &Node) -> Vec<String> {
    let end = node.alias().map(|_| alias::end(zones, name, node));
    let (addresses, mut lines) = match end {
        None => (node.addresses().collect(), Vec::new()),
        Some(End::Addresses { rrsets, .. }) => (rrsets, vec![as_addresses(name)]),
        Some(nowhere) => (Vec::new(), vec![left_out(name, "CNAME", &nowhere.to_string())]),
    };
    let others = node.rrsets.iter().filter(|rrset| addresses.iter().all(|it| it.kind != rrset.kind));
    let others = others.map(type_of).filter(|kind| kind != "CNAME");
    lines.extend(others.map(|kind| left_out(name, &kind, "dnsmasq has only addresses for wildcards")));
    let below = name.to_string();
    let mut data = addresses.iter().flat_map(|rrset| &rrset.data).peekable();
    if data.peek().is_some() {
        // Without it, what the wildcard does not have would be denied name and all, and musl takes that for "no such
        // name" where a name has one kind of address only.
        lines.push(format!("local=/{below}/\n"));
    }
    lines.extend(data.map(|data| format!("address=/{below}/{}\n", value(data))));
    lines
}

fn of_name(zones: &Zones, name: &WireName, node: &Node) -> Vec<String> {
    let Some(target) = node.alias() else {
        let lines = node.rrsets.iter().flat_map(|rrset| rrset.data.iter().zip(rdata(rrset)).map(move |it| (rrset, it)));
        return lines.map(|(rrset, (data, rdata))| of_record(name, rrset, data, rdata)).collect();
    };
    let ttl = node.rrsets.first().map_or(0, |rrset| rrset.ttl);
    match alias::end(zones, name, node) {
        // dnsmasq does not start with a circle.
        end @ (End::Circle | End::TooLong) => vec![left_out(name, "CNAME", &end.to_string())],
        End::Addresses { rrsets, by_wildcard: true } => {
            let data = rrsets.iter().flat_map(|rrset| rrset.data.iter().map(move |data| (rrset.ttl.min(ttl), data)));
            let lines = data.map(|(ttl, data)| format!("host-record={name},{},{ttl}\n", value(data)));
            std::iter::once(as_addresses(name)).chain(lines).collect()
        }
        End::Addresses { .. } | End::OutOfZone(_) | End::WithoutAddress(_) => {
            vec![format!("cname={name},{target},{ttl}\n")]
        }
    }
}

fn of_record(name: &WireName, rrset: &RrSet, data: &Data, rdata: &[u8]) -> String {
    let RrSet { kind, ttl, .. } = rrset;
    let as_bytes = || {
        let hex: String = rdata.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("dns-rr={name},{kind},{hex}\n")
    };
    let line = match data {
        Data::Record(RecordData::A(_) | RecordData::Aaaa(_)) => format!("host-record={name},{},{ttl}\n", value(data)),
        Data::Record(RecordData::Cname(target)) => format!("cname={name},{target},{ttl}\n"),
        Data::Record(RecordData::Mx { preference, exchange }) => format!("mx-host={name},{exchange},{preference}\n"),
        Data::Record(RecordData::Ptr(target)) => format!("ptr-record={name},{target}\n"),
        Data::Record(RecordData::Srv { priority, weight, port, target }) => {
            format!("srv-host={name},{target},{port},{priority},{weight}\n")
        }
        Data::Record(RecordData::Txt(strings)) => {
            let is_plain = strings.iter().flat_map(|string| string.bytes()).all(|byte| matches!(byte, b' '..=b'~'));
            let quoted: Vec<String> =
                strings.iter().map(|it| value(&Data::Record(RecordData::Txt(vec![Arc::clone(it)])))).collect();
            // dnsmasq knows the escapes of quotes and backslashes, and no numbers of bytes.
            if is_plain { format!("txt-record={name},{}\n", quoted.join(",")) } else { as_bytes() }
        }
        Data::Https { .. } => as_bytes(),
    };
    if line.len() <= LINE {
        return line;
    }
    left_out(name, &type_of(rrset), &format!("dnsmasq reads no line of more than {LINE} bytes"))
}

/// A line that dnsmasq does not read.
fn left_out(name: &WireName, kind: &str, why: &str) -> String {
    format!("# {name} {kind} is left out: {why}\n")
}

fn as_addresses(name: &WireName) -> String {
    format!("# {name} is an alias, and has here the addresses that it leads to: dnsmasq has no wildcards in aliases\n")
}

fn type_of(rrset: &RrSet) -> String {
    let text = rrset.data.first().map(ToString::to_string).unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The data without its type.
fn value(data: &Data) -> String {
    let text = data.to_string();
    text.split_once(' ').map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// Each record's data as it stands in a message.
fn rdata(rrset: &RrSet) -> impl Iterator<Item = &[u8]> {
    /// A pointer to the name, type, class and lifetime.
    const BEFORE_LENGTH: usize = 10;
    let mut rest = &*rrset.encoded;
    std::iter::from_fn(move || {
        let (_, tail) = rest.split_at_checked(BEFORE_LENGTH)?;
        let (length, tail) = tail.split_first_chunk()?;
        let (data, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = tail;
        Some(data)
    })
}
