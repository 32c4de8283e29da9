//! Which Ingresses are ours, and which entry point their class maps to.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::{Work, names, object_name};
use crate::problem::Reason;

pub(super) struct Owned<'a> {
    pub(super) ingress: &'a Ingress,
    pub(super) entry_point: Arc<str>,
}

const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// In the snapshot's order, oldest first.
pub(super) fn owned_ingresses<'a>(work: &mut Work<'a>) -> Vec<Owned<'a>> {
    let (snapshot, config) = (work.snapshot, work.config);
    let is_ours = |class: &IngressClass| {
        class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(&*config.ingress.controller)
    };
    let ours: Vec<&IngressClass> =
        snapshot.ingress_classes.iter().map(|class| &**class).filter(|class| is_ours(class)).collect();
    let default_class = ours.iter().find(|class| {
        class.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
    });
    let default_entry = config.entry_points.iter().find(|entry| entry.default).map(|entry| Arc::clone(&entry.name));

    let mut owned = Vec::new();
    for ingress in &snapshot.ingresses {
        let ingress: &Ingress = ingress;
        let class = match class_name(ingress) {
            Some(name) => {
                let exists = snapshot.ingress_classes.iter().find(|class| names(&class.metadata).1 == name);
                match exists {
                    Some(class) if is_ours(class) => name,
                    Some(_) => continue,
                    None => {
                        let object = object_name("Ingress", &ingress.metadata);
                        work.problem(&object, Reason::IngressClassMissing { class: name.to_owned() });
                        continue;
                    }
                }
            }
            None => match default_class {
                Some(class) => names(&class.metadata).1,
                None if ours.is_empty() => continue,
                None => {
                    let classes: Vec<&str> = ours.iter().map(|class| names(&class.metadata).1).collect();
                    let object = object_name("Ingress", &ingress.metadata);
                    work.problem(&object, Reason::NoIngressClass { classes: classes.join(" or ") });
                    continue;
                }
            },
        };
        let entry_point = config.ingress.classes.get(class).or(default_entry.as_ref());
        if let Some(entry_point) = entry_point {
            owned.push(Owned { ingress, entry_point: Arc::clone(entry_point) });
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
