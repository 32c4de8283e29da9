//! Which release of the Gateway API's CRDs a cluster has.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::warn;

use super::{Report, What};
use crate::source::object::Kind;

const CRD: &str = "gatewayclasses.gateway.networking.k8s.io";
const ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// CRDs change once a year, and a look costs one small answer.
const AGAIN: Duration = Duration::from_secs(60);
/// While there is none, or nobody answers.
const AGAIN_SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Reports the version at first and when it is another one, for ever.
pub(super) async fn follow(client: Client, reports: mpsc::Sender<Report>) {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let (mut known, mut is_refused) = (None, false);
    loop {
        let again = match tokio::time::timeout(PATIENCE, crds.get_metadata_opt(CRD)).await {
            Ok(Ok(crd)) => {
                is_refused = false;
                let again = if crd.is_some() { AGAIN } else { AGAIN_SOON };
                let version = crd.and_then(|crd| crd.metadata.annotations?.remove(ANNOTATION));
                if known != version {
                    known.clone_from(&version);
                    let report = Report { kind: Kind::GatewayClass, what: What::BundleVersion(version) };
                    if reports.send(report).await.is_err() {
                        return;
                    }
                }
                again
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                if !std::mem::replace(&mut is_refused, true) {
                    warn!(
                        "the version of the Gateway API's CRDs may not be read; grant `get` on customresourcedefinitions"
                    );
                }
                AGAIN
            }
            // Whoever watches the kinds says it.
            Ok(Err(_)) | Err(_) => AGAIN_SOON,
        };
        tokio::select! {
            () = reports.closed() => return,
            () = tokio::time::sleep(again) => {}
        }
    }
}
