//! Which zones a client sees. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s::{config::Config, model::NameClaim};

use crate::zone::Zones;

/// The zones of every view; immutable, swapped whole.
#[derive(Debug)]
pub struct Views {
    /// The longest networks first.
    sources: Vec<(IpNet, usize)>,
    /// The default view first.
    views: Vec<View>,
    /// What all of them are made from.
    claims: Vec<NameClaim>,
}

/// What the clients of some networks are answered.
#[derive(Debug)]
pub struct View {
    /// Empty for those that no view names.
    pub name: String,
    pub zones: Zones,
}

impl Views {
    pub fn build(claims: Vec<NameClaim>, config: &Config, serial: u32) -> Self {
        let mut sources: Vec<(IpNet, usize)> = Vec::new();
        let mut views = vec![View { name: String::new(), zones: Zones::build(&claims, config, None, serial) }];
        for view in &config.dns.views {
            sources.extend(view.sources.iter().map(|source| (*source, views.len())));
            views.push(View { name: view.name.to_string(), zones: Zones::build(&claims, config, Some(view), serial) });
        }
        sources.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self { sources, views, claims }
    }

    /// Its place among [`all`](Self::all), and the view.
    pub fn of(&self, client: IpAddr) -> (usize, &View) {
        let place = match self.network(client) {
            Some((_, place)) => *place,
            None => 0,
        };
        (place, &self.views[place])
    }

    /// How many bits of the client's address decide (RFC 7871 section 7.2.1): clients that share them are all
    /// answered alike. 0 without views.
    pub fn scope(&self, client: IpAddr) -> u8 {
        let bits = |network: &IpNet| match (network.network(), client) {
            _ if network.contains(&client) => network.prefix_len(),
            // The first bit in which they differ decides against this one.
            (IpAddr::V4(a), IpAddr::V4(b)) => 1 + (a.to_bits() ^ b.to_bits()).leading_zeros() as u8,
            (IpAddr::V6(a), IpAddr::V6(b)) => 1 + (a.to_bits() ^ b.to_bits()).leading_zeros() as u8,
            _ => 0,
        };
        self.sources.iter().map(|(network, _)| bits(network)).max().unwrap_or(0)
    }

    fn network(&self, client: IpAddr) -> Option<&(IpNet, usize)> {
        self.sources.iter().find(|(network, _)| network.contains(&client))
    }

    /// The default view first.
    pub fn all(&self) -> &[View] {
        &self.views
    }

    pub fn claims(&self) -> &[NameClaim] {
        &self.claims
    }

    /// What clients see that no view names.
    pub fn default_zones(&self) -> &Zones {
        &self.views[0].zones
    }

    pub fn serial(&self) -> u32 {
        self.default_zones().serial()
    }
}
