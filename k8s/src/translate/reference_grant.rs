//! Whether an object may refer to one in another namespace.

use std::sync::Arc;

use crate::gateway_api::ReferenceGrant;

pub(super) struct From<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
}

pub(super) struct To<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// To be asked before the target is looked up: a missing grant must not reveal whether the target exists.
pub(super) fn granted(grants: &[Arc<ReferenceGrant>], from: &From<'_>, to: &To<'_>) -> bool {
    from.namespace == to.namespace
        || grants.iter().any(|grant| {
            grant.metadata.namespace.as_deref() == Some(to.namespace)
                && grant.spec.from.iter().any(|allowed| {
                    allowed.group == from.group && allowed.kind == from.kind && allowed.namespace == from.namespace
                })
                && grant.spec.to.iter().any(|allowed| {
                    allowed.group == to.group
                        && allowed.kind == to.kind
                        && allowed.name.as_deref().is_none_or(|name| name.is_empty() || name == to.name)
                })
        })
}
