//! The common path against the reference, for generated zones and queries, and what it must not do.

use std::net::IpAddr;

use hickory_proto::op::Message;
use k8s::model::{NameClaim, RecordData};
use proptest::prelude::*;

use super::*;
use crate::{
    fixture,
    reference::{self, Outcome, Policy, Transport},
    view::Views,
};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Labels of few letters, so that names meet.
const NAME: &str = "(\\*\\.)?((a|b|ns|_acme-challenge)\\.){0,4}z";

fn claim() -> impl Strategy<Value = NameClaim> {
    let addresses = prop::sample::select(vec!["", "10.0.0.1", "fd00::1", "10.0.0.1 10.0.0.2 fd00::1 fd00::2"]);
    let served = (NAME, addresses, any::<bool>()).prop_map(|(name, addresses, https)| {
        let name = if https { format!("+{name}") } else { name };
        fixture::claims(&[(addresses, &name)]).remove(0)
    });
    let data = prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RecordData::A(octets.into())),
        "[ -~]{0,40}".prop_map(|text| fixture::text(&[&text])),
        Just(RecordData::Mx { preference: 10, exchange: "a.z".parse().expect("a name") }),
    ];
    let records = (NAME, prop::collection::vec(data, 1..4), prop::option::of(0..100_000_u32))
        .prop_map(|(name, data, ttl)| NameClaim { ttl, ..fixture::records(&name, data) });
    let alias = (NAME, "((a|b|c)\\.){0,3}z").prop_map(|(name, target)| fixture::alias(&name, &target));
    prop_oneof![4 => served, 2 => records, 1 => alias]
}

fn views(claims: Vec<NameClaim>, nested: bool, acme: bool) -> Views {
    let inner = if nested { ", a.b.z" } else { "" };
    let acme = if acme { ", acmeChallenge: acme.example" } else { "" };
    let config = fixture::config(&format!(
        "zones: [{{name: z, ttl: 30{acme}}}{inner}]\ndns: {{addresses: [192.168.8.22], httpsRecords: true}}"
    ));
    Views::build(claims, &config, 1)
}

/// A query's bytes from its parts, most of them common.
fn query() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![8 => NAME.prop_map(|name| name), 1 => "[a-zA-Z0-9_*-]{1,20}(\\.z)?".prop_map(|name| name)];
    let kind = prop_oneof![
        4 => Just(1_u16), 2 => Just(28), 2 => Just(65), 1 => Just(16), 1 => Just(5), 1 => Just(255), 2 => any::<u16>()
    ];
    let flags = prop_oneof![6 => Just([1_u8, 0]), 2 => Just([0, 0x30]), 1 => any::<[u8; 2]>()];
    let edns = prop_oneof![
        3 => Just(None),
        4 => any::<(u16, bool)>().prop_map(|(size, dnssec_ok)| Some((size, 0, dnssec_ok, Vec::new()))),
        1 => (any::<u16>(), any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..8))
            .prop_map(Some),
    ];
    (any::<u16>(), flags, name, any::<u32>(), kind, edns, prop_oneof![9 => Just(1_u16), 1 => any::<u16>()]).prop_map(
        |(id, flags, name, capitals, kind, edns, class)| {
            let mut bytes = id.to_be_bytes().to_vec();
            bytes.extend(flags);
            bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
            for label in name.split('.') {
                bytes.push(u8::try_from(label.len()).expect("short"));
                bytes.extend(
                    label.bytes().enumerate().map(|(at, byte)| {
                        if capitals >> (at % 32) & 1 == 1 { byte.to_ascii_uppercase() } else { byte }
                    }),
                );
            }
            bytes.push(0);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(class.to_be_bytes());
            if let Some((size, version, dnssec_ok, options)) = edns {
                bytes.extend([0, 0, 41]);
                bytes.extend(size.to_be_bytes());
                bytes.extend([0, version, u8::from(dnssec_ok) << 7, 0]);
                bytes.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
                bytes.extend(options);
            }
            bytes
        },
    )
}

/// A query as it may come from the network: damaged now and then.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (query(), damage, any::<prop::sample::Index>(), 0..8).prop_map(|(mut bytes, damage, cut, whether)| {
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if whether == 0 {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    })
}

/// Both ways' responses, where the common path takes the query.
fn both(views: &Views, query: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut out = [0; UDP_PAYLOAD];
    let common = answer(views.default_zones(), query, &mut out)?;
    let policy = Policy { forward_to: Some([192, 168, 8, 1].into()), ..Policy::default() };
    match reference::respond(Some(views), &policy, query, CLIENT, Transport::Udp) {
        Outcome::Answer(answer) => {
            assert_eq!(common.kind, answer.about.kind);
            assert_eq!(common.zone, answer.about.zone);
            assert_eq!(u16::from(common.is_name_error) * 3, answer.rcode);
            Some((out[..common.length].to_vec(), answer.bytes))
        }
        other => panic!("the reference does not answer what the common path does: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_common_path_says_what_the_reference_says(
        claims in prop::collection::vec(claim(), 0..12),
        queries in prop::collection::vec(damaged(), 20),
        nested in any::<bool>(),
        acme in any::<bool>(),
    ) {
        let views = views(claims, nested, acme);
        for query in queries {
            if let Some((common, reference)) = both(&views, &query) {
                let said = |bytes: &[u8]| Message::from_vec(bytes).expect("a response that can be read");
                prop_assert_eq!(said(&common), said(&reference), "{:02x?}", query);
                prop_assert_eq!(&common[..4], &reference[..4], "id and flags of {:02x?}", query);
                let end = Question::read(&query).expect("a question").end;
                prop_assert_eq!(&common[12..end], &query[12..end], "the question as it was asked");
            }
        }
    }

    #[test]
    fn no_bytes_make_either_panic_and_every_answer_can_be_read(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        queries in prop::collection::vec(damaged(), 20),
    ) {
        let views = views(fixture::claims(&[("10.0.0.1", "*.z")]), true, true);
        for query in queries.iter().chain([&bytes]) {
            let mut out = [0; UDP_PAYLOAD];
            let _ = answer(views.default_zones(), query, &mut out);
            if let Outcome::Answer(answer) =
                reference::respond(Some(&views), &Policy::default(), query, CLIENT, Transport::Udp)
            {
                prop_assert!(answer.bytes.len() <= UDP_PAYLOAD);
                prop_assert!(Message::from_vec(&answer.bytes).is_ok(), "{:02x?}", query);
            }
        }
    }
}

#[test]
fn what_is_asked_all_day_is_common() {
    let views = views(
        fixture::claims(&[("10.0.0.1 fd00::1", "+a.z"), ("10.0.0.1", "*.b.z"), ("10.0.0.1", "a.a.b.z")]),
        false,
        false,
    );
    let wire = |name: &str, kind: u16| {
        let mut bytes = vec![7, 7, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend(crate::zone::WireName::from_text(name).as_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    for (name, kind) in [
        ("a.z", kind::A),
        ("a.z", kind::AAAA),
        ("a.z", kind::HTTPS),
        ("a.z", kind::TXT),
        ("x.b.z", kind::A),
        ("y.x.b.z", kind::AAAA),
        ("a.b.z", kind::A),
        ("nothing.z", kind::A),
        ("z", kind::A),
    ] {
        assert!(both(&views, &wire(name, kind)).is_some(), "{name} {kind}");
    }
}

/// Counted with the headers of IP and UDP, as a link counts.
#[test]
fn no_answer_about_a_routed_name_is_more_than_twice_its_question() {
    let config = fixture::config(
        "zones: [{name: home.example, acmeChallenge: acme.home.test}]\ndns: {addresses: [192.168.8.22], httpsRecords: true}",
    );
    let claims = fixture::claims(&[("10.0.0.1 fd00::1", "+a.home.example"), ("10.0.0.1", "*.b.home.example")]);
    let views = Views::build(claims, &config, 1);
    let policy = Policy { identity: Some("gateway-5d4f8c9b7-abcde".to_owned()), ..Policy::default() };
    let headers = 28;
    let ours = ["a", "x.b", "b", "nothing", "ns", "_acme-challenge.a"].map(|name| format!("{name}.home.example"));
    let others = ["home.example", "other.example", "nas", "1.168.192.in-addr.arpa"].map(str::to_owned);
    for name in ours.iter().chain(&others) {
        for kind in 0..=260 {
            for edns in [false, true] {
                let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
                bytes.extend(crate::zone::WireName::from_text(name).as_bytes());
                bytes.extend(u16::to_be_bytes(kind));
                bytes.extend([0, 1]);
                bytes.extend(if edns { &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0][..] } else { &[] });
                let outcome = reference::respond(Some(&views), &policy, &bytes, CLIENT, Transport::Udp);
                let Outcome::Answer(answer) = outcome else { panic!("{name} {kind}: an answer") };
                let factor = (answer.bytes.len() + headers) as f64 / (bytes.len() + headers) as f64;
                assert!(factor <= 2.0, "{name} {kind} edns {edns}: {factor}");
            }
        }
    }
}
