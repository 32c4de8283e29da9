//! Where objects come from: a cluster, or a directory of manifests. Both speak [`Update`].
//!
//! Before a cluster is listed its last known state may stand in for it.

pub mod cluster;
pub mod directory;
pub mod last_known;
pub mod manifest;
mod object;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::mpsc;

pub use self::{
    last_known::Keeper,
    object::{Kind, Object},
};
use crate::{model::ServiceName, snapshot::Snapshot, status::observed::Observed};

/// What a source tells its one reader, in order, over a bounded channel.
///
/// The first update is a snapshot, sent once every kind that the cluster has is listed, but for one that can be
/// done without and that fails for long; or the last known one, at once ([`Snapshot::as_of`]), and then that. Changes of
/// routing objects are held off and give one new snapshot; changes of endpoints are sent at once and never cause a
/// snapshot. As the channel keeps the order, a reader that applies each update
/// as it comes always has the newest endpoints.
#[derive(Clone, Debug)]
pub enum Update {
    Snapshot(Arc<Snapshot>),
    /// All EndpointSlices that the Service has now.
    Endpoints {
        service: ServiceName,
        slices: Slices,
    },
}

/// Of one Service.
pub type Slices = Vec<Arc<EndpointSlice>>;

/// Which kinds a reader needs, so that neither binary reads more than it must.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// TLS Secrets, ConfigMaps and ClusterTrustBundles with the certificates of authorities, and BackendTLSPolicies:
    /// `router` alone.
    pub tls: bool,
    /// EndpointSlices, TCPRoutes and UDPRoutes: `router` alone.
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

/// Which kinds of a cluster cannot be followed now, and since when not all can.
#[derive(Clone, Debug, Default)]
struct Followed(Arc<Mutex<Lost>>);

#[derive(Debug, Default)]
struct Lost {
    kinds: BTreeSet<Kind>,
    since: Option<SystemTime>,
}

impl Followed {
    fn set(&self, kind: Kind, is_followed: bool) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_followed {
            lost.kinds.remove(&kind);
        } else {
            lost.kinds.insert(kind);
        }
        lost.since = if lost.kinds.is_empty() { None } else { lost.since.or_else(|| Some(SystemTime::now())) };
    }

    /// When everything was last followed: now, if it is.
    fn last(&self) -> SystemTime {
        let lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.since.unwrap_or_else(SystemTime::now)
    }
}

/// A source that is followed.
pub struct Source {
    /// Ends when the source has died, which is fatal and logged.
    pub updates: mpsc::Receiver<Update>,
    pub keeper: Keeper,
    /// The cluster's, if it is one.
    pub client: Option<kube::Client>,
}

/// Starts to follow a source. In the file `state` the last known state of a cluster is kept, and found at the next
/// start; None keeps and finds nothing. A directory is its own state. `observed`: where the statuses of a cluster's objects
/// go, if anybody reads them.
///
/// # Errors
/// When there are no credentials for a cluster. A cluster that does not answer is waited for.
pub async fn open(
    origin: Origin,
    kinds: Kinds,
    state: Option<PathBuf>,
    observed: Option<Observed>,
) -> anyhow::Result<Source> {
    // Short, so that a busy reader holds the source back instead of collecting stale snapshots.
    let (sender, updates) = mpsc::channel(16);
    let (found, source) = mpsc::channel(1);
    let followed = Followed::default();
    let (keeper, client) = match origin {
        Origin::Cluster => {
            let client = cluster::client().await?;
            let mut restored = match &state {
                Some(path) => last_known::restore(path, kinds).await,
                None => None,
            };
            let known = restored.as_mut().map(|restored| std::mem::take(&mut restored.known)).unwrap_or_default();
            let (watched, watching) = (followed.clone(), client.clone());
            tokio::spawn(async move { said(cluster::follow(watching, kinds, known, watched, observed, found).await) });
            (last_known::keep(state, kinds, restored, followed, source, sender), Some(client))
        }
        Origin::Directory(root) => {
            tokio::spawn(async move { said(directory::follow(root, kinds, found).await) });
            (last_known::keep(None, kinds, None, followed, source, sender), None)
        }
    };
    Ok(Source { updates, keeper, client })
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
