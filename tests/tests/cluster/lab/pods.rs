//! The whole of it: both programs as pods on two nodes, VIPs by MetalLB, a Pi-hole, a laptop, and a node that fails.

use std::time::Duration;

use tests::{Program, certificate, eventually, output, tls_secret, within};

use super::{lab, lab_command};

/// How long a cluster may need to notice that a node has failed: MetalLB has to move the VIP, and then Kubernetes to
/// take the node's pods out of the EndpointSlices, which it does 12 s after the node's last sign of life at the
/// earliest, and in steps.
const NODE_FAILURE: Duration = Duration::from_secs(120);

const APP: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: grafana, namespace: default}
spec:
  ingressClassName: internal
  rules:
  - host: grafana.home.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
";

#[test]
fn a_laptop_resolves_a_name_by_pi_hole_and_fetches_the_page_over_https_and_a_node_may_fail() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let files = tempfile::tempdir().expect("a place for temporary files");
    let issued = certificate(&["*.home.example"]);
    let trusted = files.path().join("ca.pem");
    std::fs::write(&trusted, &issued.0).expect("a file can be written");

    for program in ["gateway", "router"] {
        lab(&["load", &format!("{root}/target/image/{program}.tar")]);
    }
    lab(&["kubectl", "create", "namespace", "network"]);
    // The API refuses pods that ask for more.
    lab(&["kubectl", "label", "namespace", "network", "pod-security.kubernetes.io/enforce=restricted"]);
    let secret = files.path().join("secret.yaml");
    std::fs::write(&secret, tls_secret("network", "home-example-tls", &issued)).expect("a file can be written");
    let app = files.path().join("app.yaml");
    std::fs::write(&app, APP).expect("a file can be written");
    for file in [secret.as_path(), app.as_path(), format!("{root}/tests/lab/manifests/web.yaml").as_ref()] {
        lab(&["kubectl", "apply", "-f", &file.to_string_lossy()]);
    }
    lab(&["kubectl", "apply", "-k", &format!("{root}/deploy/kustomize")]);
    for (namespace, deployment) in [("network", "gateway"), ("network", "router"), ("default", "web")] {
        lab(&["kubectl", "-n", namespace, "rollout", "status", &format!("deployment/{deployment}"), "--timeout=90s"]);
    }
    for program in ["gateway", "router"] {
        let label = format!("app.kubernetes.io/name={program}");
        let nodes =
            lab(&["kubectl", "-n", "network", "get", "pods", "-l", &label, "-o", "jsonpath={.items[*].spec.nodeName}"]);
        let mut nodes: Vec<_> = nodes.split_whitespace().collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["ogg", "weatherwax"], "{program} is on both nodes");
    }

    // Pi-hole's resolver is dnsmasq, and its forward is this one line.
    let pi_hole = ["at", "pihole", "dnsmasq", "-k", "--no-hosts", "--no-resolv", "--log-facility=-", "--pid-file="];
    let mut dnsmasq = lab_command(&pi_hole);
    let _pi_hole = Program::start(dnsmasq.arg("--server=/home.example/192.168.8.22"), files.path().join("dnsmasq.log"));

    let url = "https://grafana.home.example/";
    let fetch = |arguments: &[&str]| {
        at_laptop(&[&["curl", "-s", "-m", "2", "--cacert", &trusted.to_string_lossy()], arguments].concat())
    };
    eventually("the laptop's page", || match fetch(&[url]) {
        page if page.starts_with("pod=web-") => Ok(()),
        other => Err(other),
    });
    assert_eq!(at_laptop(&["dig", "+short", "grafana.home.example", "A"]), "192.168.8.21\n");
    assert_eq!(at_laptop(&["dig", "+short", "grafana.home.example", "AAAA"]), "");
    assert!(at_laptop(&["dig", "nothing.home.example"]).contains("NXDOMAIN"));
    assert_eq!(fetch(&["-o", "/dev/null", "-w", "%{http_version}", url]), "2");
    assert_eq!(
        fetch(&["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "http://grafana.home.example/a?b"]),
        "308 https://grafana.home.example/a?b"
    );
    // The router sees the laptop itself, as the Service keeps addresses.
    let log = lab(&["kubectl", "-n", "network", "logs", "-l", "app.kubernetes.io/name=router", "--tail=-1"]);
    assert!(log.contains("192.168.8.100"), "{log}");
    // An app that is marked nowhere, or internal, is not on the Internet's door.
    let tunnel = fetch(&["-k", "-o", "/dev/null", "-w", "%{http_code}", "--connect-to", "::192.168.8.23:443", url]);
    assert_eq!(tunnel, "404");

    let announces = "the node that announces the LAN's address";
    let (node, _) = eventually(announces, || announcing_node().ok_or(()));
    lab(&["fail", &node]);
    // Several in a row, so that neither a VIP that is moving nor an endpoint that is gone is left.
    let mut row = 0;
    let ((), took) = within(NODE_FAILURE, "page after page", || {
        row = if fetch(&[url]).starts_with("pod=web-") { row + 1 } else { 0 };
        if row < 20 { Err(row) } else { Ok(()) }
    });
    println!("FIGURE node {node} failed until 20 pages in a row came to the laptop: {} ms", took.as_millis());
    lab(&["node", &node]);
}

/// Which node answers ARP for 192.168.8.21: the one whose hardware address the laptop's kernel knows for it.
fn announcing_node() -> Option<String> {
    let neighbours = at_laptop(&["ip", "neighbour", "show", "192.168.8.21"]);
    let hardware = neighbours.split("lladdr ").nth(1)?.split(' ').next()?.to_owned();
    let is = |node: &&str| lab(&["at", node, "ip", "link", "show", "eth0"]).contains(&hardware);
    ["weatherwax", "ogg"].into_iter().find(is).map(str::to_owned)
}

fn at_laptop(command: &[&str]) -> String {
    output(lab_command(&["at", "laptop"]).args(command))
}
