//! Endpoints that are asked whether they are well, where a Service wants it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::header;
use pingora_core::{Result, connectors::http::Connector};
use pingora_http::RequestHeader;
use tokio::{task::JoinSet, time};

use super::{
    BackendCell,
    endpoint::Endpoint,
    peer::{self, Terms},
};
use crate::unwind;

/// An endpoint is asked once in about this time.
const EVERY: Duration = Duration::from_secs(5);
/// One that takes longer is not well.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks the cell's endpoints until it is retired.
pub fn follow(cell: &Arc<BackendCell>) {
    let Some(check) = &cell.backend.health_check else { return };
    let path = Arc::clone(&check.path);
    let weak = Arc::downgrade(cell);
    cell.spawn_until_retired(async move {
        // Cells of one dataplane begin together, and should not ask together.
        let mut pause = EVERY.mul_f64(chance());
        loop {
            time::sleep(pause).await;
            let Some(cell) = weak.upgrade() else { return };
            let mut checks = JoinSet::new();
            for endpoint in cell.endpoints().iter() {
                let (cell, endpoint, path) = (Arc::clone(&cell), Arc::clone(endpoint), Arc::clone(&path));
                checks.spawn(async move {
                    let answer = unwind::catch(time::timeout(LIMIT, ask(&cell, &endpoint, &path))).await;
                    endpoint.checked(matches!(answer, Ok(Ok(Ok(200..=399)))));
                });
            }
            drop(cell);
            while checks.join_next().await.is_some() {}
            pause = EVERY.mul_f64(0.9 + 0.2 * chance());
        }
    });
}

/// The status, over a connection of its own: whether one can be had is part of the question. A check comes by no entry
/// point, and so shows no certificate: an endpoint that lets nobody in without one is never well, as far as it can say.
async fn ask(cell: &BackendCell, endpoint: &Endpoint, path: &str) -> Result<u16> {
    static CONNECTOR: OnceLock<Connector> = OnceLock::new();
    let connector = CONNECTOR.get_or_init(|| Connector::new(None));
    let terms = Terms {
        websocket: None,
        connect: LIMIT,
        idle: Duration::ZERO,
        left: None,
        is_fresh: true,
        client_certificate: None,
    };
    let peer = peer::peer(endpoint.address, cell.backend.protocol, cell.verified.as_ref(), &terms);
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(3))?;
    request.insert_header(header::HOST, endpoint.address.to_string())?;
    request.insert_header(header::USER_AGENT, "doorward-health-check")?;

    let (mut session, _) = connector.get_http_session(&peer).await?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    // The connection ends with its session, whichever way that ends.
    Ok(session.response_header().map_or(0, |head| head.status.as_u16()))
}

/// Between 0 and 1.
fn chance() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
