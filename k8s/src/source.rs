//! Where objects come from: a cluster, or a directory of manifests. Both speak [`Update`].

pub mod cluster;
pub mod directory;
pub mod manifest;
mod object;

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::mpsc;

pub use self::object::{Kind, Object};
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
    /// DNSEndpoints of external-dns: `gateway` alone.
    pub dns_endpoints: bool,
}

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The cluster this runs in, or the one KUBECONFIG names.
    Cluster,
    Directory(PathBuf),
}

/// Starts to follow a source. The receiver ends when the source has died, which is fatal and logged.
///
/// # Errors
/// When there are no credentials for a cluster. A cluster that does not answer is waited for.
pub async fn open(origin: Origin, kinds: Kinds) -> anyhow::Result<mpsc::Receiver<Update>> {
    // Short, so that a busy reader holds the source back instead of collecting stale snapshots.
    let (sender, updates) = mpsc::channel(16);
    match origin {
        Origin::Cluster => {
            let client = cluster::client().await?;
            tokio::spawn(async move { said(cluster::follow(client, kinds, sender).await) });
        }
        Origin::Directory(root) => {
            tokio::spawn(async move { said(directory::follow(root, kinds, sender).await) });
        }
    }
    Ok(updates)
}

/// What a source that holds just these objects would say first. Where an object comes twice the later one counts.
pub fn snapshot(objects: impl IntoIterator<Item = Object>, kinds: Kinds) -> Snapshot {
    let mut store = object::Store::default();
    for object in objects {
        store.apply(object);
    }
    store.snapshot(kinds)
}

fn said(ended: anyhow::Result<()>) {
    if let Err(error) = ended {
        tracing::error!("source: {error:#}");
    }
}
