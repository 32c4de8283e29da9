//! DNS over TLS, and certificates that are renewed.

use tests::{Home, certificate, eventually};

use crate::{apps, records};

const PORT: u16 = 8853;

#[test]
fn dns_over_tls_is_answered_with_the_certificate_that_is_there_now() {
    let home = Home::new();
    let write = |(certificate, key): &(String, String)| {
        home.write("tls.crt", certificate);
        home.write("tls.key", key);
    };
    let [certificate_file, key] = ["tls.crt", "tls.key"].map(|name| home.path(name).display().to_string());
    let [first, second] = [(); 2].map(|()| certificate(&["dns.home.example"]));
    write(&first);
    home.configure_dns(
        "home.example",
        &format!("tls: {{listen: [\"{}\"], certificate: {certificate_file}, key: {key}}}", home.socket(22, PORT)),
        "",
    );
    home.apply("apps.yaml", &apps());
    let _gateway = home.start("gateway");
    let ask = |authority: &str| {
        let authority = format!("+tls-ca={authority}");
        let port = PORT.to_string();
        records(&home, &["+tls", &authority, "+tls-hostname=dns.home.example", "-p", &port, "grafana.home.example"])
    };
    let answer = [format!("grafana.home.example. 30 IN A {}", home.address(21))];
    assert_eq!(ask(&certificate_file), answer);
    home.write("second.crt", &second.0);
    let renewed = home.path("second.crt").display().to_string();
    assert!(ask(&renewed).is_empty(), "it is not there yet");
    write(&second);
    eventually("the certificate", || if ask(&renewed) == answer { Ok(()) } else { Err(()) });
}
