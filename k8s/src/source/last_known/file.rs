//! The file: its format, and how it is read and written, always as a whole.
//!
//! ```text
//! doorward-state 1 5891b5b5…            format, and SHA-256 of all that follows
//! 2026-11-23T19:15:02.123Z              when the cluster was last known to be like this
//! {"apiVersion":"networking.k8s.io/v1"  one object a line, as it would be in a manifest
//! ```

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kube::Resource;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;

use crate::{
    snapshot::Snapshot,
    source::{
        Kinds, directory,
        manifest::{self, Document},
    },
    telemetry, translate,
};

const NAME: &str = "doorward-state";
/// To be raised when an older program would take what is written for something else.
const FORMAT: &str = "1";
/// No write takes as long. What is older was left behind by one that did not end.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// What a file says.
#[derive(Debug)]
pub(super) struct Contents {
    /// When the cluster was last known to be like this.
    pub(super) as_of: SystemTime,
    /// One for each object of a kind that this version knows.
    pub(super) documents: Vec<Document>,
    /// How many are of other kinds.
    pub(super) unknown: usize,
    pub(super) objects: Checksum,
    /// Of the whole file, in bytes.
    pub(super) size: u64,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is cut short, or not a state that Doorward has written")]
    Foreign,
    #[error("it is of format {found}, and this version reads format {FORMAT}")]
    Format { found: String },
    #[error("it is damaged or cut short: its checksum is another")]
    Damaged,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum([u8; 32]);

impl Checksum {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(sum)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The lines of all objects but Secrets, in the order of the snapshot: equal objects always give equal lines. Who needs
/// no endpoints sends no requests anywhere, and needs no rules of routes either.
pub(super) fn objects(snapshot: &Snapshot, kinds: Kinds) -> serde_json::Result<Vec<u8>> {
    // Without `..`, so that a kind that is new is either kept or left out on purpose.
    let Snapshot {
        ingress_classes,
        ingresses,
        gateway_classes,
        gateways,
        listener_sets,
        http_routes,
        grpc_routes,
        tls_routes,
        tcp_routes,
        udp_routes,
        dns_endpoints,
        backend_tls_policies,
        cluster_trust_bundles,
        config_maps,
        reference_grants,
        namespaces,
        services,
        // A private key is in no file.
        secrets: _,
        endpoint_slices,
        problems: _,
        as_of: _,
        // Of the API server, which is asked again.
        bundle_version: _,
    } = snapshot;
    let mut lines = Vec::new();
    write_lines(ingress_classes, kinds, &mut lines)?;
    write_lines(ingresses, kinds, &mut lines)?;
    write_lines(gateway_classes, kinds, &mut lines)?;
    write_lines(gateways, kinds, &mut lines)?;
    write_lines(listener_sets, kinds, &mut lines)?;
    write_lines(http_routes, kinds, &mut lines)?;
    write_lines(grpc_routes, kinds, &mut lines)?;
    write_lines(tls_routes, kinds, &mut lines)?;
    write_lines(tcp_routes, kinds, &mut lines)?;
    write_lines(udp_routes, kinds, &mut lines)?;
    write_lines(dns_endpoints, kinds, &mut lines)?;
    write_lines(backend_tls_policies, kinds, &mut lines)?;
    write_lines(cluster_trust_bundles, kinds, &mut lines)?;
    write_lines(config_maps, kinds, &mut lines)?;
    write_lines(reference_grants, kinds, &mut lines)?;
    write_lines(namespaces, kinds, &mut lines)?;
    write_lines(services, kinds, &mut lines)?;
    endpoint_slices.values().try_for_each(|slices| write_lines(slices, kinds, &mut lines))?;
    Ok(lines)
}

fn write_lines<T>(objects: &[Arc<T>], kinds: Kinds, lines: &mut Vec<u8>) -> serde_json::Result<()>
where
    T: Resource<DynamicType = ()> + Serialize,
{
    for object in objects {
        let mut value = serde_json::to_value(object)?;
        value["apiVersion"] = T::api_version(&()).into();
        value["kind"] = T::kind(&()).into();
        drop_what_nobody_reads(&mut value, kinds);
        serde_json::to_writer(&mut *lines, &value)?;
        lines.push(b'\n');
    }
    Ok(())
}

/// What translation does not read may be a secret, as annotations and header values in the rules of routes have been,
/// and makes the text change when nothing of interest does.
fn drop_what_nobody_reads(object: &mut Value, kinds: Kinds) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| READ_METADATA.contains(&field.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| translate::reads_annotation(name));
        }
    }
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    // The address that a load balancer has given.
    if kind != "Service"
        && let Some(object) = object.as_object_mut()
    {
        object.remove("status");
    }
    if !kinds.endpoints
        && ["GRPCRoute", "HTTPRoute", "TLSRoute"].contains(&&*kind)
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("rules");
    }
}

/// By uid and owner a Service belongs to a Gateway.
const READ_METADATA: [&str; 7] =
    ["name", "namespace", "uid", "labels", "annotations", "creationTimestamp", "ownerReferences"];

/// The whole text.
pub(super) fn encode(as_of: SystemTime, objects: &[u8]) -> Vec<u8> {
    let body = [telemetry::rfc3339(as_of).as_bytes(), b"\n", objects].concat();
    [format!("{NAME} {FORMAT} {}\n", Checksum::of(&body)).as_bytes(), &body].concat()
}

/// Believes nothing of a text whose checksum is wrong.
pub(super) fn decode(text: &str) -> Result<Contents, Unusable> {
    let (head, body) = text.split_once('\n').ok_or(Unusable::Foreign)?;
    let [NAME, format, checksum] = head.split(' ').collect::<Vec<_>>()[..] else { return Err(Unusable::Foreign) };
    if format != FORMAT {
        return Err(Unusable::Format { found: format.to_owned() });
    }
    if Checksum::of(body.as_bytes()).to_string() != checksum {
        return Err(Unusable::Damaged);
    }
    let (as_of, objects) = body.split_once('\n').ok_or(Unusable::Damaged)?;
    let as_of: jiff::Timestamp = as_of.parse().map_err(|_| Unusable::Damaged)?;
    let mut contents = Contents {
        as_of: as_of.into(),
        documents: Vec::new(),
        unknown: 0,
        objects: Checksum::of(objects.as_bytes()),
        size: text.len() as u64,
    };
    for (index, line) in objects.lines().enumerate() {
        let read: manifest::Documents = serde_json::from_str(line).map_err(|_| Unusable::Damaged)?;
        let documents = read.at(&format!("object {}", index + 1));
        contents.unknown += usize::from(documents.is_empty());
        contents.documents.extend(documents);
    }
    Ok(contents)
}

/// None where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Contents>, Unusable> {
    match directory::read_text(path) {
        Ok(text) => decode(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whoever reads finds all of the old text or all of the new one, even after a loss of power. Nobody else may read.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let (directory, prefix) = place(path)?;
    fs::create_dir_all(directory)?;
    // Of a name that nobody else has: two replicas may share a directory. Its mode is 0600.
    let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(directory)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Deletes the unfinished files of programs that were killed while they wrote. What cannot be deleted is in nobody's
/// way.
pub(super) fn tidy(path: &Path) {
    let Ok((directory, prefix)) = place(path) else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified.elapsed().unwrap_or_default() > LEFT_BEHIND) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file of this size is there.
pub(super) fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// The directory, and how the names of unfinished files begin.
fn place(path: &Path) -> io::Result<(&Path, String)> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok((directory, format!(".{}.tmp-", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{self, Object};

    const KINDS: Kinds = Kinds { tls: true, endpoints: true, dns_endpoints: true };
    /// `a private key`, as a Secret has it.
    const KEY: &str = "YSBwcml2YXRlIGtleQ==";
    const OBJECTS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: media
  creationTimestamp: '2026-01-02T03:04:05Z'
  annotations:
    kubernetes.io/ingress.class: internal
    external-dns.alpha.kubernetes.io/ttl: 1m
    example.com/key: '-----BEGIN PRIVATE KEY-----'
    kubectl.kubernetes.io/last-applied-configuration: '{\"kind\":\"Ingress\"}'
  managedFields: [{manager: kubectl, operation: Apply}]
  resourceVersion: '123456'
status: {loadBalancer: {ingress: [{ip: 192.168.8.77}]}}
spec:
  ingressClassName: internal
  rules: [{host: web.home.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: internal}, spec: {controller: doorward.dev/ingress}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: doorward}, spec: {controllerName: doorward.dev/gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: home, namespace: network}
spec: {gatewayClassName: doorward, listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.home.example'}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: media}
spec:
  parentRefs: [{name: home, namespace: network}]
  rules: [{filters: [{type: FromTheFuture}, {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: authorization, value: letmein}]}}], backendRefs: [{name: web, port: 80, weight: 3}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: all, namespace: media}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: network}], to: [{group: '', kind: Service}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: media, labels: {team: home}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: media}, spec: {ports: [{name: http, port: 80, targetPort: web}]}, status: {loadBalancer: {ingress: [{ip: 192.168.8.78}]}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: media, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ['fd00::1'], conditions: {ready: true}}]
ports: [{name: http, port: 8080}]
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: tls, namespace: media}, data: {tls.key: YSBwcml2YXRlIGtleQ==}}
";

    fn snapshot(objects: impl IntoIterator<Item = Object>) -> Snapshot {
        source::snapshot(objects, KINDS)
    }

    fn time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_461_302_123)
    }

    fn text() -> String {
        text_for(KINDS)
    }

    fn text_for(kinds: Kinds) -> String {
        let objects = objects(&snapshot(manifest::read(OBJECTS).expect("right")), kinds).expect("all JSON");
        String::from_utf8(encode(time(), &objects)).expect("all text")
    }

    /// With a checksum that fits.
    fn signed(body: &str) -> String {
        format!("{NAME} {FORMAT} {}\n{body}", Checksum::of(body.as_bytes()))
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let contents = decode(&text()).expect("as written");
        assert_eq!((contents.as_of, contents.unknown), (time(), 0));
        assert!(contents.documents.iter().all(|document| document.error.is_none()), "{:?}", contents.documents);
        let read = snapshot(contents.documents.into_iter().flat_map(|document| document.objects));
        let written = manifest::read(OBJECTS).expect("right").into_iter().map(|object| match object {
            Object::Ingress(ingress) => {
                let mut ingress = Arc::unwrap_or_clone(ingress);
                ingress.metadata.managed_fields = None;
                ingress.metadata.resource_version = None;
                ingress.status = None;
                ingress.metadata.annotations.iter_mut().for_each(|all| all.retain(|name, _| name != "example.com/key"));
                ingress.into()
            }
            other => other,
        });
        let written = Snapshot { secrets: Some(Vec::new()), ..snapshot(written) };
        assert_eq!(format!("{read:#?}"), format!("{written:#?}"));
        assert_eq!(
            Checksum::of(&objects(&read, KINDS).expect("all JSON")),
            contents.objects,
            "the same objects, the same lines"
        );
    }

    #[test]
    fn no_key_and_nothing_that_nobody_reads_is_written() {
        let text = text();
        assert!(OBJECTS.contains(KEY));
        for present in ["ingress.class", "external-dns.alpha.kubernetes.io/ttl", "192.168.8.78", "letmein"] {
            assert!(text.contains(present), "no {present} in {text}");
        }
        for absent in [
            KEY,
            "a private key",
            "tls.key",
            "Secret",
            "BEGIN",
            "managedFields",
            "last-applied",
            "resourceVersion",
            "192.168.8.77",
        ] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        // Names need no rules.
        let text = text_for(Kinds { endpoints: false, ..KINDS });
        assert!(text.contains("HTTPRoute") && text.contains("web.home.example") && !text.contains("letmein"), "{text}");
    }

    #[test]
    fn a_text_that_is_cut_or_changed_anywhere_gives_nothing() {
        let text = text();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(decode(&text[..end]).is_err(), "cut at {end}");
        }
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert!(decode(&changed).is_err(), "changed at {place}");
        }
        assert!(decode(&format!("{text}\n")).is_err(), "something was added");
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let why = |text: &str| decode(text).expect_err(text).to_string();
        let foreign = "it is cut short, or not a state that Doorward has written";
        assert_eq!(why(""), foreign);
        assert_eq!(why("apiVersion: v1\nkind: List\n"), foreign);
        let newer = text().replacen(" 1 ", " 2 ", 1);
        assert_eq!(why(&newer), "it is of format 2, and this version reads format 1");
        let damaged = "it is damaged or cut short: its checksum is another";
        assert_eq!(why(&text().replace("web", "wob")), damaged);
        for body in ["", "2026-11-23T19:15:02Z", "yesterday\n", "2026-11-23T19:15:02Z\n{", "2026-11-23T19:15:02Z\n\n"] {
            assert_eq!(why(&signed(body)), damaged, "{body:?}");
        }
    }

    #[test]
    fn objects_of_another_version_are_left_out_one_by_one() {
        let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"media"},"spec":{}}"#;
        let wrong = service.replace("web", "wrong").replace(r#""spec":{}"#, r#""spec":[]"#);
        let unknown = service.replace("Service", "Door");
        let body = format!("2026-11-23T19:15:02Z\n{wrong}\n{unknown}\n{{}}\n{service}\n");
        let contents = decode(&signed(&body)).expect("the checksum is right");
        assert_eq!(contents.unknown, 1);
        let [wrong, nameless, service] = &contents.documents[..] else { panic!("{:?}", contents.documents) };
        assert_eq!(wrong.name.as_ref().map(|name| &*name.name), Some("wrong"));
        assert!(wrong.error.as_ref().is_some_and(|error| error.starts_with("spec: ")), "{wrong:?}");
        assert_eq!(nameless.error.as_deref(), Some("object 3: has no apiVersion or no kind"));
        assert_eq!((service.error.as_ref(), service.objects.len()), (None, 1));
    }
}
