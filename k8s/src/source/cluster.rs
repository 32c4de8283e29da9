//! Watches a cluster: list and watch with backoff, one stream per kind.
