//! Where objects come from: a cluster, or a directory of manifests. Both speak [`Update`].

pub mod cluster;
pub mod directory;

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::{model::ServiceName, snapshot::Snapshot};

/// What a source tells its one reader, in order, over a bounded channel.
///
/// The first update is a snapshot, sent once every kind that the cluster has is listed. Changes of
/// routing objects are held off and give one new snapshot; changes of endpoints are sent at once
/// and never cause a snapshot. As the channel keeps the order, a reader that applies each update
/// as it comes always has the newest endpoints.
#[derive(Clone, Debug)]
pub enum Update {
    Snapshot(Arc<Snapshot>),
    /// All EndpointSlices that the Service has now.
    Endpoints {
        service: ServiceName,
        slices: Vec<Arc<EndpointSlice>>,
    },
}

/// Which kinds a reader needs, so that neither binary reads more than it must.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// TLS Secrets: `router` alone.
    pub secrets: bool,
    /// EndpointSlices: `router` alone.
    pub endpoints: bool,
}
