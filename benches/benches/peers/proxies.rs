//! The proxies, each started on one core, with the same routes and an address of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use benches::program::{self, Program, pinned};

use crate::{configuration, tls::Certificate};

/// The same at each address.
pub(crate) const HTTP: u16 = 8080;
pub(crate) const HTTPS: u16 = 8443;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Router,
    /// With its access log.
    RouterLogging,
    Nginx,
    HaProxy,
    Envoy,
    Traefik,
    Caddy,
}

/// What a proxy is started with.
pub(crate) struct Place<'a> {
    /// Where it keeps its files.
    pub(crate) directory: PathBuf,
    pub(crate) router: &'a str,
    /// Where the programs are that are not in PATH.
    pub(crate) programs: &'a Path,
    pub(crate) certificate: &'a Certificate,
    /// By route.
    pub(crate) backends: &'a [SocketAddr],
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Router, Self::RouterLogging, Self::Nginx, Self::HaProxy, Self::Envoy, Self::Traefik, Self::Caddy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::RouterLogging => "router-logging",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn address(self) -> IpAddr {
        IpAddr::from(Ipv4Addr::new(127, program::number_of_run(), 80, self as u8 + 1))
    }

    /// Not yet ready.
    pub(crate) fn start(self, place: &Place<'_>) -> Program {
        let directory = place.directory.join(self.name());
        fs::create_dir(&directory).expect("a new directory");
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file can be written");
            path
        };
        let Certificate { chain, key, .. } = place.certificate;
        let files = configuration::Files {
            directory: &directory,
            chain: &write("tls.crt", chain),
            key: &write("tls.key", key),
            both: &write("tls.pem", &[chain.as_str(), key].concat()),
        };
        let (address, backends) = (self.address(), place.backends);
        let bundled = |name: &str| place.programs.join(name).to_string_lossy().into_owned();
        let mut command = match self {
            Self::Router | Self::RouterLogging => {
                let manifests = directory.join("manifests");
                fs::create_dir(&manifests).expect("a new directory");
                write("manifests/apps.yaml", &configuration::manifests(backends, place.certificate));
                let file = write("doorward.yaml", &configuration::router(address));
                let mut command = pinned(place.router, &["--config".into(), file, "--manifests".into(), manifests]);
                if self == Self::Router {
                    command.arg("--no-access-log");
                }
                command
            }
            Self::Nginx => {
                let file = write("nginx.conf", &configuration::nginx(address, backends, &files));
                pinned("nginx", &["-e".into(), "stderr".into(), "-c".into(), file])
            }
            Self::HaProxy => {
                let map = write("routes.map", &configuration::haproxy_map());
                let file = write("haproxy.cfg", &configuration::haproxy(address, backends, &files, &map));
                pinned("haproxy", &["-db".into(), "-f".into(), file])
            }
            Self::Envoy => {
                let file = write("envoy.json", &configuration::envoy(address, backends, &files));
                let mut command = pinned(&bundled("envoy"), &["-c".into(), file]);
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]);
                command
            }
            Self::Traefik => {
                let routes = write("routes.yaml", &configuration::traefik_routes(backends, &files));
                let file = write("traefik.yaml", &configuration::traefik(address, &routes));
                pinned(&bundled("traefik"), &[["--configFile=", &file.to_string_lossy()].concat().into()])
            }
            Self::Caddy => {
                let file = write("caddy.json", &configuration::caddy(address, backends, &files));
                let mut command = pinned(&bundled("caddy"), &["run".into(), "--config".into(), file]);
                command.env("HOME", &directory).env("XDG_DATA_HOME", &directory).env("XDG_CONFIG_HOME", &directory);
                command
            }
        };
        command.current_dir(&directory);
        let log = directory.join("log");
        // The access log is on standard output.
        if self == Self::RouterLogging {
            return Program::start_without_output(command, log);
        }
        Program::start(command, log)
    }
}
