//! The ExternalAuth filter.

use std::sync::Arc;

use super::{
    filter::{header_name, invalid},
    service::Spoken,
};
use crate::{
    gateway_api::HttpExternalAuth,
    model::{Asked, BackendId, ExternalAuth, HttpQuestion, MOST_FORWARDED},
    problem::Reason,
};

/// All but whom to ask.
pub(super) fn translate(auth: &HttpExternalAuth) -> Result<impl FnOnce(BackendId) -> ExternalAuth + use<>, Reason> {
    let names = |names: &[String]| names.iter().map(|name| header_name(name)).collect::<Result<Vec<Arc<str>>, _>>();
    let asked = match auth.protocol.as_str() {
        "HTTP" => {
            let http = auth.http.clone().unwrap_or_default();
            Asked::Http(HttpQuestion {
                path: prefix(http.path.as_deref().unwrap_or_default())?,
                request_headers: names(&http.allowed_headers)?,
                response_headers: names(&http.allowed_response_headers)?,
            })
        }
        "GRPC" => {
            let allowed = auth.grpc.as_ref().map(|grpc| grpc.allowed_headers.as_slice()).unwrap_or_default();
            Asked::Grpc { request_headers: names(allowed)? }
        }
        other => {
            return Err(Reason::Unsupported { field: "externalAuth.protocol".to_owned(), value: other.to_owned() });
        }
    };
    let body = auth.forward_body.as_ref().and_then(|it| it.max_size).unwrap_or(0);
    let too_long = || {
        let expected = format!("at most {MOST_FORWARDED} bytes");
        invalid("externalAuth.forwardBody.maxSize", &body.to_string(), &expected)
    };
    let body = usize::try_from(body).ok().filter(|_| body <= MOST_FORWARDED).ok_or_else(too_long)?;
    Ok(move |backend| ExternalAuth { backend, asked, body })
}

/// What is spoken to whom is asked.
pub(super) fn spoken(auth: &HttpExternalAuth) -> Spoken {
    if auth.protocol == "GRPC" { Spoken::Grpc } else { Spoken::Declared }
}

/// The client's path comes after it, so it must not reach beyond itself.
fn prefix(text: &str) -> Result<Arc<str>, Reason> {
    let path = text.trim_matches('/');
    let is_of_a_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&byte);
    if !path.bytes().all(is_of_a_path) || path.split('/').any(|element| matches!(element, "." | "..")) {
        return Err(invalid("externalAuth.http.path", text, "a path such as /auth, without dots"));
    }
    Ok(if path.is_empty() { "".into() } else { format!("/{path}").into() })
}
