//! ClusterTrustBundle: the certificates of authorities, for a whole cluster.

use serde::{Deserialize, Serialize};

use crate::kind::{kind, or_default};

pub const GROUP: &str = "certificates.k8s.io";

kind!(
    ClusterTrustBundle,
    ClusterTrustBundleSpec,
    GROUP,
    "v1beta1",
    "ClusterTrustBundle",
    "clustertrustbundles",
    k8s_openapi::ClusterResourceScope,
    #[serde(default, deserialize_with = "or_default")]
);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTrustBundleSpec {
    /// In PEM.
    #[serde(default, deserialize_with = "or_default")]
    pub trust_bundle: String,
}
