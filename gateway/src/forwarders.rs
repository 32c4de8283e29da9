//! What to write into the resolvers that forward to us. Pure.

use k8s::config::Config;

/// One piece of configuration for each resolver: its name, where it belongs, and the lines.
pub(crate) fn snippets(config: &Config) -> Vec<(&'static str, &'static str, String)> {
    let targets: Vec<String> = match config.dns.addresses.as_slice() {
        [] => vec!["<address of this gateway>".to_owned()],
        addresses => addresses.iter().map(ToString::to_string).collect(),
    };
    let zones: Vec<String> = config.zones.iter().map(|zone| zone.name.to_string()).collect();
    let each = |line: &dyn Fn(&str, &str) -> String| -> String {
        let lines: Vec<String> =
            zones.iter().flat_map(|zone| targets.iter().map(move |target| line(zone, target))).collect();
        lines.join("\n")
    };
    let pi_hole = each(&|zone, target| format!("server=/{zone}/{target}"));
    let ad_guard = zones.iter().map(|zone| format!("[/{zone}/]{}", targets.join(" "))).collect::<Vec<_>>().join("\n");
    // OpenWrt takes private addresses out of answers, unless the domain is excepted.
    let open_wrt = format!(
        "{}\n{}",
        each(&|zone, target| format!("uci add_list dhcp.@dnsmasq[0].server='/{zone}/{target}'")),
        zones
            .iter()
            .map(|zone| format!("uci add_list dhcp.@dnsmasq[0].rebind_domain='/{zone}/'"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    vec![
        ("Pi-hole", "Settings, All settings, misc.dnsmasq_lines, or the variable FTLCONF_misc_dnsmasq_lines", pi_hole),
        (
            "a Pi-hole that checks DNSSEC",
            "beside them, where the domain is signed on the Internet; dnsmasq from 2.91 on",
            zones.iter().map(|zone| format!("trust-anchor={zone}")).collect::<Vec<_>>().join("\n"),
        ),
        ("AdGuard Home", "Settings, DNS settings, Upstream DNS servers", ad_guard),
        (
            "UniFi",
            "Settings, Policy Engine, DNS, Forward Domain: one for each line",
            each(&|zone, target| format!("domain {zone}, DNS server {target}")),
        ),
        ("OpenWrt", "in a shell; then `uci commit dhcp` and `service dnsmasq restart`", open_wrt),
    ]
}
