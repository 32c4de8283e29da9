//! Types of custom resources, written by hand.

/// `kind!(Type, Spec, GROUP, version, kind, plural, scope)`: a kind with a spec, as kube wants to know it. An attribute
/// for the spec may follow.
macro_rules! kind {
    (
        $type:ident,
        $spec:ident,
        $group:expr,
        $version:literal,
        $kind:literal,
        $plural:literal,
        $scope:ty
        $(, #[$of_spec:meta])?
    ) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }

        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $type {
            #[serde(default)]
            pub metadata: kube::core::ObjectMeta,
            $(#[$of_spec])?
            pub spec: $spec,
        }
    };
}
pub(crate) use kind;
use serde::{Deserialize, Deserializer};

/// A key without a value (`targets:`) is one that is not there, as it is for the API server.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}
