//! What was read of an object before, and is as good as read again: it is a function of the object, of the configuration,
//! and of other objects that are the same ones still.

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};

use super::{attachment, ingress};
use crate::{
    gateway_api::{BackendTlsPolicy, ReferenceGrant},
    snapshot::Snapshot,
};

/// By where the object is, which is its own place for as long as it is held here.
#[derive(Clone, Default)]
struct All {
    ingresses: HashMap<usize, Arc<ingress::Reading>, RandomState>,
    routes: HashMap<usize, Arc<attachment::Reading>, RandomState>,
}

/// What is known after a translation.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// None where nobody goes on from it.
    others: Option<Arc<Others>>,
    all: All,
}

/// What is known in one.
#[derive(Default)]
pub(super) struct Readings<'a> {
    others: Option<Arc<Others>>,
    /// None where it counts no longer.
    before: Option<&'a All>,
    now: All,
}

/// The other objects that count when one is read.
struct Others {
    services: Vec<Arc<Service>>,
    reference_grants: Vec<Arc<ReferenceGrant>>,
    /// Those that a route asks for keep it from being known; but one may come.
    backend_tls_policies: Vec<Arc<BackendTlsPolicy>>,
    are_secrets_watched: bool,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let All { ingresses, routes } = &self.all;
        f.debug_struct("Known")
            .field("ingresses", &ingresses.len())
            .field("routes", &routes.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Readings<'a> {
    pub(super) fn go_on_from(&mut self, known: &'a Known, snapshot: &Snapshot) {
        let others = known.others.as_ref().filter(|it| it.are_in(snapshot));
        self.before = others.map(|_| &known.all);
        self.others = Some(others.map_or_else(|| Arc::new(Others::of(snapshot)), Arc::clone));
    }

    pub(super) fn ingress(&mut self, ingress: &Arc<Ingress>) -> Option<Arc<ingress::Reading>> {
        let known = self.before?.ingresses.get(&Arc::as_ptr(ingress).addr())?;
        self.keep_ingress(known);
        Some(Arc::clone(known))
    }

    pub(super) fn keep_ingress(&mut self, reading: &Arc<ingress::Reading>) {
        self.now.ingresses.insert(Arc::as_ptr(&reading.ingress).addr(), Arc::clone(reading));
    }

    /// Of a route of any kind.
    pub(super) fn route(&mut self, route: &Arc<dyn Any + Send + Sync>) -> Option<Arc<attachment::Reading>> {
        let known = self.before?.routes.get(&Arc::as_ptr(route).addr())?;
        self.keep_route(known);
        Some(Arc::clone(known))
    }

    pub(super) fn keep_route(&mut self, reading: &Arc<attachment::Reading>) {
        self.now.routes.insert(Arc::as_ptr(&reading.object).addr(), Arc::clone(reading));
    }

    pub(super) fn into_known(self) -> Known {
        Known { others: self.others, all: self.now }
    }
}

impl Others {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            services: snapshot.services.clone(),
            reference_grants: snapshot.reference_grants.clone(),
            backend_tls_policies: snapshot.backend_tls_policies.clone(),
            are_secrets_watched: snapshot.secrets.is_some(),
        }
    }

    /// Whether they are the same ones there.
    fn are_in(&self, snapshot: &Snapshot) -> bool {
        let Snapshot {
            services,
            reference_grants,
            backend_tls_policies,
            secrets,
            // Whose an Ingress is, what it gets, and which listeners a route is on is no part of what is read of them;
            // nor are certificates, of which each listener has its own.
            ingress_classes: _,
            ingresses: _,
            gateway_classes: _,
            gateways: _,
            listener_sets: _,
            http_routes: _,
            grpc_routes: _,
            tls_routes: _,
            tcp_routes: _,
            udp_routes: _,
            namespaces: _,
            dns_endpoints: _,
            // Only policies name these.
            cluster_trust_bundles: _,
            config_maps: _,
            endpoint_slices: _,
            bundle_version: _,
            problems: _,
            as_of: _,
        } = snapshot;
        self.are_secrets_watched == secrets.is_some()
            && are_same(&self.services, services)
            && are_same(&self.reference_grants, reference_grants)
            && are_same(&self.backend_tls_policies, backend_tls_policies)
    }
}

fn are_same<T>(old: &[Arc<T>], new: &[Arc<T>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        config::{self, Config},
        source::{self, Kinds, Object, manifest},
        translate::{Last, Translation, translate, translate_after},
    };

    const KINDS: Kinds = Kinds { tls: true, endpoints: true, dns_endpoints: false };

    /// Of each object what it may say, one after the other; none of it where it is not there.
    const OBJECTS: [&[&str]; 17] = [
        &[
            "{kind: IngressClass, apiVersion: networking.k8s.io/v1, metadata: {name: ours}, spec: {controller: doorward.dev/ingress}}",
            "{kind: IngressClass, apiVersion: networking.k8s.io/v1, metadata: {name: ours}, spec: {controller: other.example/ingress}}",
        ],
        &[
            "{kind: Service, apiVersion: v1, metadata: {name: app, namespace: a}, spec: {ports: [{name: http, port: 80}]}}",
            "{kind: Service, apiVersion: v1, metadata: {name: app, namespace: a}, spec: {ports: [{name: http, port: 80, appProtocol: h2c}, {name: more, port: 81}]}}",
            "{kind: Service, apiVersion: v1, metadata: {name: app, namespace: a, annotations: {doorward.dev/health-check: nowhere}}, spec: {ports: [{name: more, port: 81}]}}",
        ],
        &[
            "{kind: BackendTLSPolicy, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: app, namespace: a}, spec: {targetRefs: [{group: '', kind: Service, name: app}], validation: {hostname: app.example, wellKnownCACertificates: System}}}",
            "{kind: BackendTLSPolicy, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: app, namespace: a}, spec: {targetRefs: [{group: '', kind: Service, name: app}], validation: {hostname: '-', wellKnownCACertificates: System}}}",
            "{kind: BackendTLSPolicy, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: app, namespace: a}, spec: {targetRefs: [{group: '', kind: Service, name: app}], validation: {hostname: app.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: authorities}]}}}",
        ],
        &[
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: first, namespace: a}, spec: {ingressClassName: ours, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}}",
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: first, namespace: a}, spec: {ingressClassName: ours, rules: [{host: b.example, http: {paths: [{path: /x, pathType: Exact, backend: {service: {name: app, port: {name: more}}}}]}}]}}",
        ],
        &[
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: second, namespace: a}, spec: {ingressClassName: ours, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}, {path: /x, pathType: Prefix, backend: {service: {name: app, port: {number: 81}}}}]}}]}}",
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: second, namespace: a}, spec: {ingressClassName: ours, defaultBackend: {service: {name: app, port: {number: 80}}}, rules: [{host: a.example}, {host: b.example, http: {paths: [{path: /x, pathType: Exact, backend: {service: {name: app, port: {number: 80}}}}]}}]}}",
        ],
        &[
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: third, namespace: b}, spec: {ingressClassName: ours, defaultBackend: {service: {name: app, port: {number: 80}}}}}",
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: third, namespace: a, annotations: {nginx.ingress.kubernetes.io/proxy-ssl-verify: 'on', nginx.ingress.kubernetes.io/affinity: cookie}}, spec: {ingressClassName: ours, rules: [{host: '*.example', http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}, {path: /y/, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}, {path: /y, pathType: Prefix, backend: {service: {name: app, port: {number: 81}}}}]}}]}}",
        ],
        &[
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: inside, namespace: a}, spec: {ingressClassName: inner, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}, {host: 'a..b'}]}}",
        ],
        &[
            "{kind: IngressClass, apiVersion: networking.k8s.io/v1, metadata: {name: inner}, spec: {controller: doorward.dev/ingress}}",
        ],
        &["{kind: Secret, apiVersion: v1, type: kubernetes.io/tls, metadata: {name: tls, namespace: a}, data: {}}"],
        &[
            "{kind: GatewayClass, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: ours}, spec: {controllerName: doorward.dev/gateway}}",
        ],
        &[
            "{kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: home, namespace: a}, spec: {gatewayClassName: ours, addresses: [{value: 192.168.8.24}], listeners: [{name: http, port: 80, protocol: HTTP}, {name: only, port: 81, protocol: HTTP, hostname: '*.a.example'}]}}",
            "{kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: home, namespace: a}, spec: {gatewayClassName: ours, addresses: [{value: 192.168.8.24}], listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}}",
            "{kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: home, namespace: a}, spec: {gatewayClassName: ours, addresses: [{value: 192.168.8.24}], listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {is: b}}}}}]}}",
        ],
        &[
            "{kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: first, namespace: a}, spec: {parentRefs: [{name: home}, {name: gone}], hostnames: [x.a.example, 'a..b'], rules: [{backendRefs: [{name: app, port: 80}]}]}}",
            "{kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: first, namespace: a}, spec: {parentRefs: [{name: home, sectionName: http}], hostnames: ['a..b'], rules: [{backendRefs: [{name: app, port: 80}]}]}}",
            "{kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: first, namespace: a}, spec: {parentRefs: [{name: home}], rules: [{matches: [{path: {type: RegularExpression, value: '('}}, {path: {value: /x}}], backendRefs: [{name: app, port: 81}]}]}}",
        ],
        &[
            "{kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: second, namespace: b}, spec: {parentRefs: [{name: home, namespace: a}], rules: [{backendRefs: [{name: app, namespace: a, port: 80}]}]}}",
            "{kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: second, namespace: b}, spec: {parentRefs: [{name: home, namespace: a}], rules: [{filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: app, namespace: a, port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: app, namespace: a, port: 81}}}]}]}}",
        ],
        &[
            "{kind: GRPCRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: third, namespace: b}, spec: {parentRefs: [{name: home, namespace: a}], rules: [{backendRefs: [{name: app, namespace: a, port: 80}, {name: gone, port: 80}]}]}}",
        ],
        &[
            "{kind: ReferenceGrant, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: second, namespace: a}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: b}], to: [{group: '', kind: Service}]}}",
            "{kind: ReferenceGrant, apiVersion: gateway.networking.k8s.io/v1, metadata: {name: second, namespace: a}, spec: {from: [{group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: b}, {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: b}], to: [{group: '', kind: Service, name: app}]}}",
        ],
        &["{kind: ConfigMap, apiVersion: v1, metadata: {name: authorities, namespace: a}, data: {ca.crt: none}}"],
        &["{kind: Namespace, apiVersion: v1, metadata: {name: b, labels: {is: b}}}"],
    ];

    fn configuration() -> Config {
        let text = "entryPoints: {lan: {addresses: [192.168.8.21], http: 80, default: true}, tunnel: {addresses: [192.168.8.22], http: 80}}\n\
                    ingress: {classes: {ours: tunnel, inner: lan}}";
        config::parse(text).expect("a right file")
    }

    /// Everything but what is for the next one.
    fn said(translation: Translation) -> String {
        let Translation { model, problems, statuses, gateway_ports, last: _ } = translation;
        format!("{model:#?} {problems:#?} {statuses:#?} {gateway_ports:#?}")
    }

    proptest! {
        /// Objects of one text are the same ones, as those of a source are.
        #[test]
        fn after_every_change_a_translation_is_that_of_one_who_knows_nothing_of_before(
            changes in prop::collection::vec((0..OBJECTS.len(), 0..4_usize), 1..32),
        ) {
            let read = |text: &&str| manifest::read(text).expect("a right manifest").remove(0);
            let objects: Vec<Vec<Object>> = OBJECTS.iter().map(|texts| texts.iter().map(read).collect()).collect();
            let config = configuration();
            let mut last = Last::default();
            let mut chosen = [0; OBJECTS.len()];
            for (object, variant) in changes {
                chosen[object] = variant;
                let there = objects.iter().zip(chosen).filter_map(|(variants, chosen)| variants.get(chosen).cloned());
                let snapshot = source::snapshot(there, KINDS);
                let after = translate_after(&snapshot, &config, &last);
                last = after.last.clone();
                prop_assert_eq!(said(after), said(translate(&snapshot, &config)));
            }
        }
    }

    #[test]
    fn where_one_ingress_changes_the_routes_of_the_others_are_the_same_ones() {
        let objects = |variant: usize| {
            let read = |text: &str| manifest::read(text).expect("a right manifest").remove(0);
            [OBJECTS[0][0], OBJECTS[1][0], OBJECTS[3][0]].map(read).into_iter().chain([read(OBJECTS[4][variant])])
        };
        let config = configuration();
        let [first, second] = [0, 1].map(|variant| objects(variant).collect::<Vec<_>>());
        let second: Vec<_> = first.iter().take(3).chain(second.last()).cloned().collect();
        let [first, second] = [first, second].map(|objects| source::snapshot(objects, KINDS));
        let before = translate_after(&first, &config, &Last::default());
        let after = translate_after(&second, &config, &before.last);
        let places = |translation: &Translation| {
            let routes = &translation.model.entry_points[0].listeners[0].routes;
            routes
                .iter()
                .map(|it| (it.route.source.name.to_string(), std::sync::Arc::as_ptr(&it.route)))
                .collect::<Vec<_>>()
        };
        let (before, after) = (places(&before), places(&after));
        let kept: Vec<_> = after.iter().filter(|it| before.contains(it)).map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["first"], "{before:?} {after:?}");
    }
}
