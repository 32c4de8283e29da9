//! What comes while routes are translated: that may take seconds where requests keep every core busy.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use k8s::{
    model::{Addressing, ServiceName},
    snapshot::Snapshot,
    source::{Slices, Update},
    status::{Newest, services},
    translate::endpoints,
};
use tokio::sync::mpsc::Receiver;

use super::Cells;

/// What has come and is not done. Of snapshots that is the newest one, which has what was in those before it.
#[derive(Default)]
pub(super) struct Backlog {
    snapshot: Option<Arc<Snapshot>>,
    /// What was told while a snapshot was worked on, which may be older.
    endpoints: BTreeMap<ServiceName, Slices>,
}

impl Backlog {
    /// What is to be done next. None is the end of the source.
    pub(super) async fn next(&mut self, updates: &mut Receiver<Update>) -> Option<Update> {
        if let Some(snapshot) = self.snapshot.take() {
            return Some(Update::Snapshot(snapshot));
        }
        self.endpoints.clear();
        updates.recv().await
    }

    /// Waits for `work`. Endpoints do not: `cells` are told of them, and those that come of the work
    /// are by [`Self::tell`].
    pub(super) async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
        updates: &mut Receiver<Update>,
        cells: &[&Cells],
        newest: &Newest,
    ) -> T {
        let mut work = pin!(work);
        loop {
            let update = tokio::select! {
                biased;
                done = &mut work => return done,
                // The end of the source is found again by who looks for the next update.
                Some(update) = updates.recv() => update,
            };
            match update {
                Update::Snapshot(snapshot) => self.snapshot = Some(snapshot),
                Update::Endpoints { service, slices } => {
                    cells.iter().for_each(|cells| set_endpoints(cells, &service, &slices));
                    newest.services.send_if_modified(|seen| seen.set_slices(&service, &slices));
                    self.endpoints.insert(service, slices);
                }
            }
        }
    }

    /// What these know is of the snapshot that was worked on.
    pub(super) fn tell(&self, cells: &Cells) {
        self.endpoints.iter().for_each(|(service, slices)| set_endpoints(cells, service, slices));
    }

    /// The same for those who write statuses.
    pub(super) fn tell_seen(&self, seen: &mut services::Seen) {
        for (service, slices) in &self.endpoints {
            seen.set_slices(service, slices);
        }
    }
}

pub(super) fn set_endpoints(cells: &Cells, service: &ServiceName, slices: &Slices) {
    for cell in cells.values().filter(|cell| cell.backend.id.service == *service) {
        if let Addressing::EndpointSlices { port_name } = &cell.backend.addressing {
            cell.set_endpoints(&endpoints(slices, port_name));
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s::model::{Backend, BackendId, Endpoints, Protocol};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::upstream::BackendCell;

    fn web() -> ServiceName {
        ServiceName::new("default", "web")
    }

    /// With an endpoint that the slices of nobody have.
    fn cells() -> Cells {
        let backend = Backend {
            id: BackendId { service: web(), port: 80, spoken: None },
            protocol: Protocol::Http,
            validation: None,
            addressing: Addressing::EndpointSlices { port_name: "".into() },
            uid: "7d1a0a2e".into(),
            health_check: None,
        };
        let known = Endpoints { addresses: vec![([127, 0, 0, 1], 80).into()] };
        Cells::from([(backend.id.clone(), Arc::new(BackendCell::new(backend, &known, None)))])
    }

    fn n_endpoints(cells: &Cells) -> usize {
        cells.values().map(|cell| cell.addresses().addresses.len()).sum()
    }

    /// As many as the channel takes: more would hold the source back, and endpoints with it.
    #[tokio::test]
    async fn endpoints_do_not_wait_for_routes_and_of_routes_the_newest_come_next() {
        let (sender, mut updates) = mpsc::channel(16);
        let (old, made) = (cells(), cells());
        let mut backlog = Backlog::default();
        let (finish, finished) = oneshot::channel::<()>();
        let last = Arc::new(Snapshot::default());
        let source = async {
            for _ in 0..100 {
                sender.send(Update::Snapshot(Arc::default())).await.expect("somebody listens");
            }
            sender.send(Update::Endpoints { service: web(), slices: Vec::new() }).await.expect("somebody listens");
            sender.send(Update::Snapshot(Arc::clone(&last))).await.expect("somebody listens");
            while n_endpoints(&old) > 0 {
                tokio::task::yield_now().await;
            }
            finish.send(()).expect("somebody waits");
        };
        let (newest, told) = (Newest::default(), [&old]);
        let (done, ()) = tokio::join!(backlog.during(finished, &mut updates, &told, &newest), source);
        done.expect("it was sent");
        assert_eq!(n_endpoints(&made), 1);
        backlog.tell(&made);
        assert_eq!(n_endpoints(&made), 0);
        while let Ok(update) = updates.try_recv() {
            assert!(matches!(update, Update::Snapshot(snapshot) if Arc::ptr_eq(&snapshot, &last)));
            backlog.snapshot = Some(Arc::clone(&last));
        }
        let next = backlog.next(&mut updates).await;
        assert!(matches!(next, Some(Update::Snapshot(snapshot)) if Arc::ptr_eq(&snapshot, &last)));
        // Those of a snapshot that was not begun may be newer than it, too.
        let later = cells();
        backlog.tell(&later);
        assert_eq!(n_endpoints(&later), 0);
        drop(sender);
        assert!(backlog.next(&mut updates).await.is_none() && backlog.endpoints.is_empty());
    }
}
