//! Nothing is lost while things change: backends replaced, routers restarted, the configuration rewritten.
//!
//! Each test counts 5,000 requests, and 50,000 in the long form.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tests::{
    Home, Program, certificate,
    home::{HTTP, HTTPS, classes, ingress, service_with, slices},
    is_long,
    pod::Pod,
    tls_secret,
    traffic::{Door, GRPC, Kind, MIX, Report, Traffic, WEB},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    sync::watch,
    task::spawn_blocking,
    time::sleep,
};

/// How many requests each test counts.
fn requests() -> usize {
    if is_long() { 50_000 } else { 5_000 }
}

/// The routers end here: a log of thousands of lines is nothing to print where a test fails.
fn nothing_lost(report: &Report, routers: Vec<Program>) {
    eprintln!("{report}");
    let failed: Vec<String> = routers
        .iter()
        .flat_map(|router| {
            router.log().lines().filter(|line| line.contains("\"error\"")).map(str::to_owned).collect::<Vec<_>>()
        })
        .take(20)
        .collect();
    drop(routers);
    assert!(report.sent() >= requests(), "{report}");
    assert_eq!(report.lost(), 0, "{report}\n{}", failed.join("\n"));
}

fn door(home: &Home) -> Door {
    Door { http: home.socket(21, HTTP), https: home.socket(21, HTTPS) }
}

/// Routes, Services and the default certificate, whose PEM is returned; endpoints come apart.
fn serve(homes: &[&Home]) -> String {
    let issued = certificate(&["home.example", "*.home.example"]);
    for home in homes {
        home.apply("routes.yaml", &routes(false));
        home.apply("certificate.yaml", &tls_secret("default", "home-tls", &issued));
    }
    issued.0
}

/// With one more host, or without.
fn routes(more: bool) -> String {
    let services = [service_with("web", "", &[]), service_with("grpc", "kubernetes.io/h2c", &[])].concat();
    let more = if more { ingress("more", "more.home.example", "web") } else { String::new() };
    [classes(), services, ingress("web", WEB, "web"), ingress("grpc", GRPC, "grpc"), more].concat()
}

fn set_endpoints(homes: &[&Home], pods: &[Pod]) {
    let addresses: Vec<SocketAddr> = pods.iter().map(|pod| pod.address).collect();
    for home in homes {
        home.apply("slices.yaml", &[slices("web", &addresses), slices("grpc", &addresses)].concat());
    }
}

async fn start_pods(home: &Home, count: usize) -> Vec<Pod> {
    let mut pods = Vec::new();
    for _ in 0..count {
        pods.push(Pod::start(home.socket(10, 0), "pod").await.expect("a free port"));
    }
    pods
}

/// What a pod's preStop hook waits for: that everybody knows that it goes.
const KNOWN: Duration = Duration::from_millis(500);

#[test]
fn no_request_is_lost_while_backends_are_replaced() {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let pem = serve(&[&home]);
    Runtime::new().expect("a runtime").block_on(async {
        let mut pods = start_pods(&home, 3).await;
        set_endpoints(&[&home], &pods);
        let router = home.start("router");
        let (_ready, doors) = watch::channel(vec![door(&home)]);
        let traffic = Traffic::start(&doors, &[&pem], &MIX);
        let mut replaced = 0;
        while traffic.begun() < requests() || replaced < 6 {
            pods.extend(start_pods(&home, 1).await);
            let old = pods.remove(0);
            set_endpoints(&[&home], &pods);
            sleep(KNOWN).await;
            old.terminate().await;
            replaced += 1;
        }
        let report = traffic.finish(0).await;
        eprintln!("{replaced} pods replaced");
        nothing_lost(&report, vec![router]);
    });
}

/// All but uploads beyond 64 KiB: nobody keeps them to send them again, and of some thousands one meets a connection that
/// is closed in that moment.
#[test]
fn no_request_is_lost_while_backends_close_before_anybody_is_told() {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let pem = serve(&[&home]);
    Runtime::new().expect("a runtime").block_on(async {
        let mut pods = start_pods(&home, 3).await;
        set_endpoints(&[&home], &pods);
        let router = home.start("router");
        let (_ready, doors) = watch::channel(vec![door(&home)]);
        let mix: Vec<Kind> = MIX.into_iter().filter(|kind| *kind != Kind::LargePost).collect();
        let traffic = Traffic::start(&doors, &[&pem], &mix);
        let mut replaced = 0;
        while traffic.begun() < requests() || replaced < 6 {
            pods.extend(start_pods(&home, 1).await);
            set_endpoints(&[&home], &pods);
            sleep(KNOWN).await;
            let old = pods.remove(0);
            tokio::join!(old.terminate(), async {
                sleep(KNOWN).await;
                set_endpoints(&[&home], &pods);
            });
            replaced += 1;
        }
        let report = traffic.finish(0).await;
        eprintln!("{replaced} pods replaced");
        nothing_lost(&report, vec![router]);
    });
}

#[test]
fn no_request_is_lost_while_two_routers_are_restarted_in_turn() {
    let homes = Arc::new([Home::new(), Home::new()]);
    for home in &*homes {
        home.configure("defaultCertificate: default/home-tls");
        home.write("doorward.yaml", &home.read("doorward.yaml").replace("delay: 0", "delay: 2"));
    }
    let pem = serve(&[&homes[0], &homes[1]]);
    Runtime::new().expect("a runtime").block_on(async {
        let pods = start_pods(&homes[0], 3).await;
        set_endpoints(&[&homes[0], &homes[1]], &pods);
        let mut routers = homes.each_ref().map(|home| Some(home.start("router")));
        let (ready, mut doors) = watch::channel(homes.each_ref().map(door).to_vec());
        let watching = tokio::spawn(follow_readiness(Arc::clone(&homes), ready));
        let traffic = Traffic::start(&doors, &[&pem], &MIX);
        let mut restarted = 0;
        while traffic.begun() < requests() || restarted < 4 {
            let (turn, homes) = (restarted % 2, Arc::clone(&homes));
            let mut router = routers[turn].take().expect("it runs");
            router = spawn_blocking(move || {
                router.terminate();
                assert!(router.wait().success(), "{}", router.log());
                homes[turn].start("router")
            })
            .await
            .expect("restarted");
            routers[turn] = Some(router);
            doors.wait_for(|doors| doors.len() == 2).await.expect("it is watched");
            restarted += 1;
        }
        watching.abort();
        let report = traffic.finish(0).await;
        eprintln!("{restarted} restarts");
        nothing_lost(&report, routers.into_iter().flatten().collect());
    });
}

/// What a load balancer knows: which routers say that they are ready, asked every 50 ms.
async fn follow_readiness(homes: Arc<[Home; 2]>, ready: watch::Sender<Vec<Door>>) {
    loop {
        let mut doors = Vec::new();
        for home in &*homes {
            if is_ready(home.admin_address("router")).await {
                doors.push(door(home));
            }
        }
        ready.send_if_modified(|known| std::mem::replace(known, doors.clone()) != doors);
        sleep(Duration::from_millis(50)).await;
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let answer = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    answer.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// As fast as the API server of a cluster that is being rebuilt.
const CHANGES_A_SECOND: u32 = 50;

#[test]
fn no_request_is_lost_while_the_configuration_changes_fifty_times_a_second() {
    let home = Home::new();
    home.configure("defaultCertificate: default/home-tls");
    let pem = serve(&[&home]);
    let other = certificate(&["home.example", "*.home.example"]);
    Runtime::new().expect("a runtime").block_on(async {
        let pods = start_pods(&home, 4).await;
        set_endpoints(&[&home], &pods);
        let first = home.read("manifests/certificate.yaml");
        let router = home.start("router");
        let (_ready, doors) = watch::channel(vec![door(&home)]);
        let traffic = Traffic::start(&doors, &[&pem, &other.0], &MIX);
        let mut changes = 0;
        let mut tick = tokio::time::interval(Duration::from_secs(1) / CHANGES_A_SECOND);
        while traffic.begun() < requests() || changes < 250 {
            tick.tick().await;
            let n = changes / 5;
            match changes % 5 {
                // The routes that are used stay what they are, in another order and among others.
                0 => {
                    home.apply("other.yaml", &ingress(&format!("other-{n}"), &format!("other-{n}.home.example"), "web"))
                }
                1 => set_endpoints(&[&home], &pods[n % 4..(n % 4 + 2).min(4)]),
                2 if n % 2 == 0 => home.apply("certificate.yaml", &tls_secret("default", "home-tls", &other)),
                2 => home.apply("certificate.yaml", &first),
                3 => home.apply("unrelated.yaml", &service_with(&format!("unrelated-{n}"), "", &[])),
                // A route of the host that is used comes and goes.
                _ => home.apply("routes.yaml", &routes(n % 2 == 0)),
            }
            changes += 1;
        }
        let report = traffic.finish(0).await;
        eprintln!("{changes} changes, {} times other routes", router.log().matches("routes changed").count());
        nothing_lost(&report, vec![router]);
    });
}
