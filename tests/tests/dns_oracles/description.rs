//! What is served: one description, from which each server's own files are made.

use std::fmt::Write;

use tests::{
    Home,
    home::{ingress_of, service},
};

/// Siblings, as a zone inside another one is a delegation to Knot and NSD.
pub(crate) const ZONES: [&str; 2] = ["home.example", "lab.example"];

/// The addresses with which a name is served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Both,
    /// More than fit in 512 bytes.
    Many,
    V4,
    V6,
}

impl Door {
    /// The first one that serves a name gives it its addresses, and the last one serves them all.
    const ALL: [Self; 4] = [Self::V4, Self::V6, Self::Many, Self::Both];

    fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Many => "many",
            Self::V4 => "four",
            Self::V6 => "six",
        }
    }

    fn addresses(self) -> Vec<String> {
        let v4 = |last: u8| format!("192.168.8.{last}");
        let v6 = |last: u8| format!("fd00::{last}");
        match self {
            Self::Both => vec![v4(21), v6(21), v6(22)],
            Self::Many => (101..=150).map(v4).collect(),
            Self::V4 => vec![v4(31)],
            Self::V6 => vec![v6(41)],
        }
    }
}

const LONG: &str = "a23456789-123456789-123456789-123456789-123456789-123456789-123";

pub(crate) fn names() -> Vec<(String, Door)> {
    let mut names: Vec<(String, Door)> = [
        ("grafana.home.example", Door::Both),
        ("git.home.example", Door::V4),
        ("six.home.example", Door::V6),
        ("many.home.example", Door::Many),
        ("a.home.example", Door::V4),
        // Empty non-terminals above.
        ("x.y.z.home.example", Door::Both),
        ("a.b.c.d.e.f.g.h.i.j.k.l.home.example", Door::V4),
        // Above and below names of their own.
        ("media.home.example", Door::V4),
        ("films.media.home.example", Door::V6),
        ("hd.films.media.home.example", Door::Both),
        // Wildcards at several depths.
        ("*.apps.home.example", Door::V4),
        ("*.deep.apps.home.example", Door::V6),
        ("*.wild.of.home.example", Door::Both),
        ("*.media.home.example", Door::Many),
        ("*.x.y.z.home.example", Door::V4),
        // Names and empty non-terminals that keep a wildcard away.
        ("own.apps.home.example", Door::Both),
        ("far.below.apps.home.example", Door::V4),
        // A zone that has everything.
        ("*.lab.example", Door::Both),
        ("pi.lab.example", Door::V4),
        ("rack.one.lab.example", Door::V6),
        ("*.two.lab.example", Door::V4),
    ]
    .map(|(name, door)| (name.to_owned(), door))
    .into();
    names.push((format!("{LONG}.home.example"), Door::V4));
    names.push((format!("*.{LONG}.{LONG}.home.example"), Door::V6));
    names
}

/// What the configuration says by itself: name, type, TTL and data, all in absolute names.
pub(crate) type Static = (&'static str, &'static str, Option<u32>, &'static [&'static str]);

pub(crate) const RECORDS: &[Static] = &[
    ("txt.home.example", "TXT", Some(60), &["v=spf1 -all", "Second; with \\ and blanks"]),
    ("mail.home.example", "MX", None, &["10 grafana.home.example", "20 mx.example.org"]),
    ("_http._tcp.home.example", "SRV", Some(120), &["0 5 80 grafana.home.example", "1 5 8080 nowhere.home.example"]),
    ("alias.home.example", "CNAME", None, &["grafana.home.example"]),
    ("far.home.example", "CNAME", Some(300), &["alias.home.example"]),
    ("away.home.example", "CNAME", None, &["example.org"]),
    ("dangling.home.example", "CNAME", None, &["nowhere.home.example"]),
    ("over.home.example", "CNAME", None, &["anything.apps.home.example"]),
    ("other-zone.home.example", "CNAME", None, &["pi.lab.example"]),
    ("loop-a.home.example", "CNAME", None, &["loop-b.home.example"]),
    ("loop-b.home.example", "CNAME", None, &["loop-a.home.example"]),
    ("*.aliases.home.example", "CNAME", None, &["git.home.example"]),
    ("*.texts.home.example", "TXT", None, &["below a wildcard"]),
    ("static.home.example", "A", Some(7), &["192.168.8.77", "192.168.8.78"]),
    ("static.home.example", "AAAA", Some(9), &["fd00::77"]),
    ("static.home.example", "TXT", None, &["beside addresses"]),
];

/// Every name that exists by itself; empty non-terminals are above them.
pub(crate) fn owners() -> Vec<String> {
    let apexes = ZONES.iter().flat_map(|zone| [(*zone).to_owned(), format!("ns.{zone}")]);
    let routed = names().into_iter().map(|(name, _)| name);
    let by_itself = RECORDS.iter().map(|(name, ..)| (*name).to_owned());
    apexes.chain(routed).chain(by_itself).collect()
}

/// The configuration and the manifests of `gateway`.
pub(crate) fn give_to(home: &Home) {
    let address = home.address(22);
    let mut text = format!("zones: [{}]\nentryPoints:\n", ZONES.join(", "));
    for (number, door) in Door::ALL.into_iter().enumerate() {
        let addresses: Vec<String> = door.addresses().iter().map(|address| format!("'{address}'")).collect();
        let default = matches!(door, Door::Both);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {}: {{addresses: [{}], http: {}, default: {default}}}",
            door.name(),
            addresses.join(", "),
            80 + number
        );
    }
    let classes = Door::ALL.map(|door| format!("{0}: {0}", door.name())).join(", ");
    let _ = writeln!(text, "ingress: {{classes: {{{classes}}}}}\ndrain: {{delay: 0}}");
    let _ = writeln!(text, "admin: {{gateway: '{address}:9150', router: '{address}:9151'}}");
    let _ = writeln!(text, "dns:\n  listen: ['{address}:5353']\n  addresses: ['192.168.8.22', 'fd00::53']");
    text.push_str("  records:\n");
    for (name, kind, ttl, data) in RECORDS {
        let ttl = ttl.map(|ttl| format!(", ttl: {ttl}")).unwrap_or_default();
        let data: Vec<String> = data.iter().map(|it| format!("'{it}'")).collect();
        let _ = writeln!(text, "  - {{name: '{name}', type: {kind}, targets: [{}]{ttl}}}", data.join(", "));
    }
    home.write("doorward.yaml", &text);

    let mut manifests = service("web", &[]);
    for door in Door::ALL {
        let _ = writeln!(
            manifests,
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {}}}\nspec: {{controller: doorward.dev/ingress}}\n---",
            door.name()
        );
    }
    for (number, (name, door)) in names().iter().enumerate() {
        manifests.push_str(&ingress_of(door.name(), &format!("app-{number}"), name, "web"));
    }
    home.apply("apps.yaml", &manifests);
}

/// A zone as a file. `apex` is the SOA and the name server, as `gateway` serves them.
pub(crate) fn zone_file(zone: &str, apex: &[String]) -> String {
    let mut text = format!("$TTL 30\n{}\n", apex.join("\n"));
    let inside = |name: &str| name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
    for (name, door) in names().iter().filter(|(name, _)| inside(name)) {
        for address in door.addresses() {
            let kind = if address.contains(':') { "AAAA" } else { "A" };
            let _ = writeln!(text, "{name}. IN {kind} {address}");
        }
    }
    for (name, kind, ttl, data) in RECORDS.iter().filter(|(name, ..)| inside(name)) {
        for data in *data {
            let data = match *kind {
                "CNAME" | "MX" | "SRV" => format!("{data}."),
                "TXT" => format!("\"{}\"", data.replace('\\', "\\\\")),
                _ => (*data).to_owned(),
            };
            let _ = writeln!(text, "{name}. {} IN {kind} {data}", ttl.unwrap_or(30));
        }
    }
    text
}
