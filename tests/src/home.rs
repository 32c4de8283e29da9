//! A home for one test: loopback addresses nobody else has, a configuration, a directory of manifests.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use tempfile::TempDir;

use crate::{Program, binary, eventually, output};

/// Ports are the same in every home; addresses are not.
pub const HTTP: u16 = 8080;
pub const HTTPS: u16 = 8443;
pub const DNS: u16 = 5353;
const ADMIN: u16 = 9150;
/// How many seconds a client waits. What is fast shows in benchmarks.
const PATIENT: &str = "20";

pub struct Home {
    directory: TempDir,
    /// `127.x.y`: tests in one process differ in y, test programs in x.
    network: [u8; 3],
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// # Panics
    /// When there is no place for temporary files.
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let home = Self {
            directory: tempfile::tempdir().expect("a place for temporary files"),
            network: [127, number_of_process(), NEXT.fetch_add(1, Relaxed)],
        };
        fs::create_dir(home.manifests()).expect("a new directory is empty");
        home.configure("");
        home
    }

    /// The address that ends like the real one: `.21` the LAN, `.22` DNS, `.23` the tunnel, `.24` a Gateway.
    pub fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last)
    }

    pub fn socket(&self, last: u8, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(last), port))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn manifests(&self) -> PathBuf {
        self.path("manifests")
    }

    /// Two doors, one zone, and `more`.
    ///
    /// # Panics
    /// When the file cannot be written, as all that writes here.
    pub fn configure(&self, more: &str) {
        self.configure_dns("home.example", "", more);
    }

    /// Two doors, these zones (`home.example, {name: lab.example, ttl: 5}`), what else there is under `dns`
    /// (`reverse: true`), and `more`.
    ///
    /// # Panics
    /// When the file cannot be written, as all that writes here.
    pub fn configure_dns(&self, zones: &str, under_dns: &str, more: &str) {
        let [lan, dns, tunnel] = [21, 22, 23].map(|last| self.address(last));
        let text = format!(
            "zones: [{zones}]
entryPoints:
  lan: {{addresses: [{lan}], http: {HTTP}, https: {HTTPS}}}
  tunnel: {{addresses: [{tunnel}], http: {HTTP}, trust: {{sources: [127.0.0.0/8], clientAddress: cf-connecting-ip}}}}
ingress: {{classes: {{internal: lan, external: tunnel}}}}
dns: {{listen: [\"{dns}:{DNS}\"], addresses: [{dns}], {under_dns}}}
admin: {{gateway: \"{dns}:{ADMIN}\", router: \"{lan}:{ADMIN}\"}}
drain: {{delay: 0, timeout: 10}}
{more}\n"
        );
        self.write("doorward.yaml", &text);
    }

    /// # Panics
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    /// Writes a manifest as a careful program does: whole, and then in place.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn apply(&self, name: &str, yaml: &str) {
        let temporary = self.path(name);
        fs::write(&temporary, yaml).expect("a file can be written");
        fs::rename(temporary, self.manifests().join(name)).expect("a file can be moved");
    }

    /// # Panics
    /// When it is not there.
    pub fn delete(&self, name: &str) {
        fs::remove_file(self.manifests().join(name)).expect("the manifest is there");
    }

    /// Runs `gateway` or `router` as a command (`explain …`) that knows of this home's configuration by its environment.
    /// What it has said on both streams, and whether it was content.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn command(&self, program: &str, arguments: &[&str]) -> (String, bool) {
        let mut command = Command::new(binary(program));
        command.args(arguments).env("DOORWARD_CONFIG", self.path("doorward.yaml")).env("RUST_BACKTRACE", "0");
        let output = command.output().expect("the program starts");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (said.concat(), output.status.success())
    }

    /// `gateway` or `router`, on this home's manifests; not yet ready.
    pub fn launch(&self, program: &str) -> Program {
        self.launch_by(Command::new(binary(program)), program)
    }

    /// The same on a machine that believes the authorities in this file, and no others.
    pub fn launch_believing(&self, program: &str, authorities: &Path) -> Program {
        let mut command = Command::new(binary(program));
        // Certificates there have names of another form.
        command.env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", self.manifests());
        self.launch_by(command, program)
    }

    /// The same of another build.
    pub fn launch_file(&self, file: &Path) -> Program {
        self.launch_by(Command::new(file), "router")
    }

    /// The same with no more than that many file descriptors.
    pub fn launch_with_files(&self, program: &str, most: usize) -> Program {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}")).arg(binary(program));
        self.launch_by(command, program)
    }

    fn launch_by(&self, mut command: Command, program: &str) -> Program {
        command.arg("--config").arg(self.path("doorward.yaml")).arg("--manifests").arg(self.manifests());
        if program == "gateway" {
            // As in deploy/kustomize: with a heap for each thread, its memory is another one each time.
            command.env("MALLOC_ARENA_MAX", "1");
        }
        Program::start(&mut command, self.path(&format!("{program}.log")))
    }

    /// The same on the cluster that KUBECONFIG names.
    pub fn launch_on_cluster(&self, program: &str) -> Program {
        self.launch_file_on_cluster(&binary(program), program)
    }

    /// The same of another build.
    pub fn launch_file_on_cluster(&self, file: &Path, program: &str) -> Program {
        let mut command = Command::new(file);
        command.arg("--config").arg(self.path("doorward.yaml"));
        Program::start(&mut command, self.path(&format!("{program}.log")))
    }

    /// The same on the cluster that a plain API server at `server` shows.
    ///
    /// # Panics
    /// When its KUBECONFIG cannot be written.
    pub fn launch_on_api_server(&self, program: &str, server: SocketAddr) -> Program {
        let kubeconfig = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: 'http://{server}'}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"
        );
        self.write("kubeconfig", &kubeconfig);
        let mut command = Command::new(binary(program));
        command.arg("--config").arg(self.path("doorward.yaml")).env("KUBECONFIG", self.path("kubeconfig"));
        Program::start(&mut command, self.path(&format!("{program}.log")))
    }

    pub fn start(&self, program: &str) -> Program {
        self.ready(program, self.launch(program))
    }

    pub fn start_on_cluster(&self, program: &str) -> Program {
        self.ready(program, self.launch_on_cluster(program))
    }

    /// Waits until what was launched is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn ready(&self, program: &str, mut started: Program) -> Program {
        eventually("readiness", || {
            assert!(started.is_running(), "{program} has ended:\n{}", started.log());
            match self.admin(program, "/readyz").as_str() {
                "ok\n" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        started
    }

    /// A Gateway `home` of this home's own address `.24`, HTTP alone, and its class.
    pub fn gateway(&self) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: doorward}}
spec: {{controllerName: doorward.dev/gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: home, namespace: default}}
spec:
  gatewayClassName: doorward
  addresses: [{{value: {}}}]
  listeners: [{{name: http, port: {HTTP}, protocol: HTTP}}]
---
",
            self.address(24)
        )
    }

    /// What the admin port answers.
    pub fn admin(&self, program: &str, path: &str) -> String {
        let address = self.admin_address(program);
        output(Command::new("curl").args(["-s", "-m", PATIENT, &format!("http://{address}{path}")]))
    }

    /// The status alone.
    pub fn admin_status(&self, program: &str, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin_address(program));
        output(Command::new("curl").args(["-s", "-m", PATIENT, "-o", "/dev/null", "-w", "%{http_code}", &url]))
    }

    /// What a program counts under a name, whatever the labels; None where it does not.
    pub fn counted(&self, program: &str, name: &str) -> Option<f64> {
        let of_line = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let counts: Vec<f64> = self.admin(program, "/metrics").lines().filter_map(of_line).collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }

    pub fn admin_address(&self, program: &str) -> SocketAddr {
        self.socket(if program == "gateway" { 22 } else { 21 }, ADMIN)
    }

    /// `dig` at this home's gateway, which sends its question once. Where no answer is expected `+time=1` is enough.
    pub fn dig(&self, arguments: &[&str]) -> String {
        self.dig_at(22, arguments)
    }

    /// The same at the server whose address ends in `last`.
    pub fn dig_at(&self, last: u8, arguments: &[&str]) -> String {
        let server = format!("@{}", self.address(last));
        let time = format!("+time={PATIENT}");
        output(Command::new("dig").args([&server, "-p", &DNS.to_string(), "+tries=1", &time]).args(arguments))
    }

    /// `curl` with every host at the door that ends in `last`; answers are on standard output, headers included with `-i`.
    pub fn curl(&self, last: u8, arguments: &[&str]) -> String {
        output(Command::new("curl").args(["-s", "-k", "-m", PATIENT]).args(self.connect_to(last)).args(arguments))
    }

    /// Flags that bring curl to a door whatever the URL's host is, with the ports that clients know mapped to this home's.
    pub fn connect_to(&self, last: u8) -> [String; 6] {
        let door = self.address(last);
        let to = |from: &str, port: &str| format!("{from}{door}:{port}");
        let flag = || "--connect-to".to_owned();
        [flag(), to(":80:", &HTTP.to_string()), flag(), to(":443:", &HTTPS.to_string()), flag(), to("::", "")]
    }

    /// The status alone.
    pub fn status(&self, last: u8, url: &str) -> String {
        self.curl(last, &["-o", "/dev/null", "-w", "%{http_code}", url])
    }
}

/// From 20 on, and of no other test program that runs now.
///
/// # Panics
/// When two hundred of them run.
pub fn number_of_process() -> u8 {
    // No home has `127.x.0`; who holds this socket has the x. The kernel gives it back, however the process ends.
    static HELD: OnceLock<(u8, UdpSocket)> = OnceLock::new();
    let hold = || {
        let first = process::id() % 200;
        let mut numbers = (first..first + 200).map(|number| u8::try_from(20 + number % 200).expect("small"));
        numbers.find_map(|number| Some((number, UdpSocket::bind((Ipv4Addr::new(127, number, 0, 1), ADMIN)).ok()?)))
    };
    HELD.get_or_init(|| hold().expect("loopback has a network that nobody uses")).0
}

/// app.home.example by an Ingress of class `internal`, its Service `web` and the endpoints.
pub fn app(endpoints: &[SocketAddr]) -> String {
    [classes(), service("web", endpoints), ingress("app", "app.home.example", "web")].concat()
}

/// An Ingress of class `internal` for one host, in namespace `default`.
pub fn ingress(name: &str, host: &str, service: &str) -> String {
    ingress_of("internal", name, host, service)
}

pub fn ingress_of(class: &str, name: &str, host: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: default}}
spec:
  ingressClassName: {class}
  rules:
  - host: \"{host}\"
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}
---
"
    )
}

/// IngressClasses `internal` and `external`, both ours.
pub fn classes() -> String {
    ["internal", "external"]
        .map(|name| {
            format!("apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\nspec: {{controller: doorward.dev/ingress}}\n---\n")
        })
        .concat()
}

/// A Service without selector, and its endpoints.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    service_with(name, "", endpoints)
}

/// `app_protocol` may be empty.
pub fn service_with(name: &str, app_protocol: &str, endpoints: &[SocketAddr]) -> String {
    let protocol = if app_protocol.is_empty() { String::new() } else { format!(", appProtocol: {app_protocol}") };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{ports: [{{port: 80{protocol}}}]}}\n---\n{}",
        slices(name, endpoints)
    )
}

/// One EndpointSlice for each endpoint, as ports may differ.
pub fn slices(service: &str, endpoints: &[SocketAddr]) -> String {
    endpoints
        .iter()
        .enumerate()
        .map(|(number, endpoint)| {
            format!(
                "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{number}, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
endpoints: [{{addresses: [{}]}}]
ports: [{{port: {}}}]
---
",
                endpoint.ip(),
                endpoint.port()
            )
        })
        .collect()
}
