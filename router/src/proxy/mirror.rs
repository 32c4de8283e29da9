//! Requests that others get as well, with the head and the body that the backend gets.
//!
//! A mirrored request leaves when its body is there as a whole: then it says how long it is, and nothing that its
//! receiver does or does not do can hold up what it is a copy of.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, header, request};
use metrics::Counter;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::context::{Context, Forward, Routed};
use crate::{
    dataplane::Mirror,
    filter,
    upstream::{BackendCell, ClientCertificate, balance, client},
};

/// The longest body that is mirrored, in bytes.
const BODY: usize = 64 << 10;
/// Mirrored requests that wait for their body or their answer, in the whole process. With the bodies they are at most
/// 8 MiB.
const IN_FLIGHT: usize = 128;
/// How long each may take, from its connection to the end of its answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Of an answer so much is read, in bytes, so that the connection can be used again.
const ANSWER: usize = 64 << 10;

/// What waits for the end of a request's body.
pub(super) struct Mirroring {
    to: Vec<To>,
    head: request::Parts,
    body: BytesMut,
}

struct To {
    cell: Arc<BackendCell>,
    client_certificate: Option<Arc<ClientCertificate>>,
    lost: Counter,
    random: u64,
    place: OwnedSemaphorePermit,
}

/// To be called with the head of every try, as the backend gets it.
pub(super) fn begin(session: &mut Session, head: &RequestHeader, context: &mut Context) {
    let Some(routed) = &context.routed else { return };
    let Some(forward) = &routed.forward else { return };
    if let Some(mirroring) = &mut context.mirroring {
        // Another try begins with the first byte again.
        mirroring.body.clear();
    }
    // A try that found no connection has not come this far.
    if std::mem::replace(&mut context.is_mirrored, true) {
        return;
    }
    // Whoever is asked to change the protocol has nothing to say in the one after that.
    if context.upgrade.is_some() || !is_due(context) {
        return;
    }
    let of_backend = of_backend(routed, forward);
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_short = length.is_none_or(|length: usize| length <= BODY);
    let client_certificate = context.edge.as_ref().and_then(|edge| edge.client_certificate.clone());
    let to = |(number, mirror): (u64, &Mirror)| {
        let random = balance::mix(context.id.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        if !filter::takes(mirror.share, random) {
            return None;
        }
        let place = is_short.then(|| Arc::clone(&PLACES).try_acquire_owned().ok()).flatten();
        if place.is_none() {
            mirror.lost.increment(1);
        }
        let (cell, client_certificate) = (Arc::clone(&mirror.cell), client_certificate.clone());
        Some(To { cell, client_certificate, lost: mirror.lost.clone(), random, place: place? })
    };
    let to: Vec<To> = (1..).zip(routed.action.mirrors.iter().chain(of_backend)).filter_map(to).collect();
    if to.is_empty() {
        return;
    }
    let mirroring = Mirroring { to, head: head.as_owned_parts(), body: BytesMut::new() };
    if session.is_body_empty() {
        mirroring.send();
    } else {
        context.mirroring = Some(Box::new(mirroring));
    }
}

/// Whether a request is to be mirrored, or its like.
pub(super) fn is_due(context: &Context) -> bool {
    let routed = context.routed.as_ref().and_then(|routed| Some((routed, routed.forward.as_ref()?)));
    routed.is_some_and(|(routed, forward)| !routed.action.mirrors.is_empty() || !of_backend(routed, forward).is_empty())
}

fn of_backend<'a>(routed: &'a Routed, forward: &Forward) -> &'a [Mirror] {
    routed.action.backends.get(forward.backend).map(|backend| &*backend.mirrors).unwrap_or_default()
}

/// The next piece of the body, and whether it is the last one.
pub(super) fn body(piece: Option<&Bytes>, is_end: bool, context: &mut Context) {
    let Some(mirroring) = &mut context.mirroring else { return };
    let piece = piece.map(|piece| &**piece).unwrap_or_default();
    let is_short = mirroring.body.len() + piece.len() <= BODY;
    if is_short {
        mirroring.body.extend_from_slice(piece);
    } else {
        mirroring.to.iter().for_each(|to| to.lost.increment(1));
    }
    if !is_short || is_end {
        let ready = context.mirroring.take();
        ready.filter(|_| is_short).into_iter().for_each(|it| it.send());
    }
}

impl Mirroring {
    fn send(self) {
        let Self { to, head, body } = self;
        let request = Arc::new(Request::from_parts(head, body.freeze()));
        for To { cell, client_certificate, lost, random, place } in to {
            let request = Arc::clone(&request);
            tokio::spawn(async move {
                let answer =
                    timeout(LIMIT, client::ask(&cell, client_certificate.as_ref(), &request, ANSWER, random)).await;
                if !matches!(answer, Ok(Ok(_))) {
                    lost.increment(1);
                }
                drop(place);
            });
        }
    }
}

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(IN_FLIGHT)));
