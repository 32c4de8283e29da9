//! The objects that are to be looked at, now or later. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio::time::Instant;

use crate::model::ObjectName;

/// Each object is in it once, and is not given out while something of it is under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What others are attached to comes first.
    ready: BTreeSet<(u8, ObjectName)>,
    later: BTreeSet<(Instant, ObjectName)>,
    due: HashMap<ObjectName, Instant>,
    begun: HashSet<ObjectName>,
    /// Those of the begun that are to be looked at once more.
    after: BTreeSet<ObjectName>,
}

impl Queue {
    pub(super) fn add(&mut self, objects: impl IntoIterator<Item = ObjectName>) {
        for object in objects {
            if self.begun.contains(&object) {
                self.after.insert(object);
            } else {
                self.ready.insert((rank(&object), object));
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<ObjectName> {
        let object = self.ready.pop_first()?.1;
        self.forget_due(&object);
        Some(object)
    }

    pub(super) fn begin(&mut self, object: ObjectName) {
        self.begun.insert(object);
    }

    pub(super) fn end(&mut self, object: &ObjectName) {
        self.begun.remove(object);
        if let Some(object) = self.after.take(object) {
            self.add([object]);
        }
    }

    /// Looks at it again at a time, or when it is added before.
    pub(super) fn delay(&mut self, at: Instant, object: ObjectName) {
        self.forget_due(&object);
        self.due.insert(object.clone(), at);
        self.later.insert((at, object));
    }

    /// Makes ready what is due.
    pub(super) fn wake(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some((_, object)) = self.later.pop_first() else { return };
            self.due.remove(&object);
            self.add([object]);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    fn forget_due(&mut self, object: &ObjectName) {
        if let Some((object, at)) = self.due.remove_entry(object) {
            self.later.remove(&(at, object));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// What is under way stays so.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.later.clear();
        self.due.clear();
        self.after.clear();
    }
}

fn rank(object: &ObjectName) -> u8 {
    match object.kind {
        "GatewayClass" => 0,
        "Gateway" => 1,
        "ListenerSet" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn object(kind: &'static str) -> ObjectName {
        ObjectName::new(kind, "default", "it")
    }

    fn taken(queue: &mut Queue) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take()).map(|object| object.kind).collect()
    }

    #[test]
    fn what_others_are_attached_to_comes_first_and_each_object_once() {
        let mut queue = Queue::default();
        queue.add(["BackendTLSPolicy", "Gateway", "HTTPRoute", "GatewayClass", "ListenerSet", "Gateway"].map(object));
        assert_eq!(taken(&mut queue), ["GatewayClass", "Gateway", "ListenerSet", "BackendTLSPolicy", "HTTPRoute"]);
    }

    #[test]
    fn an_object_of_which_something_is_under_way_waits_for_its_end() {
        let mut queue = Queue::default();
        queue.begin(object("Gateway"));
        queue.add([object("Gateway")]);
        assert!(queue.is_empty());
        queue.end(&object("Gateway"));
        assert_eq!(taken(&mut queue), ["Gateway"]);
        queue.begin(object("Gateway"));
        queue.end(&object("Gateway"));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_put_off_comes_at_its_time_or_when_it_changes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        queue.delay(at(9), object("Gateway"));
        queue.delay(at(2), object("Gateway"));
        queue.delay(at(1), object("HTTPRoute"));
        queue.wake(now);
        assert!(queue.is_empty());
        queue.add([object("HTTPRoute")]);
        assert_eq!((taken(&mut queue), queue.next_due()), (vec!["HTTPRoute"], Some(at(2))));
        queue.wake(at(2));
        assert_eq!((taken(&mut queue), queue.next_due()), (vec!["Gateway"], None));
    }
}
