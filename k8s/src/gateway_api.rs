//! Types of Gateway API v1.7.0 (gateway.networking.k8s.io/v1), the parts Doorward reads.
//!
//! Written by hand for two reasons: all routes share the API's own types for references, and an
//! unknown filter, protocol or path type stays data instead of making the whole object unreadable.

mod backend_tls_policy;
mod gateway;
mod grpc_route;
mod http_route;
mod http_route_filter;
mod reference;
mod session_persistence;
mod stream_route;

pub use self::{
    backend_tls_policy::{
        BackendTlsPolicy, BackendTlsPolicySpec, BackendTlsPolicyValidation, PolicyTargetReference, SubjectAltName,
    },
    gateway::{
        AllowedListeners, AllowedRoutes, BackendTls, ClientValidation, FromNamespaces, FrontendTls, Gateway,
        GatewayAddress, GatewayClass, GatewayClassSpec, GatewaySpec, GatewayTls, Infrastructure, Listener, ListenerSet,
        ListenerSetSpec, ListenerTls, PortTls, RouteGroupKind, TlsConfig,
    },
    grpc_route::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec},
    http_route::{
        HttpBackendRef, HttpHeaderMatch, HttpPathMatch, HttpQueryParamMatch, HttpRoute, HttpRouteMatch, HttpRouteRetry,
        HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts,
    },
    http_route_filter::{
        ForwardBody, Fraction, GrpcAuthConfig, HeaderModifier, HttpAuthConfig, HttpCors, HttpExternalAuth, HttpHeader,
        HttpPathModifier, HttpRequestMirror, HttpRequestRedirect, HttpRouteFilter, HttpUrlRewrite,
    },
    reference::{
        BackendObjectReference, BackendRef, LocalObjectReference, ObjectReference, ParentReference, ReferenceGrant,
        ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo, SecretObjectReference,
    },
    session_persistence::{SessionCookie, SessionHeader, SessionPersistence},
    stream_route::{StreamRouteRule, StreamRouteSpec, TcpRoute, TlsRoute, TlsRouteSpec, UdpRoute},
};

pub const GROUP: &str = "gateway.networking.k8s.io";
