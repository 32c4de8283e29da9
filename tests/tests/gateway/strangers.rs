//! Who is answered, and what all others get.

use tests::Home;

use crate::{apps, ask, eventually};

/// Answers `.7` alone.
fn home(more: &str) -> Home {
    let home = Home::new();
    home.configure_dns("home.example", &format!("clients: [{}], {more}", home.address(7)), "");
    home.apply("apps.yaml", &apps());
    home
}

#[test]
fn strangers_get_nothing() {
    let home = home("");
    let _gateway = home.start("gateway");
    let [known, stranger] = [7, 8].map(|last| home.address(last).to_string());
    for transport in ["+notcp", "+tcp"] {
        let answer = ask(&home, &["-b", &known, transport, "grafana.home.example"]);
        assert!(answer.starts_with("NOERROR aa"), "{transport}: {answer}");
        let answer = ask(&home, &["-b", &stranger, transport, "+time=1", "grafana.home.example"]);
        assert_eq!(answer, "no answer", "{transport}");
    }
    eventually("the count", || match home.admin("gateway", "/metrics") {
        metrics if metrics.contains("doorward_dns_dropped_total{reason=\"stranger\"} 2") => Ok(()),
        other => Err(other.lines().filter(|line| line.contains("dropped")).collect::<Vec<_>>().join("\n")),
    });
    let (said, _) = home.command("gateway", &["explain", "grafana.home.example", "--client", &stranger]);
    assert!(
        said.contains(&format!(
            "because: {stranger} is not in dns.clients: whoever asks from there gets no answer at all"
        )),
        "{said}"
    );
}

#[test]
fn strangers_are_refused_where_that_is_wanted_and_told_why() {
    let home = home("strangers: refuse");
    let _gateway = home.start("gateway");
    let stranger = home.address(8).to_string();
    for name in ["grafana.home.example", "example.org"] {
        let said = home.dig(&["-b", &stranger, name]);
        assert!(said.contains("status: REFUSED") && said.contains("EDE: 18"), "{said}");
    }
}
