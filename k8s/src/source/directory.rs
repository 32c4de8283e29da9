//! Watches a directory of YAML manifests.
