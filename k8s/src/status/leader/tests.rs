//! Who may take a lease, and when.

use super::*;

fn lease(holder: Option<&str>, version: &str) -> Lease {
    let spec = LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(3),
        // Years away from any clock here: nobody reads it.
        renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
        ..LeaseSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some("doorward".to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectMeta::default()
    };
    Lease { metadata, spec: Some(spec) }
}

fn candidate() -> Candidate {
    Candidate { me: "me".to_owned(), seen: None }
}

#[test]
fn a_lease_that_is_nobodys_or_ours_is_had_at_once() {
    let now = Instant::now();
    for (lease, step) in [
        (None, Step::Create),
        (Some(lease(None, "1")), Step::Take),
        (Some(lease(Some(""), "1")), Step::Take),
        (Some(Lease::default()), Step::Take),
        (Some(lease(Some("me"), "1")), Step::Renew),
        (Some(lease(Some("other"), "1")), Step::Wait),
    ] {
        assert_eq!(candidate().step(lease.as_ref(), now), step, "{lease:?}");
    }
}

#[test]
fn anothers_lease_is_taken_when_it_has_not_changed_for_its_whole_time_by_our_own_clock() {
    let mut waiting = candidate();
    let start = Instant::now();
    let mut step =
        |seconds, version| waiting.step(Some(&lease(Some("other"), version)), start + Duration::from_secs(seconds));
    for (seconds, version, expected) in [
        (0, "1", Step::Wait),
        (14, "1", Step::Wait),
        // It was renewed: the count begins anew.
        (16, "2", Step::Wait),
        (30, "2", Step::Wait),
        (31, "2", Step::Take),
        (32, "3", Step::Wait),
    ] {
        assert_eq!(step(seconds, version), expected, "after {seconds} s");
    }
}

#[test]
fn a_lease_that_somebody_deletes_or_shortens_is_its_holders_for_as_long_as_he_counts_on_it() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut waiting = candidate();
    assert_eq!(waiting.step(Some(&lease(Some("other"), "1")), start), Step::Wait);
    assert_eq!(waiting.step(None, at(1)), Step::Wait);
    assert_eq!(waiting.step(None, at(15)), Step::Create);
    let mut short = lease(Some("other"), "2");
    short.spec.get_or_insert_default().lease_duration_seconds = Some(1);
    let mut waiting = candidate();
    assert_eq!(waiting.step(Some(&short), start), Step::Wait);
    assert_eq!(waiting.step(Some(&short), at(5)), Step::Wait);
    assert_eq!(waiting.step(Some(&short), at(15)), Step::Take);
}

#[test]
fn a_lease_counts_how_often_it_went_over_to_another() {
    let now = Timestamp::UNIX_EPOCH + LEASE;
    let transitions = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    let made = candidate().held(None, "doorward", now);
    assert_eq!((transitions(&made), made.metadata.name.as_deref()), (Some(0), Some("doorward")));
    let taken = candidate().held(Some(lease(Some("other"), "7")), "doorward", now);
    assert_eq!((transitions(&taken), taken.metadata.resource_version.as_deref()), (Some(4), Some("7")));
    let renewed = candidate().held(Some(taken), "doorward", now + LEASE);
    assert_eq!(transitions(&renewed), Some(4));
    let spec = renewed.spec.clone().expect("a spec");
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(MicroTime(now)), Some(MicroTime(now + LEASE))));
    // Whoever comes next need not wait.
    assert_eq!(
        Candidate { me: "next".to_owned(), seen: None }.step(Some(&released(renewed, now)), Instant::now()),
        Step::Take
    );
}

#[test]
fn a_holder_gives_up_before_another_may_begin() {
    // The other has seen the lease change after it was asked for at the earliest.
    assert!(COUNTED_ON + PATIENCE < LEASE);
    assert!(RENEW + PATIENCE < COUNTED_ON, "one lost answer is no loss of the lease");
}

#[test]
fn a_lease_is_named_after_the_controller() {
    for (controller, name) in [
        ("doorward.dev/gateway", "doorward.dev-gateway"),
        ("Example.COM/My_Gateway.", "example.com-my-gateway"),
        ("a.-b/-.c", "a.b.c"),
        ("/", "doorward"),
    ] {
        assert_eq!(lease_name(controller), name);
    }
}
