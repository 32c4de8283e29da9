//! The fields that are read are those of the CRDs.

use tests::cluster::Cluster;

use super::lab;

#[test]
fn every_field_that_is_read_is_one_of_the_crds() {
    lab(&["crds"]);
    let cluster = Cluster::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway_api/every_field.yaml");
    // The namespace in the file counts, not the cluster's.
    let said = cluster.kubectl(&["-n", "default", "apply", "--dry-run=server", "--validate=strict", "-f", file]);
    let objects =
        std::fs::read_to_string(file).expect("the file").lines().filter(|it| it.starts_with("kind: ")).count();
    assert_eq!(said.lines().filter(|it| it.ends_with("created (server dry run)")).count(), objects, "{said}");
}
