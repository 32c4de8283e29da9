//! What process tests share: a home of its own for each test, programs in it, and real clients.

pub mod api_server;
pub mod backend;
pub mod cluster;
pub mod dns;
pub mod dnsmasq;
pub mod floods;
pub mod frames;
pub mod fuzz;
pub mod home;
pub mod many;
pub mod pod;
mod program;
pub mod raw;
pub mod tls;
pub mod traffic;

pub use self::{
    api_server::ApiServer,
    home::Home,
    program::{Program, binary},
};

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

/// How long anything may take before a test gives up. Machines may be slow; nothing waits this long when it works.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Whether tests take the time that their figures need, as `tests/run long` has them do.
pub fn is_long() -> bool {
    std::env::var_os("DOORWARD_LONG").is_some()
}

/// Asks until `found` has what it looks for, and returns it with how long that took.
///
/// # Panics
/// When it does not come in time, with the last thing that was found instead.
pub fn eventually<T, E: std::fmt::Debug>(what: &str, found: impl FnMut() -> Result<T, E>) -> (T, Duration) {
    within(PATIENCE, what, found)
}

/// [`eventually`], for what others need longer for than any of our own programs may.
///
/// # Panics
/// When it does not come in time, with the last thing that was found instead.
pub fn within<T, E: std::fmt::Debug>(
    patience: Duration,
    what: &str,
    mut found: impl FnMut() -> Result<T, E>,
) -> (T, Duration) {
    let started = Instant::now();
    loop {
        match found() {
            Ok(it) => return (it, started.elapsed()),
            Err(instead) if started.elapsed() > patience => panic!("{what} did not come; instead: {instead:#?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Sets it when it is dropped: a thread that is waited for must end where a test panics, too.
pub struct SetAtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs a client, and returns its standard output.
///
/// # Panics
/// When the client is not installed; `tests/run` installs it.
pub fn output(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs what is missing"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A self-signed certificate and its key, in PEM.
///
/// # Panics
/// Never, for names that are names.
pub fn certificate(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(names).expect("names are names");
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

/// An authority, with nobody's trust but its users'.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub certificate: String,
}

impl Authority {
    /// # Panics
    /// Never, for a name that is a text.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("random numbers");
        let certificate = parameters.self_signed(&key).expect("its own key").pem();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// A certificate for servers and clients, and its key, in PEM. A name may be a URI.
    ///
    /// # Panics
    /// Never, for names that are names.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut parameters = CertificateParams::new(hosts).expect("names are names");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI is ASCII")));
        parameters.subject_alt_names.extend(uris);
        // The same for all of them: nobody may tell them apart by it.
        parameters.serial_number = Some(1.into());
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("random numbers");
        (parameters.signed_by(&key, &self.issuer).expect("the issuer's key").pem(), key.serialize_pem())
    }

    /// As `ca.crt` of a ConfigMap in namespace `default`.
    pub fn config_map(&self, name: &str) -> String {
        let indented: String = self.certificate.lines().map(|line| format!("    {line}\n")).collect();
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata:\n  ca.crt: |\n{indented}---\n"
        )
    }
}

/// A TLS Secret as a manifest.
pub fn tls_secret(namespace: &str, name: &str, (certificate, key): &(String, String)) -> String {
    let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}---\n",
        indented(certificate),
        indented(key)
    )
}
