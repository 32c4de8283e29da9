//! ConfigMaps, of which nothing but the certificates of authorities is read.

use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::kind::or_default;

/// The key under which they are, in PEM.
pub const AUTHORITIES: &str = "ca.crt";

/// What else is in it is dropped as it is read: a cluster's ConfigMaps may be large, and many.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ConfigMap {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub data: Data,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Data {
    #[serde(rename = "ca.crt")]
    pub authorities: Option<String>,
}

impl kube::Resource for ConfigMap {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "ConfigMap".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "configmaps".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
