//! Query bytes to response bytes, by way of hickory-proto: every query that [`wire`](crate::wire) declines,
//! and the oracle it is tested against. Pure.
//!
//! The rules are RFC 1034/1035, 2308, 4592, 6891, 7871, 8020, 8482, 8906, 8914 and 9619. A zone is unsigned.

mod query;

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{
            A, AAAA, CNAME, HTTPS, MX, NS, PTR, SOA, SRV, SVCB, TXT,
            opt::{EdnsCode, EdnsOption, NSIDPayload},
            svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue},
        },
    },
};
use ipnet::IpNet;
use k8s::model::RecordData;

use self::query::{Query, Unreadable};
use crate::{
    view::Views,
    wire::{UDP_PAYLOAD, UDP_PAYLOAD_WITHOUT_EDNS},
    zone::{DENIED_TTL, Data, Lookup, Node, RrSet, SOA_TIMES, WireName, Zone, Zones, kind},
};

/// Aliases that are followed in one answer: enough for every chain that somebody meant.
pub const ALIASES: usize = 8;
/// Tenths of a second that an idle TCP connection stays open, as clients are told that ask (RFC 7828).
pub const KEEP_ALIVE: u16 = 100;

/// How the query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What is the same for all queries.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Who may say for whom it asks (RFC 7871).
    pub forwarders: Vec<IpNet>,
    /// Who answers for names that no zone holds. What comes from its address is not handed back to it.
    pub forward_to: Option<IpAddr>,
    /// What `id.server` and NSID say; None refuses the question, and `version.bind` with it.
    pub identity: Option<String>,
}

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Answer(Answer),
    /// Nothing: it is a response (to answer it could loop), or less than a header.
    Dropped,
    /// The upstream is to be asked.
    Forward(About),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub about: About,
    /// The header's, with the upper bits of EDNS.
    pub rcode: u16,
}

/// What the metrics want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The question's type; 0 where there is no question.
    pub kind: u16,
    /// See [`Zone::configured`].
    pub zone: Option<usize>,
    /// The place of the view among all.
    pub view: usize,
}

/// Extended DNS errors (RFC 8914), told only to those who speak EDNS. Never 15: Pi-hole takes it for "blocked".
#[derive(Clone, Copy)]
enum ExtendedError {
    NotReady = 14,
    Prohibited = 18,
    NotAuthoritative = 20,
    NetworkError = 23,
}

/// `views` is None before the first complete list of objects: then every query is refused, in the
/// form that makes dnsmasq ask its other server and cache nothing.
pub fn respond(
    views: Option<&Views>,
    policy: &Policy,
    message: &[u8],
    client: IpAddr,
    transport: Transport,
) -> Outcome {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Unreadable::Drop) => return Outcome::Dropped,
        Err(Unreadable::Answer { header, rcode }) => {
            let about = About::default();
            return Outcome::Answer(Answer { bytes: header.to_vec(), about, rcode: u16::from(rcode) });
        }
    };
    let mut response = begin(&query, policy, transport);
    let forwards = policy.forward_to.is_some_and(|upstream| upstream != client.to_canonical());
    let subnet = query.subnet().filter(|_| policy.forwarders.iter().any(|network| network.contains(&client)));
    let client = subnet.map_or(client, |subnet| subnet.addr());
    let (view, zones) = match views.map(|views| views.of(client)) {
        Some((place, view)) => (place, Some(&view.zones)),
        None => (0, None),
    };
    // To whom else the answer applies; with an address that is not believed, to everybody (RFC 7871 section 7.2.1).
    if let (Some(mut asked), Some(edns)) = (query.subnet(), &mut response.edns) {
        let scope = if subnet.is_some() { views.map_or(0, |views| views.scope(client)) } else { 0 };
        asked.set_scope_prefix(scope.min(asked.source_prefix()));
        edns.options_mut().insert(EdnsOption::Subnet(asked));
    }
    let mut about = About { kind: query.question.kind, zone: None, view };
    match fill(zones, policy, forwards, &query, &mut response, &mut about) {
        Filled::Whole => {}
        Filled::Because(error) => explain(error, &mut response),
        Filled::ByUpstream => return Outcome::Forward(about),
    }
    finish(&mut response, &query, transport, about)
}

/// What a client gets that is not among those who are answered.
pub fn refuse(message: &[u8]) -> Outcome {
    let Ok(query) = Query::read(message) else { return Outcome::Dropped };
    let mut response = begin(&query, &Policy::default(), Transport::Udp);
    response.metadata.response_code = ResponseCode::Refused;
    explain(ExtendedError::Prohibited, &mut response);
    let about = About { kind: query.question.kind, ..About::default() };
    finish(&mut response, &query, Transport::Udp, about)
}

/// What a client gets whose question the upstream has not answered.
pub fn server_failure(message: &[u8]) -> Vec<u8> {
    let Ok(query) = Query::read(message) else { return Vec::new() };
    let mut response = begin(&query, &Policy::default(), Transport::Udp);
    response.metadata.response_code = ResponseCode::ServFail;
    explain(ExtendedError::NetworkError, &mut response);
    response.to_vec().unwrap_or_default()
}

/// What is asked of the upstream, without an id: the question in lower case, the client's flags, and of EDNS only the
/// size and DO, as every option is between two neighbours (RFC 6891 section 6.1.1). None where it is no query.
pub fn upstream_query(message: &[u8]) -> Option<Vec<u8>> {
    let query = Query::read(message).ok()?;
    let (flags, more_flags) = (message.get(2)?, message.get(3)?);
    let mut bytes = vec![0, 0, flags & 0x01, more_flags & 0x30, 0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())];
    bytes.extend(query.lower.as_bytes());
    bytes.extend(query.question.kind.to_be_bytes());
    bytes.extend(query.question.class.to_be_bytes());
    if let Some(edns) = &query.edns {
        bytes.extend([0, 0, 41]);
        bytes.extend((UDP_PAYLOAD as u16).to_be_bytes());
        bytes.extend([0, 0, u8::from(edns.flags().dnssec_ok) << 7, 0, 0, 0]);
    }
    Some(bytes)
}

/// The upstream's answer as the client gets it: with its id and the question as it wrote it. What it cannot take
/// becomes a bare answer with TC.
pub fn relay(message: &[u8], answer: &[u8], transport: Transport) -> Vec<u8> {
    let Ok(query) = Query::read(message) else { return Vec::new() };
    let question = message.get(12..query.question.end).unwrap_or_default();
    let &[_, _, flags, more_flags, _, n_questions, ref counts @ ..] = answer else { return server_failure(message) };
    let fits = answer.len() <= limit(&query, transport);
    let id = query.id.to_be_bytes();
    if fits && n_questions == 1 {
        let rest = answer.get(query.question.end..).unwrap_or_default();
        let header = [&id[..], &[flags, more_flags, 0, 1], counts.get(..6).unwrap_or_default()].concat();
        return [&header, question, rest].concat();
    }
    let truncated = if fits { 0 } else { 0x02 };
    let [size_high, size_low] = (UDP_PAYLOAD as u16).to_be_bytes();
    let opt: &[u8] = if query.edns.is_some() { &[0, 0, 41, size_high, size_low, 0, 0, 0, 0, 0, 0] } else { &[] };
    let n_additional = u8::from(query.edns.is_some());
    let header = [id[0], id[1], flags | truncated, more_flags, 0, 1, 0, 0, 0, 0, 0, n_additional];
    [&header, question, opt].concat()
}

/// The longest answer that the client takes.
fn limit(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, &query.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_PAYLOAD_WITHOUT_EDNS,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(UDP_PAYLOAD_WITHOUT_EDNS, UDP_PAYLOAD),
    }
}

/// The response without an answer yet.
fn begin(query: &Query<'_>, policy: &Policy, transport: Transport) -> Message {
    let mut response = Message::response(query.id, OpCode::Query);
    response.metadata.recursion_desired = query.recursion_desired;
    response.add_query(query.as_hickory());
    if let Some(edns) = &query.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(UDP_PAYLOAD as u16).set_version(0).set_dnssec_ok(edns.flags().dnssec_ok);
        let identity = policy.identity.as_deref().filter(|_| edns.option(EdnsCode::NSID).is_some());
        if let Some(payload) = identity.and_then(|identity| NSIDPayload::new(identity.as_bytes()).ok()) {
            ours.options_mut().insert(EdnsOption::NSID(payload));
        }
        if transport == Transport::Tcp && edns.option(EdnsCode::Keepalive).is_some() {
            let idle = KEEP_ALIVE.to_be_bytes().to_vec();
            ours.options_mut().insert(EdnsOption::Unknown(EdnsCode::Keepalive.into(), idle));
        }
        response.set_edns(ours);
    }
    response
}

fn explain(error: ExtendedError, response: &mut Message) {
    if let Some(edns) = &mut response.edns {
        edns.options_mut().insert(EdnsOption::Unknown(15, (error as u16).to_be_bytes().to_vec()));
    }
}

/// Cuts what does not fit: first what is only additional, and then everything, which tells the
/// client to come by TCP (RFC 2181 section 9). Who is there already gets an error.
fn finish(response: &mut Message, query: &Query<'_>, transport: Transport, about: About) -> Outcome {
    let limit = limit(query, transport);
    // hickory cuts at 64 KiB by itself, and sets TC.
    let is_whole = |bytes: &Vec<u8>, response: &Message| {
        bytes.len() <= limit && bytes.get(2).is_some_and(|flags| (flags & 0x02 != 0) == response.metadata.truncation)
    };
    let fits = |response: &Message| response.to_vec().ok().filter(|bytes| is_whole(bytes, response));
    let bytes = fits(response)
        .or_else(|| {
            response.additionals.clear();
            fits(response)
        })
        .or_else(|| {
            match transport {
                Transport::Udp => response.metadata.truncation = true,
                Transport::Tcp => response.metadata.response_code = ResponseCode::ServFail,
            }
            response.answers.clear();
            response.authorities.clear();
            fits(response)
        });
    let rcode = u16::from(response.metadata.response_code);
    match bytes {
        Some(bytes) => Outcome::Answer(Answer { bytes, about, rcode }),
        // A question and an OPT record fit in 512 bytes.
        None => Outcome::Dropped,
    }
}

enum Filled {
    Whole,
    Because(ExtendedError),
    ByUpstream,
}

fn fill(
    zones: Option<&Zones>,
    policy: &Policy,
    forwards: bool,
    query: &Query<'_>,
    response: &mut Message,
    about: &mut About,
) -> Filled {
    // RFC 6891 section 6.1.3.
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        response.metadata.response_code = ResponseCode::BADVERS;
        return Filled::Whole;
    }
    let asked = query.question.kind;
    if query.question.class == u16::from(DNSClass::CH) && answer_identity(policy, query, response) {
        return Filled::Whole;
    }
    let is_transfer = matches!(asked, kind::IXFR | kind::AXFR);
    if query.question.class != u16::from(DNSClass::IN) || is_transfer {
        response.metadata.response_code = ResponseCode::Refused;
        return Filled::Whole;
    }
    let Some(zones) = zones else {
        response.metadata.response_code = ResponseCode::Refused;
        return Filled::Because(ExtendedError::NotReady);
    };
    let name = query.lower.as_bytes();
    let found = match asked {
        kind::DS => zones.zone_of_ds(name).map_or_else(|| zones.lookup(name), |zone| zone.lookup(name)),
        _ => zones.lookup(name),
    };
    match found {
        // A network of which only some addresses have names of ours.
        Lookup::Missing { zone } if zone.configured.is_none() && forwards => return Filled::ByUpstream,
        Lookup::Found { zone, .. } | Lookup::Missing { zone } => {
            about.zone = zone.configured;
            response.metadata.authoritative = true;
            answer(zones, found, query, response);
        }
        Lookup::Denied { .. } | Lookup::OutOfZone if forwards => return Filled::ByUpstream,
        // DS and DNSKEY of a single label are a top-level domain's, and not ours to deny.
        Lookup::Denied { apex, exists } if !(apex.is_root() && matches!(asked, kind::DS | kind::DNSKEY)) => {
            let apex = hickory(&apex);
            response.metadata.authoritative = true;
            response.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            response.add_authority(soa(&apex, &apex, &apex, zones.serial(), DENIED_TTL));
        }
        Lookup::Denied { .. } | Lookup::OutOfZone => {
            response.metadata.response_code = ResponseCode::Refused;
            return Filled::Because(ExtendedError::NotAuthoritative);
        }
    }
    Filled::Whole
}

/// Answers what is asked of a name in a zone, and of those that it is an alias of.
fn answer(zones: &Zones, found: Lookup<'_>, query: &Query<'_>, response: &mut Message) {
    let mut found = found;
    let mut owner = query.name.clone();
    let mut name = query.lower.clone();
    for _ in 0..ALIASES {
        let (zone, node, is_of_its_own) = match found {
            Lookup::Found { zone, node, wildcard } => (zone, Some(node), !wildcard),
            Lookup::Missing { zone } => (zone, None, false),
            // An alias has led out of what is ours: whoever asked goes on from there.
            Lookup::Denied { .. } | Lookup::OutOfZone => return,
        };
        // A wildcard covers no challenge, or no wildcard certificate could be had.
        let challenge = if is_of_its_own { None } else { zone.acme_challenge_target(name.as_bytes()) };
        let alias = challenge.map(|target| (CHALLENGE_TTL, target)).or_else(|| {
            let node = node?;
            Some((node.rrset(kind::CNAME)?.ttl, node.alias()?))
        });
        let wants_alias = matches!(query.question.kind, kind::CNAME | kind::ANY);
        match (node, alias) {
            (_, Some((ttl, target))) => {
                let data = RData::CNAME(CNAME(hickory(&target)));
                response.add_answer(Record::from_rdata(owner.clone(), ttl, data));
                let turns_back = response.answers.iter().any(|record| record.name == hickory(&target));
                if wants_alias || turns_back {
                    return;
                }
                owner = hickory(&target);
                found = zones.lookup(target.as_bytes());
                name = target;
            }
            (Some(node), None) => return of_node(zones, zone, node, &name, &owner, query, response),
            // RFC 6604: the code is that of the last name.
            (None, None) => {
                response.metadata.response_code = ResponseCode::NXDomain;
                response.add_authority(soa_of(zone));
                return;
            }
        }
    }
}

/// Seconds: a challenge is answered once, and its record is gone (RFC 8555 section 8.4).
const CHALLENGE_TTL: u32 = 5;

fn of_node(
    zones: &Zones,
    zone: &Zone,
    node: &Node,
    name: &WireName,
    owner: &Name,
    query: &Query<'_>,
    response: &mut Message,
) {
    let is_apex = *name == zone.apex;
    // RFC 8482: one RRset is answer enough to ANY.
    let asked = match query.question.kind {
        kind::ANY if is_apex => kind::SOA,
        kind::ANY => node.rrsets.first().map_or(kind::ANY, |rrset| rrset.kind),
        kind => kind,
    };
    let mut mentioned: Vec<WireName> = Vec::new();
    if asked == kind::SOA && is_apex {
        let mut record = soa_of(zone);
        record.name = owner.clone();
        response.add_answer(record);
    } else if asked == kind::NS && is_apex {
        let data = RData::NS(NS(hickory(&zone.name_server)));
        response.add_answer(Record::from_rdata(owner.clone(), zone.ttl, data));
        mentioned.push(zone.name_server.clone());
    } else if let Some(rrset) = node.rrset(asked) {
        response.answers.extend(records(owner, rrset, query.id));
        mentioned.extend(rrset.data.iter().filter_map(mentions));
    } else {
        response.add_authority(soa_of(zone));
    }
    for name in mentioned {
        let Lookup::Found { node, .. } = zones.lookup(name.as_bytes()) else { continue };
        let owner = hickory(&name);
        for rrset in [kind::A, kind::AAAA].into_iter().filter_map(|kind| node.rrset(kind)) {
            let new: Vec<Record> =
                records(&owner, rrset, 0).filter(|record| !response.additionals.contains(record)).collect();
            response.additionals.extend(new);
        }
    }
}

/// The name whose addresses a reader of this record asks for next.
fn mentions(data: &Data) -> Option<WireName> {
    match data {
        Data::Record(RecordData::Mx { exchange: target, .. } | RecordData::Srv { target, .. }) => Some(target.into()),
        Data::Record(_) | Data::Https { .. } => None,
    }
}

fn records(owner: &Name, rrset: &RrSet, query_id: u16) -> impl Iterator<Item = Record> {
    let turn = rrset.rotation(query_id);
    let (last, first) = rrset.data.split_at(turn.min(rrset.data.len()));
    first.iter().chain(last).map(move |data| Record::from_rdata(owner.clone(), rrset.ttl, rdata(data)))
}

fn rdata(data: &Data) -> RData {
    let host = |name| hickory(&WireName::from(name));
    match data {
        Data::Record(RecordData::A(v4)) => RData::A(A(*v4)),
        Data::Record(RecordData::Aaaa(v6)) => RData::AAAA(AAAA(*v6)),
        Data::Record(RecordData::Cname(target)) => RData::CNAME(CNAME(host(target))),
        Data::Record(RecordData::Ptr(target)) => RData::PTR(PTR(host(target))),
        Data::Record(RecordData::Mx { preference, exchange }) => RData::MX(MX::new(*preference, host(exchange))),
        Data::Record(RecordData::Srv { priority, weight, port, target }) => {
            RData::SRV(SRV::new(*priority, *weight, *port, host(target)))
        }
        Data::Record(RecordData::Txt(strings)) => {
            RData::TXT(TXT::from_bytes(strings.iter().map(|text| text.as_bytes()).collect()))
        }
        Data::Https { v4, v6 } => {
            let protocols = Alpn(vec!["h2".to_owned(), "http/1.1".to_owned()]);
            let mut parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(protocols))];
            if !v4.is_empty() {
                let hint = IpHint(v4.iter().copied().map(A).collect());
                parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(hint)));
            }
            if !v6.is_empty() {
                let hint = IpHint(v6.iter().copied().map(AAAA).collect());
                parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(hint)));
            }
            RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters)))
        }
    }
}

/// `version.bind` and `id.server` (RFC 4892). False where the question is another one, or nobody's business.
fn answer_identity(policy: &Policy, query: &Query<'_>, response: &mut Message) -> bool {
    let Some(identity) = policy.identity.as_deref() else { return false };
    let text = match query.lower.to_string().as_str() {
        "version.bind" | "version.server" => concat!("doorward ", env!("CARGO_PKG_VERSION")),
        "id.server" | "hostname.bind" => identity,
        _ => return false,
    };
    if query.question.kind != kind::TXT {
        return false;
    }
    let mut record = Record::from_rdata(query.name.clone(), 0, RData::TXT(TXT::from_bytes(vec![text.as_bytes()])));
    record.dns_class = DNSClass::CH;
    response.metadata.authoritative = true;
    response.add_answer(record);
    true
}

fn soa_of(zone: &Zone) -> Record {
    let name_server = hickory(&zone.name_server);
    soa(&hickory(&zone.apex), &name_server, &hickory(&zone.mailbox), zone.serial, zone.negative_ttl)
}

/// A denial holds for the lesser of the SOA's own TTL and its MINIMUM (RFC 2308 sections 3 and 5).
/// Both are the negative TTL, wherever the SOA stands: then it counts, above the zone's TTL too.
fn soa(apex: &Name, name_server: &Name, mailbox: &Name, serial: u32, negative_ttl: u32) -> Record {
    let [refresh, retry, expire] = SOA_TIMES.map(u32::cast_signed);
    let data = SOA::new(name_server.clone(), mailbox.clone(), serial, refresh, retry, expire, negative_ttl);
    Record::from_rdata(apex.clone(), negative_ttl, RData::SOA(data))
}

fn hickory(name: &WireName) -> Name {
    // A wire name is at most as long as the host name it comes from, which hickory takes.
    Name::from_labels(crate::zone::labels(name.as_bytes())).unwrap_or_else(|_| Name::root())
}

#[cfg(test)]
mod tests;
