//! Types of Gateway API v1.7.0 (gateway.networking.k8s.io/v1), the parts Doorward reads.
//!
//! Written by hand for two reasons: all routes share the API's own types for references, and an
//! unknown filter, protocol or path type stays data instead of making the whole object unreadable.

mod gateway;
mod http_route;
mod reference;

pub use self::{
    gateway::{
        AllowedRoutes, Gateway, GatewayAddress, GatewayClass, GatewayClassSpec, GatewaySpec, Listener, ListenerTls,
        RouteGroupKind, RouteNamespaces,
    },
    http_route::{
        HeaderModifier, HttpBackendRef, HttpHeader, HttpHeaderMatch, HttpPathMatch, HttpPathModifier,
        HttpQueryParamMatch, HttpRequestRedirect, HttpRoute, HttpRouteFilter, HttpRouteMatch, HttpRouteRule,
        HttpRouteSpec, HttpRouteTimeouts, HttpUrlRewrite,
    },
    reference::{
        BackendObjectReference, ParentReference, ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec,
        ReferenceGrantTo, SecretObjectReference,
    },
};

pub const GROUP: &str = "gateway.networking.k8s.io";

/// A kind of this group, as kube wants to know it.
macro_rules! kind {
    ($type:ident, $spec:ident, $version:literal, $kind:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::gateway_api::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }

        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $type {
            #[serde(default)]
            pub metadata: kube::core::ObjectMeta,
            pub spec: $spec,
        }
    };
}
use kind;
