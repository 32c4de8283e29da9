//! A real cluster for one test: a namespace and classes of its own, kubectl, and backends it can name.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{Home, backend, output};

pub struct Cluster {
    /// The namespace, and the beginning of every cluster-wide name of this test.
    name: String,
    /// What this test has made outside its namespace, as `kubectl delete` takes it.
    made: Vec<String>,
    /// Where backends listen: an EndpointSlice may not name a loopback address.
    address: IpAddr,
    backends: Runtime,
}

impl Cluster {
    /// Of the cluster that KUBECONFIG names.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let name = format!("doorward-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let cluster =
            Self { name, made: Vec::new(), address: own_address(), backends: Runtime::new().expect("a runtime") };
        cluster.kubectl(&["create", "namespace", &cluster.name]);
        cluster
    }

    pub fn namespace(&self) -> &str {
        &self.name
    }

    /// Two IngressClasses of this test alone, and a configuration that knows them. `more` is added to it.
    pub fn configure(&mut self, home: &Home, more: &str) {
        let gateways = format!("gatewayApi: {{controller: doorward.dev/gateway, address: {}}}", home.address(24));
        home.configure(&format!("{gateways}\n{more}"));
        let ours = home.read("doorward.yaml").replace("ingress: {", "ingress: {controller: doorward.dev/ingress, ");
        home.write("doorward.yaml", &self.own(&ours));
        self.apply(&crate::home::classes());
        self.made.extend(["internal", "external"].map(|class| self.own(&format!("ingressclass/{class}"))));
    }

    /// What this test makes outside its namespace, as `kubectl delete` takes it, is deleted with all else.
    pub fn remove_at_the_end(&mut self, what: &str) {
        self.made.push(what.to_owned());
    }

    /// A manifest as the directory tests write it, moved into this test's namespace, classes and controllers.
    pub fn own(&self, manifest: &str) -> String {
        let name = &self.name;
        manifest
            .replace("namespace: default", &format!("namespace: {name}"))
            .replace("default/", &format!("{name}/"))
            .replace("doorward.dev/ingress", &format!("doorward.dev/ingress-{name}"))
            .replace("doorward.dev/gateway", &format!("doorward.dev/gateway-{name}"))
            .replace("internal", &format!("internal-{name}"))
            .replace("external", &format!("external-{name}"))
    }

    pub fn apply(&self, manifest: &str) {
        self.kubectl_with(&["apply", "-f", "-"], &self.own(manifest));
    }

    /// Waits until the objects are gone from the API.
    pub fn delete(&self, manifest: &str) {
        self.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &self.own(manifest));
    }

    /// Its standard output.
    ///
    /// # Panics
    /// When kubectl fails, with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "")
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new("kubectl")
            .args(["-n", &self.name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("kubectl reads");
        let output = child.wait_with_output().expect("kubectl ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {said}\n{input}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A backend that answers with `name`, at an address that the API accepts.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn backend(&self, name: &str) -> SocketAddr {
        self.backends.block_on(backend::serve(SocketAddr::new(self.address, 0), name)).expect("a free port")
    }

    /// A plain way to the API, for a change whose effect is timed to the millisecond.
    pub fn api(&self) -> Api {
        Api::new()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for what in self.made.iter().chain([&format!("namespace/{}", self.name)]) {
            output(Command::new("kubectl").args(["delete", "--ignore-not-found", "--wait=false", what]));
        }
    }
}

/// `kubectl proxy`: the API without TLS and tokens.
pub struct Api {
    proxy: Child,
    address: String,
}

impl Api {
    /// Of the cluster that KUBECONFIG names.
    ///
    /// # Panics
    /// When there is no kubectl.
    pub fn new() -> Self {
        let mut proxy = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it serves");
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Self { proxy, address }
    }

    /// Merges `patch` into an object, and returns when the API server had said yes.
    ///
    /// # Panics
    /// When it says no.
    pub fn patch(&self, path: &str, patch: &str) -> Instant {
        self.send("PATCH", path, "application/merge-patch+json", patch)
    }

    /// Adds an object to those at `path`.
    ///
    /// # Panics
    /// When the API server says no.
    pub fn create(&self, path: &str, object: &str) -> Instant {
        self.send("POST", path, "application/json", object)
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Instant {
        let mut stream = TcpStream::connect(&self.address).expect("it serves");
        let head = format!("HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}");
        let request = format!("{method} {path} {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("the proxy reads");
        let mut answer = vec![0; 16 << 10];
        let read = stream.read(&mut answer).expect("the proxy answers");
        let answered = Instant::now();
        let text = String::from_utf8_lossy(&answer[..read]);
        assert!(text.starts_with("HTTP/1.1 20"), "{method} {path}: {text}");
        answered
    }
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// The address of this machine that the API server sees, or the one named in DOORWARD_TEST_ADDRESS.
fn own_address() -> IpAddr {
    if let Ok(text) = std::env::var("DOORWARD_TEST_ADDRESS") {
        return text.parse().expect("DOORWARD_TEST_ADDRESS is an IP address");
    }
    let server = output(Command::new("kubectl").args([
        "config",
        "view",
        "--minify",
        "-o",
        "jsonpath={.clusters[0].cluster.server}",
    ]));
    let authority = server.trim_start_matches("https://").split('/').next().unwrap_or_default().to_owned();
    let authority = if authority.contains(':') { authority } else { format!("{authority}:443") };
    let api = authority.to_socket_addrs().ok().and_then(|mut all| all.next());
    let api = api.unwrap_or_else(|| panic!("KUBECONFIG names no API server; it says {server:?}"));
    // Connecting a UDP socket sends nothing: it only asks which of our addresses leads there.
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    socket.connect(api).expect("a way to the API server");
    let address = socket.local_addr().expect("a bound socket").ip();
    assert!(
        !address.is_loopback(),
        "the API server is at {api}, and an EndpointSlice may not name a loopback address: \
         set DOORWARD_TEST_ADDRESS to another address of this machine"
    );
    address
}

/// Median and longest of several times, for a figure that is printed.
pub fn times(mut all: Vec<Duration>) -> String {
    all.sort();
    match (all.get(all.len() / 2), all.last()) {
        (Some(median), Some(longest)) => {
            format!("median {} ms, longest {} ms of {}", median.as_millis(), longest.as_millis(), all.len())
        }
        _ => "no times".to_owned(),
    }
}
