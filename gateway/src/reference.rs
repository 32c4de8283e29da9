//! Query to response, by way of hickory-proto. Pure.
//!
//! The rules are RFC 1034/1035, 2308, 4592, 6891, 8020, 8482, 8906 and 9619. A zone is unsigned.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, NS, SOA, opt::EdnsOption},
    },
};

use crate::zone::{DENIED_TTL, Lookup, Node, WireName, Zone, Zones};

/// The largest UDP payload that is sent: it passes every path unfragmented (DNS flag day 2020).
pub const UDP_PAYLOAD: u16 = 1232;

/// Extended DNS errors (RFC 8914), told only to those who speak EDNS.
#[derive(Clone, Copy)]
enum ExtendedError {
    NotReady = 14,
    NotAuthoritative = 20,
}

/// The whole response, or None for what deserves none: a response that is sent to us (to answer it could loop).
///
/// `zones` is None before the first complete list of objects: then every query is refused, in the
/// form that makes dnsmasq ask its other server and cache nothing.
pub fn answer(zones: Option<&Zones>, query: &Message) -> Option<Message> {
    if query.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    // More than one would be an error, and may not fit in what tells it.
    if let [question] = query.queries.as_slice() {
        response.add_query(question.clone());
    }
    if let Some(edns) = &query.edns {
        let mut ours = Edns::new();
        // What we advertise is also what we never exceed, and never more than the client takes.
        ours.set_max_payload(edns.max_payload().clamp(512, UDP_PAYLOAD)).set_version(0);
        ours.set_dnssec_ok(edns.flags().dnssec_ok);
        response.set_edns(ours);
    }
    let error = fill(zones, query, &mut response);
    if let (Some(error), Some(edns)) = (error, &mut response.edns) {
        edns.options_mut().insert(EdnsOption::Unknown(15, (error as u16).to_be_bytes().to_vec()));
    }
    Some(response)
}

fn fill(zones: Option<&Zones>, query: &Message, response: &mut Message) -> Option<ExtendedError> {
    let refuse = |response: &mut Message, code| response.metadata.response_code = code;
    if query.metadata.op_code != OpCode::Query {
        refuse(response, ResponseCode::NotImp);
        return None;
    }
    // RFC 6891 section 6.1.3.
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        refuse(response, ResponseCode::BADVERS);
        if let Some(edns) = &mut response.edns {
            edns.set_rcode_high((u16::from(ResponseCode::BADVERS) >> 4) as u8);
        }
        return None;
    }
    // RFC 9619: exactly one question.
    let [question] = query.queries.as_slice() else {
        refuse(response, ResponseCode::FormErr);
        return None;
    };
    if question.query_class() != DNSClass::IN || matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR) {
        refuse(response, ResponseCode::Refused);
        return None;
    }
    let Some(zones) = zones else {
        refuse(response, ResponseCode::Refused);
        return Some(ExtendedError::NotReady);
    };
    let name = WireName::from_labels(question.name().iter());
    match zones.lookup(name.as_bytes()) {
        Lookup::Found { zone, node, .. } => found(zone, node, &name, question, response),
        Lookup::Missing { zone } => {
            response.metadata.response_code = ResponseCode::NXDomain;
            negative(zone, response);
        }
        // DS of a single label is a top-level domain's, and not ours to deny.
        Lookup::Denied { apex } if !(apex.is_root() && question.query_type() == RecordType::DS) => {
            let apex = hickory(&apex);
            response.metadata.authoritative = true;
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authority(soa(&apex, &apex, zones.serial(), DENIED_TTL));
        }
        Lookup::Denied { .. } | Lookup::OutOfZone => {
            refuse(response, ResponseCode::Refused);
            return Some(ExtendedError::NotAuthoritative);
        }
    }
    None
}

fn found(zone: &Zone, node: &Node, name: &WireName, question: &Query, response: &mut Message) {
    response.metadata.authoritative = true;
    let owner = question.name().clone();
    let is_apex = *name == zone.apex;
    let kind = question.query_type();
    // RFC 8482: one RRset is answer enough to ANY.
    let kind = match kind {
        RecordType::ANY if is_apex => RecordType::SOA,
        RecordType::ANY if node.v4.is_empty() => RecordType::AAAA,
        RecordType::ANY => RecordType::A,
        kind => kind,
    };
    match kind {
        RecordType::A => response.answers.extend(addresses(&owner, zone.ttl, node, true)),
        RecordType::AAAA => response.answers.extend(addresses(&owner, zone.ttl, node, false)),
        RecordType::NS if is_apex => {
            let name_server = hickory(&zone.name_server);
            response.add_answer(Record::from_rdata(owner, zone.ttl, RData::NS(NS(name_server.clone()))));
            if let Some(node) = zone.node(zone.name_server.as_bytes()) {
                let glue =
                    addresses(&name_server, zone.ttl, node, true).chain(addresses(&name_server, zone.ttl, node, false));
                response.additionals.extend(glue);
            }
        }
        RecordType::SOA if is_apex => {
            let name_server = hickory(&zone.name_server);
            response.add_answer(soa(&owner, &name_server, zone.serial, zone.negative_ttl));
        }
        _ => {}
    }
    if response.answers.is_empty() {
        negative(zone, response);
    }
}

/// NODATA and NXDOMAIN carry the SOA, whose TTL says how long they may be believed (RFC 2308 section 5).
fn negative(zone: &Zone, response: &mut Message) {
    response.metadata.authoritative = true;
    response.add_authority(soa(&hickory(&zone.apex), &hickory(&zone.name_server), zone.serial, zone.negative_ttl));
}

fn addresses(owner: &Name, ttl: u32, node: &Node, v4: bool) -> impl Iterator<Item = Record> {
    let addresses: Vec<IpAddr> = if v4 {
        node.v4.iter().copied().map(IpAddr::V4).collect()
    } else {
        node.v6.iter().copied().map(IpAddr::V6).collect()
    };
    let owner = owner.clone();
    addresses.into_iter().map(move |address| {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        Record::from_rdata(owner.clone(), ttl, data)
    })
}

/// A denial holds for the lesser of the SOA's own TTL and its MINIMUM (RFC 2308 sections 3 and 5).
/// Both are the negative TTL, wherever the SOA stands: then it counts, above the zone's TTL too.
fn soa(apex: &Name, name_server: &Name, serial: u32, negative_ttl: u32) -> Record {
    let mailbox =
        Name::from_ascii("hostmaster").and_then(|name| name.append_domain(apex)).unwrap_or_else(|_| apex.clone());
    let data = SOA::new(name_server.clone(), mailbox, serial, 7200, 1800, 86_400, negative_ttl);
    Record::from_rdata(apex.clone(), negative_ttl, RData::SOA(data))
}

fn hickory(name: &WireName) -> Name {
    // A wire name is at most as long as the host name it comes from, which hickory takes.
    Name::from_ascii(format!("{name}.")).unwrap_or_else(|_| Name::root())
}

#[cfg(test)]
mod tests;
