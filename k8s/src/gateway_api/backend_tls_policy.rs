//! BackendTLSPolicy: TLS to backends, and how their certificates are verified.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{GROUP, LocalObjectReference};
use crate::kind::{kind, or_default};

kind!(
    BackendTlsPolicy,
    BackendTlsPolicySpec,
    GROUP,
    "v1",
    "BackendTLSPolicy",
    "backendtlspolicies",
    k8s_openapi::NamespaceResourceScope,
    #[serde(default, deserialize_with = "or_targets")]
);

/// Its `options` are for implementations that have some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    #[serde(default, deserialize_with = "or_default")]
    pub target_refs: Vec<PolicyTargetReference>,
    #[serde(default, deserialize_with = "or_default")]
    pub validation: BackendTlsPolicyValidation,
    /// What is wrong with one that cannot be read. All that it says then is whom it is for.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// Never fails for what is in it: without its policy a Service would be spoken to unverified.
fn or_targets<'de, D: Deserializer<'de>>(value: D) -> Result<BackendTlsPolicySpec, D::Error> {
    let value = Value::deserialize(value)?;
    let read: Result<Option<BackendTlsPolicySpec>, _> = serde_path_to_error::deserialize(&value);
    Ok(match read {
        Ok(spec) => spec.unwrap_or_default(),
        Err(error) => {
            let path = Some(error.path().to_string()).filter(|path| path != ".");
            let path = path.map(|path| format!(".{path}")).unwrap_or_default();
            BackendTlsPolicySpec::unreadable(&value, format!("spec{path}: {}", error.inner()))
        }
    })
}

impl BackendTlsPolicySpec {
    /// One that cannot be read. `targetRef` is what v1alpha2 had.
    pub(crate) fn unreadable(spec: &Value, error: String) -> Self {
        let targets = match spec.get("targetRefs").or_else(|| spec.get("targetRef")) {
            Some(Value::Array(targets)) => targets.as_slice(),
            Some(target) => std::slice::from_ref(target),
            None => &[],
        };
        let target_refs = targets.iter().filter_map(likely_target).collect();
        Self { target_refs, unreadable: Some(error), ..Self::default() }
    }
}

/// Whatever has a name is a Service where it does not say otherwise, and all of it where it names no port.
fn likely_target(target: &Value) -> Option<PolicyTargetReference> {
    let text = |field: &str| target.get(field).and_then(Value::as_str);
    let name = match target.get("name")? {
        Value::String(name) => name.clone(),
        // YAML takes the name 443 for a number.
        name => name.to_string(),
    };
    Some(PolicyTargetReference {
        group: text("group").unwrap_or_default().to_owned(),
        kind: text("kind").unwrap_or("Service").to_owned(),
        name,
        section_name: text("sectionName").map(str::to_owned),
    })
}

/// To an object in the policy's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetReference {
    #[serde(default, deserialize_with = "or_default")]
    pub group: String,
    pub kind: String,
    pub name: String,
    /// The name of a Service's port. Not set is all of them.
    pub section_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicyValidation {
    #[serde(default, deserialize_with = "or_default")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(default, deserialize_with = "or_default")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SubjectAltName {
    #[serde(rename = "type")]
    pub type_: String,
    pub hostname: Option<String>,
    pub uri: Option<String>,
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_wrong_with_a_policy_of_a_cluster_it_says_whom_it_is_for() {
        let read = |spec: Value| {
            let policy = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
            let DeserializeGuard(read) = serde_json::from_value(policy).expect("JSON");
            let BackendTlsPolicy { spec, .. } = read.expect("a policy");
            (spec.target_refs.len(), spec.unreadable)
        };
        let target = json!({"group": "", "kind": "Service", "name": "web"});
        let right = json!({"targetRefs": [target], "validation": {"hostname": "a.example"}});
        assert_eq!(read(right), (1, None));
        assert_eq!(read(Value::Null), (0, None));
        for (spec, targets, place) in [
            (json!({"targetRefs": [target], "validation": {"hostname": 5}}), 1, "spec.validation.hostname: "),
            (json!({"targetRefs": [target, {"name": "kindless"}, {"name": 443}, {}]}), 3, "spec.targetRefs[1]: "),
            (json!({"targetRefs": target}), 1, "spec.targetRefs: "),
            (json!({"targetRefs": 5}), 0, "spec.targetRefs: "),
            (json!("web"), 0, "spec: "),
        ] {
            let (found, error) = read(spec.clone());
            assert!(found == targets && error.as_deref().is_some_and(|it| it.starts_with(place)), "{spec} {error:?}");
        }
    }
}
