//! The shape of the file: what serde reads, before anything is checked.

use std::{collections::BTreeMap, fmt, marker::PhantomData, net::IpAddr, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) zones: Vec<Zone>,
    pub(super) entry_points: Ordered<EntryPoint>,
    #[serde(default)]
    pub(super) ingress: Ingress,
    #[serde(default)]
    pub(super) gateway_api: GatewayApi,
    pub(super) default_certificate: Option<String>,
    #[serde(default)]
    pub(super) external_name_services: bool,
    #[serde(default)]
    pub(super) dns: Dns,
    #[serde(default)]
    pub(super) admin: Admin,
    #[serde(default)]
    pub(super) drain: Drain,
    pub(super) state_directory: Option<String>,
}

/// `home.example`, or `{name: home.example, ttl: 30, negativeTtl: 5}`.
#[derive(Debug)]
pub(super) struct Zone(pub(super) FullZone);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FullZone {
    pub(super) name: String,
    pub(super) ttl: Option<u32>,
    pub(super) negative_ttl: Option<u32>,
    pub(super) acme_challenge: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EntryPoint {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) http: Option<u16>,
    pub(super) https: Option<u16>,
    #[serde(default)]
    pub(super) listen: Listen,
    #[serde(default)]
    pub(super) redirect_to_https: bool,
    #[serde(default)]
    pub(super) trust: Trust,
    #[serde(default)]
    pub(super) default: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) addresses: Option<Vec<IpAddr>>,
    pub(super) http: Option<u16>,
    pub(super) https: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Trust {
    #[serde(default)]
    pub(super) sources: Vec<String>,
    pub(super) client_address: Option<String>,
    #[serde(default)]
    pub(super) proxy_protocol: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ingress {
    pub(super) controller: Option<String>,
    #[serde(default)]
    pub(super) classes: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayApi {
    pub(super) controller: Option<String>,
    pub(super) address: Option<IpAddr>,
    pub(super) service: Option<GatewayService>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayService {
    pub(super) router: String,
    pub(super) ports: Option<String>,
    pub(super) listen: Option<Vec<IpAddr>>,
    pub(super) external_traffic_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Dns {
    pub(super) listen: Option<Vec<String>>,
    #[serde(default)]
    pub(super) addresses: Vec<IpAddr>,
    pub(super) clients: Option<Vec<String>>,
    pub(super) strangers: Option<String>,
    #[serde(default)]
    pub(super) forwarders: Vec<String>,
    pub(super) entry_points: Option<Vec<String>>,
    #[serde(default)]
    pub(super) views: Vec<View>,
    #[serde(default)]
    pub(super) allowed_addresses: Vec<String>,
    #[serde(default)]
    pub(super) filter: DnsFilter,
    #[serde(default)]
    pub(super) records: Vec<Record>,
    #[serde(default)]
    pub(super) https_records: bool,
    #[serde(default)]
    pub(super) reverse: bool,
    pub(super) tls: Option<DnsTls>,
    pub(super) forward_to: Option<String>,
    pub(super) identify: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) sources: Vec<String>,
    pub(super) entry_points: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsFilter {
    pub(super) ingress_classes: Option<Vec<String>>,
    pub(super) gateway_classes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) targets: Vec<String>,
    pub(super) ttl: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DnsTls {
    pub(super) listen: Option<Vec<String>>,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) gateway: Option<String>,
    pub(super) router: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Drain {
    pub(super) delay: Option<u64>,
    pub(super) timeout: Option<u64>,
}

/// Asks which of its two forms it has, and then only for that: an error can so name the key that is wrong in it.
impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Zone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a domain such as home.example, or a map with its `name`")
            }

            fn visit_str<E>(self, name: &str) -> Result<Zone, E> {
                Ok(Zone(FullZone { name: name.to_owned(), ttl: None, negative_ttl: None, acme_challenge: None }))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Zone, M::Error> {
                FullZone::deserialize(MapAccessDeserializer::new(map)).map(Zone)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A map that keeps the order of the file.
#[derive(Debug)]
pub(super) struct Ordered<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Ordered<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// The error begins with the path in the file, and ends with the nearest key where one is misspelt.
pub(super) fn read(text: &str) -> Result<File, String> {
    let mut path = None;
    serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            path = Some(error.path().to_string());
            error.into_inner()
        })
    })
    .map_err(|error: serde_saphyr::Error| {
        let error = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let near = nearest(&error).map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
        match path.as_deref() {
            None | Some("." | "") => format!("{error}{near}"),
            Some(path) => format!("{path}: {error}{near}"),
        }
    })
}

/// Of "unknown field `prot`, expected one of port, … at line 3" the expected key closest to the unknown one.
fn nearest(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("unknown field `")?;
    let (unknown, expected) = rest.split_once("`, expected ")?;
    let expected = expected.split(" at line").next()?;
    expected
        .trim_start_matches("one of ")
        .split(", ")
        .map(|key| key.trim_matches('`'))
        .map(|key| (strsim::damerau_levenshtein(unknown, key), key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, key)| key)
}
