//! The cluster as statuses are written to it.

use std::time::Duration;

use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    observed::Observation,
    writer::{Failure, Target},
};
use crate::{
    gateway_api::{
        BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, TcpRoute, TlsRoute, UdpRoute,
    },
    model::ObjectName,
};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Cluster(pub(super) Client);

impl Target for Cluster {
    async fn patch(&self, object: &ObjectName, body: Value) -> Result<Observation, Failure> {
        let Some(resource) = resource(object.kind) else {
            return Err(Failure::Other(format!("{} has no status", object.kind)));
        };
        let api: Api<DynamicObject> = match &*object.namespace {
            "" => Api::all_with(self.0.clone(), &resource),
            namespace => Api::namespaced_with(self.0.clone(), namespace, &resource),
        };
        let parameters = PatchParams { field_manager: Some("doorward".to_owned()), ..PatchParams::default() };
        let body = Patch::Merge(body);
        match timeout(PATIENCE, api.patch_status(&object.name, &parameters, &body)).await {
            Ok(Ok(it)) => Ok(Observation::new(&it.metadata, it.data.get("status").unwrap_or(&Value::Null))),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                403 => Failure::Forbidden(status.message.clone()),
                404 => Failure::Gone,
                409 => Failure::Conflict,
                _ => Failure::Other(status.message.clone()),
            }),
            Ok(Err(error)) => Err(Failure::Other(said(&error))),
            Err(_) => Err(Failure::Other(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// What the API server has said itself, where it has.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Of an observed kind.
pub(super) fn resource(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        "BackendTLSPolicy" => ApiResource::erase::<BackendTlsPolicy>(&()),
        "GRPCRoute" => ApiResource::erase::<GrpcRoute>(&()),
        "Gateway" => ApiResource::erase::<Gateway>(&()),
        "GatewayClass" => ApiResource::erase::<GatewayClass>(&()),
        "HTTPRoute" => ApiResource::erase::<HttpRoute>(&()),
        "Ingress" => ApiResource::erase::<Ingress>(&()),
        "ListenerSet" => ApiResource::erase::<ListenerSet>(&()),
        "Service" => ApiResource::erase::<Service>(&()),
        "TCPRoute" => ApiResource::erase::<TcpRoute>(&()),
        "TLSRoute" => ApiResource::erase::<TlsRoute>(&()),
        "UDPRoute" => ApiResource::erase::<UdpRoute>(&()),
        _ => return None,
    })
}
