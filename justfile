# The commands of a day's work; `just` lists them. Each is one line that can also be typed.

[private]
default:
    @just --list

# What CI runs before a change lands
ci:
    .ci/run

# Format, then lint as CI does
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --features tests/cluster,tests/h2spec -- -D warnings

# Unit, golden and process tests
test:
    tests/run

# The process tests whose figures need minutes: 50,000 requests, 64 MiB, a connection that is idle
long:
    tests/run long

# The same programs on a real Kubernetes: the one of KUBECONFIG, or one started here
cluster *filter:
    tests/run cluster {{filter}}

# Any bytes against DNS and the reader of manifests, a minute each (needs nightly Rust and cargo-fuzz)
fuzz *seconds:
    tests/run fuzz {{seconds}}

# Accept what the golden tests now give
bless:
    UPDATE_GOLDEN=1 cargo test -p tests --test golden

# A homelab's front door on loopback addresses
demo:
    deploy/demo/run

# How fast the hot paths are
bench:
    benches/run

# gateway beside other DNS servers
dns-bench:
    benches/dns

# router beside other edge proxies
peers-bench *names:
    benches/peers {{names}}

# Licences, advisories, duplicates (needs cargo-deny)
deny:
    cargo deny check

# Images as OCI archives in target/image
image:
    deploy/image/build
