//! What is read as an object, and what is said of what cannot be.

use proptest::prelude::*;

use super::*;

#[test]
fn documents_and_lists_become_objects_and_foreign_kinds_are_passed_over() {
    let objects = read(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: media}}\n",
    )
    .expect("readable");
    let keys: Vec<_> = objects.iter().map(|object| (object.kind().name(), object.key())).collect();
    assert_eq!(keys, [("Service", ("default".into(), "a".into())), ("Namespace", ("".into(), "media".into()))]);
}

#[test]
fn every_object_is_in_the_namespace_that_the_api_server_would_put_it_in() {
    for (kind, metadata, expected) in [
        ("Service", "{name: a}", "default"),
        ("Service", "{name: a, namespace: ''}", "default"),
        ("Service", "{name: a, namespace: media}", "media"),
        ("Namespace", "{name: a, namespace: media}", ""),
    ] {
        let objects = read(&format!("apiVersion: v1\nkind: {kind}\nmetadata: {metadata}")).expect(metadata);
        assert_eq!(objects[0].key(), (expected.into(), "a".into()), "{kind} {metadata}");
    }
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, expected) in [
        ("a: [", "line 1"),
        ("a: 1\nb: 2\na: 3", "duplicate mapping key `a` is not allowed here at line 3"),
        (&*"- ".repeat(100), "is nested too deeply at line 1"),
        (&*"---\n".repeat(MOST_DOCUMENTS + 1), "holds more than is read of one file at line"),
        ("metadata: {name: a}", "document 1: has no apiVersion or no kind"),
        ("apiVersion: v1\nkind: Service", "document 1: Service has no metadata.name"),
        ("apiVersion: v1\nkind: List\nitems: [{}]", "document 1, item 1: has no apiVersion or no kind"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [{host: 5}]}",
            "Ingress default/a: spec.rules[0].host: invalid type",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: a}",
            "GatewayClass a: missing field `spec`",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn a_watched_kind_in_another_version_is_read_where_it_has_the_same_shape_and_otherwise_named() {
    let read = |api: &str, kind: &str| {
        let spec = "{gatewayClassName: a, controllerName: a, addressType: IPv4}";
        let text = format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}");
        read(&text).map(|objects| objects.len())
    };
    for kind in ["Gateway", "GatewayClass", "HTTPRoute"] {
        assert_eq!(read("gateway.networking.k8s.io/v1beta1", kind), Ok(1), "{kind}");
    }
    for (api, kind, expected) in [
        ("networking.k8s.io/v1beta1", "Ingress", "Ingress of networking.k8s.io/v1"),
        ("extensions/v1beta1", "Ingress", "Ingress of networking.k8s.io/v1"),
        ("v1", "Ingress", "Ingress of networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "ingress", "Ingress of networking.k8s.io/v1"),
        ("networking.k8s.io/v1beta1", "IngressClass", "IngressClass of networking.k8s.io/v1"),
        ("gateway.networking.k8s.io/v1alpha2", "HTTPRoute", "HTTPRoute of gateway.networking.k8s.io/v1"),
        ("gateway.networking.k8s.io/v1", "HttpRoute", "HTTPRoute of gateway.networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "Gateway", "Gateway of gateway.networking.k8s.io/v1"),
        ("gateway.networking.k8s.io/v1alpha2", "ReferenceGrant", "ReferenceGrant of gateway.networking.k8s.io/v1"),
        ("discovery.k8s.io/v1beta1", "EndpointSlice", "EndpointSlice of discovery.k8s.io/v1"),
        ("apps/v1", "Service", "Service of v1"),
        ("gateway.networking.k8s.io/v1alpha2", "GRPCRoute", "GRPCRoute of gateway.networking.k8s.io/v1"),
        ("gateway.networking.k8s.io/v1alpha3", "TLSRoute", "TLSRoute of gateway.networking.k8s.io/v1"),
        ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", "TCPRoute of gateway.networking.k8s.io/v1"),
        ("externaldns.k8s.io/v1beta1", "DNSEndpoint", "DNSEndpoint of externaldns.k8s.io/v1alpha1"),
    ] {
        let error = read(api, kind).expect_err(api);
        assert!(error.ends_with(&format!(": is written as {kind} of {api}, expected {expected}")), "{error}");
    }
    for (api, kind) in [
        ("networking.istio.io/v1", "Gateway"),
        ("serving.knative.dev/v1", "Service"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XBackend"),
        ("traefik.io/v1alpha1", "IngressRoute"),
    ] {
        assert_eq!(read(api, kind), Ok(0), "{kind} of {api}");
    }
}

#[test]
fn a_document_that_is_wrong_stops_no_other() {
    let documents = documents(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 80}\n---\nmetadata: {name: b}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: c, namespace: media}\n",
    )
    .expect("YAML");
    let seen: Vec<_> = documents
        .iter()
        .map(|it| (it.name.as_ref().map(ToString::to_string), it.objects.len(), it.error.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("Service default/a".to_owned()), 0, true),
            (None, 0, true),
            (Some("Service media/c".to_owned()), 1, false)
        ]
    );
}

#[test]
fn ten_thousand_objects_may_be_in_one_file() {
    let service = |n| {
        format!(
            "--- {{apiVersion: v1, kind: Service, metadata: {{name: s{n}, namespace: media, labels: {{a: b, c: d, e: f}}}}, spec: {{ports: [{{name: http, port: 80}}, {{name: https, port: 443}}]}}}}\n"
        )
    };
    let text: String = (0..10_000).map(service).collect();
    assert_eq!(read(&text).map(|objects| objects.len()), Ok(10_000));
}

#[test]
fn endpoints_that_a_cluster_would_mirror_are_slices() {
    let read = |metadata: &str, subsets: &str| {
        read(&format!("apiVersion: v1\nkind: Endpoints\nmetadata: {{name: nas{metadata}}}\nsubsets: {subsets}"))
    };
    let subsets = "[{addresses: [{ip: 192.168.8.9}, {ip: 'fd00::9'}], notReadyAddresses: [{ip: 192.168.8.8}], ports: [{name: web, port: 5001}]}, {addresses: [{ip: 192.168.8.7}], ports: [{port: 80}]}]";
    let seen: Vec<_> = read("", subsets)
        .expect("readable")
        .iter()
        .map(|object| {
            let Object::EndpointSlice(slice) = object else { panic!("{object:?}") };
            let endpoints = slice.endpoints.iter().map(|endpoint| {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
                format!("{} {}", endpoint.addresses.join(" "), ready.expect("said"))
            });
            let service = object.slice_of().expect("of a Service").to_string();
            let port = slice.ports.as_ref().expect("ports")[0].port.expect("a port");
            format!("{service} {}:{port}", endpoints.collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert_eq!(
        seen,
        [
            "default/nas 192.168.8.9 true, 192.168.8.8 false:5001",
            "default/nas fd00::9 true:5001",
            "default/nas 192.168.8.7 true:80"
        ]
    );
    for metadata in [
        ", labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}",
        ", annotations: {control-plane.alpha.kubernetes.io/leader: ''}",
    ] {
        assert_eq!(read(metadata, subsets), Ok(Vec::new()), "{metadata}");
    }
    assert_eq!(
        read("", "[{addresses: [{ip: nas.example}]}]"),
        Err("Endpoints default/nas: subsets[0].addresses[0].ip: \"nas.example\" is not an IP address".to_owned())
    );
}

#[test]
fn a_field_that_is_null_is_not_set() {
    let objects = read(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a, namespace: }\nspec: {parentRefs: , hostnames: ~, rules: [{matches: null, backendRefs: }]}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec:\n  gatewayClassName: a\n  addresses:\n  listeners:\n  - {name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: , namespaces: {from: Selector, selector: {matchLabels: {team: }, matchExpressions: }}}}\n",
    )
    .expect("readable");
    let [Object::HttpRoute(route), Object::Gateway(gateway)] = &*objects else { panic!("{objects:?}") };
    assert_eq!((route.metadata.namespace.as_deref(), route.spec.rules.len()), (Some("default"), 1));
    let allowed = gateway.spec.listeners[0].allowed_routes.as_ref().and_then(|it| it.namespaces.as_ref());
    let selector = allowed.and_then(|it| it.selector.as_ref()).expect("a selector");
    assert_eq!(selector.match_labels, Some([("team".to_owned(), String::new())].into()), "it does not select all");
}

#[test]
fn a_secret_is_read_as_the_api_server_reads_it_and_no_error_shows_what_is_in_it() {
    let read = |more: &str| read(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{more}"));
    for (more, expected) in [
        ("type: kubernetes.io/tls\nstringData: {k: v}", "v"),
        ("type: kubernetes.io/tls\ndata: {k: b2xk}\nstringData: {k: new}", "new"),
        ("type: kubernetes.io/tls\ndata:\n  k: |\n    c2V2ZXJhbCBs\n    aW5lcw==\n", "several lines"),
        ("type: kubernetes.io/tls\ndata: {k: \"dmFsdWU=\\n\"}", "value"),
    ] {
        let objects = read(more).expect(more);
        let [Object::Secret(secret)] = &*objects else { panic!("{objects:?}") };
        assert_eq!(secret.data.as_ref().expect("data")["k"].0, expected.as_bytes(), "{more}");
    }
    for (more, expected) in [
        ("data: {tls.crt: 'ENC[canary]'}", "data.tls.crt: is not base64; if the file is encrypted, decrypt it first"),
        ("data: 'ENC[canary]'", "data: is not a map"),
        ("stringData: {tls.key: [canary]}", "stringData.tls.key: is not a string"),
    ] {
        let error = read(&format!("type: kubernetes.io/tls\n{more}")).expect_err(more);
        assert_eq!(error, format!("Secret default/a: {expected}"));
        // Of another type it is nobody's business.
        for of_type in ["", "type: Opaque\n"] {
            assert_eq!(read(&format!("{of_type}{more}")), Ok(Vec::new()));
        }
    }
}

const SAMPLE: &str = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Endpoints\n  metadata: {name: a, labels: {b: c}}\n  subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]\n- apiVersion: v1\n  kind: Secret\n  type: kubernetes.io/tls\n  metadata: &m {name: a}\n  data: {tls.crt: YQ==}\n  stringData: {tls.key: b}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a, namespace: b}\nspec: {gatewayClassName: a, listeners: [{name: a, port: 80, protocol: HTTP}]}\n";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(
        swaps in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..20, ".{0,8}|[-&*\\[\\]{}:,!|>\"' \\n]{0,8}"),
            0..5,
        ),
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (place, length, with) in swaps {
            let from = place.index(text.len());
            let to = text.len().min(from + length);
            text.splice(from..to, with.chars());
            text.push('\n');
        }
        let _ = documents(&text.into_iter().collect::<String>());
    }
}
