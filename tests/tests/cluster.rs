//! Both programs on a real cluster: objects go in through the API, DNS and HTTP follow.
//!
//! Any cluster that KUBECONFIG names will do, but for the tests in `lab`, which stop its API
//! server, take its CRDs away and fail its nodes: those need the one of `tests/lab`.

#[path = "cluster/certificates.rs"]
mod certificates;
#[path = "cluster/endpoints.rs"]
mod endpoints;
#[path = "cluster/lab.rs"]
mod lab;
#[path = "cluster/problems.rs"]
mod problems;
#[path = "cluster/routes.rs"]
mod routes;

use tests::{Home, Program, cluster::Cluster, eventually};

/// Both programs in a home of their own, on a cluster.
struct Doorward {
    gateway: Program,
    router: Program,
    cluster: Cluster,
    // Last, as it has the programs' logs.
    home: Home,
}

impl Doorward {
    fn start(more: &str) -> Self {
        let (home, mut cluster) = (Home::new(), Cluster::new());
        cluster.configure(&home, more);
        let [gateway, router] = ["gateway", "router"].map(|program| home.start_on_cluster(program));
        Self { home, cluster, gateway, router }
    }

    /// The addresses that `gateway` answers for a name, or what it says instead.
    fn addresses(&self, name: &str) -> String {
        let answer = self.home.dig(&["+noall", "+answer", "+comments", name, "A"]);
        let address = answer.lines().find_map(|line| line.split_once("IN\tA\t")).map(|(_, address)| address.to_owned());
        address.unwrap_or_else(|| {
            let status = answer.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
            status.unwrap_or("no answer").to_owned()
        })
    }

    /// Which backend answers a URL at the LAN's door, or the status.
    fn backend(&self, url: &str) -> String {
        self.backend_at(21, url)
    }

    fn backend_at(&self, door: u8, url: &str) -> String {
        let answer = self.home.curl(door, &["-w", "\n%{http_code}", url]);
        let (body, status) = answer.rsplit_once('\n').unwrap_or_default();
        let name = serde_json::from_str::<serde_json::Value>(body)
            .ok()
            .and_then(|body| Some(body["backend"].as_str()?.to_owned()));
        name.unwrap_or_else(|| status.to_owned())
    }

    /// Both, for as long as it takes; says how long.
    fn eventually_served(&self, name: &str, address: &str, backend: &str) -> std::time::Duration {
        let url = format!("https://{name}/");
        let wanted = (address.to_owned(), backend.to_owned());
        let (_, took) = eventually(name, || match (self.addresses(name), self.backend(&url)) {
            found if found == wanted => Ok(()),
            other => Err((other, self.home.admin("router", "/problems"))),
        });
        took
    }

    fn lan(&self) -> String {
        self.home.address(21).to_string()
    }
}
