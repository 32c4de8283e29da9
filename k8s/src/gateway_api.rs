//! Types of Gateway API v1.7.0 (gateway.networking.k8s.io/v1), the parts Doorward reads.
//!
//! Written by hand for two reasons: all routes share the API's own types for references, and an
//! unknown filter, protocol or path type stays data instead of making the whole object unreadable.

mod backend_tls_policy;
mod gateway;
mod grpc_route;
mod http_route;
mod reference;
mod tls_route;

pub use self::{
    backend_tls_policy::{
        BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsPolicyValidation, PolicyTargetReference, SubjectAltName,
    },
    gateway::{
        AllowedRoutes, BackendTls, ClientValidation, FrontendTls, Gateway, GatewayAddress, GatewayClass,
        GatewayClassSpec, GatewaySpec, GatewayTls, Listener, ListenerTls, PortTls, RouteGroupKind, RouteNamespaces,
        TlsConfig,
    },
    grpc_route::{GrpcRoute, GrpcRouteSpec},
    http_route::{
        HeaderModifier, HttpBackendRef, HttpHeader, HttpHeaderMatch, HttpPathMatch, HttpPathModifier,
        HttpQueryParamMatch, HttpRequestRedirect, HttpRoute, HttpRouteFilter, HttpRouteMatch, HttpRouteRule,
        HttpRouteSpec, HttpRouteTimeouts, HttpUrlRewrite,
    },
    reference::{
        BackendObjectReference, LocalObjectReference, ObjectReference, ParentReference, ReferenceGrant,
        ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo, SecretObjectReference,
    },
    tls_route::{TlsRoute, TlsRouteSpec},
};

pub const GROUP: &str = "gateway.networking.k8s.io";
