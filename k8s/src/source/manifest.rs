//! YAML text to objects, as `kubectl apply` would read it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::object::Object;

/// Reads a file of YAML (or JSON) documents. Kinds that nobody here watches are passed over.
///
/// The error names the document and what is wrong in it; then nothing of the file is used, because
/// half of a file that is being written is not what its author asked for.
pub fn read(text: &str) -> Result<Vec<Object>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error: serde_saphyr::Error| error.without_snippet().to_string())?;
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        read_document(document, &mut objects).map_err(|error| format!("document {}: {error}", index + 1))?;
    }
    Ok(objects)
}

fn read_document(document: Value, objects: &mut Vec<Object>) -> Result<(), String> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api, kind) = (text("apiVersion"), text("kind"));
    if api.is_empty() || kind.is_empty() {
        return Err("has no apiVersion or no kind".to_owned());
    }
    if kind == "List" {
        let items = document.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        return items.into_iter().try_for_each(|item| read_document(item, objects));
    }
    let read = match (api.as_str(), kind.as_str()) {
        ("discovery.k8s.io/v1", "EndpointSlice") => typed(document, true, Object::EndpointSlice),
        ("gateway.networking.k8s.io/v1", "Gateway") => typed(document, true, Object::Gateway),
        ("gateway.networking.k8s.io/v1", "GatewayClass") => typed(document, false, Object::GatewayClass),
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => typed(document, true, Object::HttpRoute),
        ("gateway.networking.k8s.io/v1" | "gateway.networking.k8s.io/v1beta1", "ReferenceGrant") => {
            typed(document, true, Object::ReferenceGrant)
        }
        ("networking.k8s.io/v1", "Ingress") => typed(document, true, Object::Ingress),
        ("networking.k8s.io/v1", "IngressClass") => typed(document, false, Object::IngressClass),
        ("v1", "Namespace") => typed(document, false, Object::Namespace),
        ("v1", "Secret") => typed(with_data_from_strings(document), true, Object::Secret),
        ("v1", "Service") => typed(document, true, Object::Service),
        _ => return Ok(()),
    };
    objects.push(read?);
    Ok(())
}

fn typed<T: DeserializeOwned>(
    mut document: Value,
    namespaced: bool,
    wrap: impl Fn(std::sync::Arc<T>) -> Object,
) -> Result<Object, String> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(format!("{kind} has no metadata.name"));
    }
    if namespaced
        && let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut)
        && !metadata.contains_key("namespace")
    {
        metadata.insert("namespace".to_owned(), "default".into());
    }
    serde_path_to_error::deserialize(document)
        .map(|object| wrap(std::sync::Arc::new(object)))
        .map_err(|error| format!("{kind} {name}: {}: {}", error.path(), error.inner()))
}

/// The API server does this on write: `stringData` becomes `data`, base64-coded.
fn with_data_from_strings(mut secret: Value) -> Value {
    let strings = secret.get_mut("stringData").map(Value::take);
    if let (Some(Value::Object(strings)), Some(secret)) = (strings, secret.as_object_mut()) {
        let data = secret.entry("data").or_insert_with(|| Value::Object(serde_json::Map::new()));
        for (key, value) in strings {
            let bytes = k8s_openapi::ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
            if let (Some(data), Ok(coded)) = (data.as_object_mut(), serde_json::to_value(bytes)) {
                data.insert(key, coded);
            }
        }
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_objects_and_foreign_kinds_are_passed_over() {
        let objects = read(
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: media}}\n",
        )
        .expect("readable");
        let keys: Vec<_> = objects.iter().map(|object| (object.kind().name(), object.key())).collect();
        assert_eq!(
            keys,
            [("Service", ("default".to_owned(), "a".to_owned())), ("Namespace", (String::new(), "media".to_owned()))]
        );
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, expected) in [
            ("a: [", "line 1"),
            ("metadata: {name: a}", "document 1: has no apiVersion or no kind"),
            ("apiVersion: v1\nkind: Service", "document 1: Service has no metadata.name"),
            (
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [{host: 5}]}",
                "document 1: Ingress a: spec.rules[0].host: invalid type",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn string_data_of_a_secret_is_its_data() {
        let objects = read("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: v}").expect("readable");
        let Some(Object::Secret(secret)) = objects.first() else { panic!("a Secret, not {objects:?}") };
        assert_eq!(secret.data.as_ref().expect("data")["k"].0, b"v");
    }
}
