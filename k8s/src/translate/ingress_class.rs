//! Which Ingresses are ours, and which entry point their class maps to.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::{Work, key_of, object_name};
use crate::{config::Config, problem::Reason, snapshot::Snapshot};

pub(super) struct Owned<'a> {
    pub(super) ingress: &'a Arc<Ingress>,
    pub(super) entry_point: Arc<str>,
}

pub(super) const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
pub(super) const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Whose an Ingress is, by its class.
pub(super) enum Class<'a> {
    Ours(&'a str),
    Foreign {
        name: &'a str,
        controller: &'a str,
    },
    /// It names one that does not exist.
    Missing(&'a str),
    /// It names none, and of these of ours none is the default.
    None(Vec<&'a str>),
}

pub(super) fn class_of<'a>(snapshot: &'a Snapshot, config: &Config, ingress: &'a Ingress) -> Class<'a> {
    let controller =
        |class: &'a IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.as_deref()).unwrap_or_default();
    let is_ours = |class: &'a IngressClass| controller(class) == &*config.ingress.controller;
    if let Some(name) = class_name(ingress) {
        return match snapshot.ingress_classes.iter().find(|class| key_of(&class.metadata).1 == name) {
            Some(class) if is_ours(class) => Class::Ours(name),
            Some(class) => Class::Foreign { name, controller: controller(class) },
            None => Class::Missing(name),
        };
    }
    let ours = || snapshot.ingress_classes.iter().map(|class| &**class).filter(|class| is_ours(class));
    let is_default = |class: &&IngressClass| {
        class.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
    };
    match ours().find(is_default) {
        Some(class) => Class::Ours(key_of(&class.metadata).1),
        None => Class::None(ours().map(|class| key_of(&class.metadata).1).collect()),
    }
}

/// In the snapshot's order, oldest first.
pub(super) fn owned_ingresses<'a>(work: &mut Work<'a>) -> Vec<Owned<'a>> {
    let (snapshot, config) = (work.snapshot, work.config);
    let default_entry = config.entry_points.iter().find(|entry| entry.default).map(|entry| &entry.name);
    let mut owned = Vec::new();
    for ingress in &snapshot.ingresses {
        let object = || object_name("Ingress", &ingress.metadata);
        match class_of(snapshot, config, ingress) {
            Class::Ours(class) => {
                if let Some(entry_point) = config.ingress.classes.get(class).or(default_entry) {
                    owned.push(Owned { ingress, entry_point: Arc::clone(entry_point) });
                }
            }
            Class::Foreign { .. } => {}
            Class::Missing(class) => {
                work.problem(&object(), Reason::IngressClassMissing { class: class.to_owned() });
            }
            Class::None(ours) if ours.is_empty() => {}
            Class::None(ours) => {
                work.problem(&object(), Reason::NoIngressClass { classes: ours.join(" or ") });
            }
        }
    }
    owned
}

/// The field counts before the annotation that came before it.
fn class_name(ingress: &Ingress) -> Option<&str> {
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let annotation = || ingress.metadata.annotations.as_ref()?.get(LEGACY_CLASS).map(String::as_str);
    field.or_else(annotation)
}
