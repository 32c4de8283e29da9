//! Annotations by which an Ingress lets only some in, and which nobody asks here yet. Whoever wrote one believes that it
//! does: so nobody gets in, and the problem says why.

use k8s_openapi::api::networking::v1::Ingress;

use super::annotation;
use crate::problem::Reason;

const URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const PASSWORDS: &str = "nginx.ingress.kubernetes.io/auth-type";
/// Two names of one.
const ALLOWED: [&str; 2] =
    ["nginx.ingress.kubernetes.io/allowlist-source-range", "nginx.ingress.kubernetes.io/whitelist-source-range"];
const DENIED: &str = "nginx.ingress.kubernetes.io/denylist-source-range";

pub(super) const ANNOTATIONS: [&str; 5] = [URL, PASSWORDS, ALLOWED[0], ALLOWED[1], DENIED];

/// Why nobody gets what is behind an Ingress.
pub(super) fn refusal(ingress: &Ingress) -> Option<Reason> {
    let says = |key: &&str| annotation(&ingress.metadata, key).is_some_and(|text| !text.trim().is_empty());
    let keeps_out = |key: &&str| *key == DENIED || !annotation(&ingress.metadata, key).is_some_and(is_everybody);
    let asked = [URL, PASSWORDS].iter().find(|key| says(key)).map(|key| {
        (key, "nobody gets in; a rule of an HTTPRoute can ask who the client is, by the filter ExternalAuth")
    });
    let by_address = || {
        let mut keys = ALLOWED.iter().chain([&DENIED]);
        Some((keys.find(|key| says(key) && keeps_out(key))?, "nobody gets in; remove it to let everybody in"))
    };
    let (key, instead) = asked.or_else(by_address)?;
    Some(Reason::NotServed { what: format!("annotation {key} is"), instead })
}

/// As cert-manager has it, so that its challenges can be answered wherever others are kept out.
fn is_everybody(ranges: &str) -> bool {
    ranges.split(',').any(|range| range.trim() == "0.0.0.0/0")
}
