//! An object as a watch reads it: with its status apart, or with the reason why it cannot be decoded.

use std::borrow::Cow;

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// One object that cannot be decoded is one object less; the list that it is in stays readable.
#[derive(Clone, Debug)]
pub(super) struct Seen<K> {
    pub(super) object: Result<K, Unreadable>,
    /// Null where there is none.
    pub(super) status: Value,
}

#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) metadata: ObjectMeta,
    pub(super) error: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Seen<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let object = match K::deserialize(&value) {
            Ok(object) => Ok(object),
            Err(error) => {
                let metadata = value.get_mut("metadata").map(Value::take).unwrap_or_default();
                let metadata = serde_json::from_value(metadata).map_err(serde::de::Error::custom)?;
                Err(Unreadable { metadata, error: error.to_string() })
            }
        };
        let status = value.get_mut("status").map(Value::take).unwrap_or_default();
        Ok(Self { object, status })
    }
}

impl<K: Resource> Resource for Seen<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    fn seen(json: Value) -> Seen<Service> {
        serde_json::from_value(json).expect("it has metadata")
    }

    #[test]
    fn the_status_stands_beside_the_object_and_in_it_where_its_type_has_one() {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.168.8.21"}]}});
        let seen = seen(json!({"metadata": {"name": "web"}, "status": status}));
        assert_eq!(seen.status, status);
        assert!(seen.object.expect("a Service").status.is_some());
    }

    #[test]
    fn what_cannot_be_decoded_keeps_its_name() {
        let seen = seen(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": 80}}));
        assert_eq!(seen.meta().name.as_deref(), Some("web"));
        let error = seen.object.expect_err("ports are a list").error;
        assert!(error.contains("80"), "{error}");
    }
}
