//! Which processes run where. Pure.
//!
//! ```text
//!   base + 0 front gateway   + 1 its admin   + 2 control   + 3 its registry
//!   base + 20 x (1 + n)      gateway of the n-th site
//!                       + 1  its admin
//!                       + 2  its registry
//!                       + 3… its replicas
//! ```

use discovery_client::{Address, Site};

/// The names of sites, in order.
const NAMES: [&str; 8] = [
    "east", "west", "north", "south", "coast", "delta", "fjord", "island",
];
/// The edge site, which has no replicas of its own.
pub const FRONT: &str = "front";
/// Most sites of one demonstration.
pub const MAX_SITES: u8 = 8;
/// Most replicas of one site.
pub const MAX_REPLICAS: u8 = 16;
/// What every demo replica offers.
pub const MODELS: [&str; 2] = ["demo-chat", "demo-embed"];

const STEP: u16 = 20;

/// What a port is for, for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The port.
    pub port: u16,
    /// Who will listen there.
    pub by: String,
}

/// One site: `front`, or one with replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePlan {
    /// Its name.
    pub name: Site,
    /// Where clients connect.
    pub gateway: u16,
    /// Health, metrics, status.
    pub admin: u16,
    /// Its registry.
    pub registry: u16,
    /// Where its replicas `r1`, `r2`, … listen.
    pub replicas: Vec<u16>,
}

/// The whole demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The supervisor's own API.
    pub control: u16,
    /// `front`, then the sites.
    pub sites: Vec<SitePlan>,
}

/// `http://127.0.0.1:port`.
pub fn local(port: u16) -> Address {
    Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
}

fn site(name: &str) -> Site {
    Site::new(name).expect("the built-in names are names")
}

/// The URL of a SQLite file.
fn sqlite(path: &str) -> String {
    let mut url = "sqlite://".to_owned();
    for c in path.chars() {
        match c {
            '%' | '?' | '#' => url.push_str(&format!("%{:02X}", u32::from(c))),
            _ => url.push(c),
        }
    }
    url
}

/// How many ports a demonstration of this size takes.
pub fn ports_needed(sites: u8, replicas: u8) -> usize {
    4 + usize::from(sites) * (3 + usize::from(replicas))
}

impl Plan {
    /// On consecutive ports from `base`, or an error if they do not exist.
    pub fn at(base: u16, sites: u8, replicas: u8) -> Option<Self> {
        let mut ports = Vec::with_capacity(ports_needed(sites, replicas));
        ports.extend((0..4).map(|nth| base.checked_add(nth)));
        for nth in 1..=u16::from(sites) {
            let first = STEP
                .checked_mul(nth)
                .and_then(|step| base.checked_add(step));
            ports.extend((0..3 + u16::from(replicas)).map(|nth| first?.checked_add(nth)));
        }
        Some(Self::on(
            &ports.into_iter().collect::<Option<Vec<u16>>>()?,
            sites,
            replicas,
        ))
    }

    /// On these ports, [`ports_needed`] of them.
    pub fn on(ports: &[u16], sites: u8, replicas: u8) -> Self {
        let mut ports = ports.iter().copied();
        let mut next = || ports.next().unwrap_or(0);
        let (gateway, admin, control, registry) = (next(), next(), next(), next());
        let mut all = vec![SitePlan {
            name: site(FRONT),
            gateway,
            admin,
            registry,
            replicas: Vec::new(),
        }];
        all.extend(NAMES.iter().take(usize::from(sites)).map(|name| SitePlan {
            name: site(name),
            gateway: next(),
            admin: next(),
            registry: next(),
            replicas: (0..replicas).map(|_| next()).collect(),
        }));
        Self {
            control,
            sites: all,
        }
    }

    /// Every port and what it is for.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = vec![Use {
            port: self.control,
            by: "the control API".to_owned(),
        }];
        for SitePlan {
            name,
            gateway,
            admin,
            registry,
            replicas,
        } in &self.sites
        {
            for (port, what) in [
                (gateway, "gateway"),
                (admin, "admin"),
                (registry, "registry"),
            ] {
                uses.push(Use {
                    port: *port,
                    by: format!("{what} of {name}"),
                });
            }
            for (nth, port) in (1..).zip(replicas) {
                uses.push(Use {
                    port: *port,
                    by: format!("replica r{nth} of {name}"),
                });
            }
        }
        uses
    }

    /// The configuration file of one site's gateway and registry, which keeps
    /// its records in the SQLite file `database`.
    pub fn config(&self, site: &SitePlan, access_log: &str, database: &str) -> String {
        let SitePlan {
            name,
            gateway,
            admin,
            registry,
            ..
        } = site;
        let mut text = format!(
            "\
# Written by `tradewind dev`; overwritten at its next start.
site: {name}
id: gateway
roles: [gateway, registry]
gateway:
  listen: 127.0.0.1:{gateway}
  drain_grace: 3s
  access_log:
    file: {}
registry:
  listen: 127.0.0.1:{registry}
  durable: true
store:
  database: {}
admin:
  listen: 127.0.0.1:{admin}
drain:
  spread: 300ms
log:
  format: json
",
            serde_json::Value::from(access_log),
            serde_json::Value::from(sqlite(database)),
        );
        // The front is an edge: it knows the sites, and no site needs it.
        let peers: Vec<_> = self
            .sites
            .iter()
            .filter(|other| other.name != *name && !other.replicas.is_empty())
            .collect();
        if !peers.is_empty() {
            text.push_str("federation:\n  peers:\n");
            for SitePlan { name, registry, .. } in peers {
                text.push_str(&format!(
                    "    - site: {name}\n      registry: [\"{}\"]\n",
                    local(*registry)
                ));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_ports_are_used() {
        let plan = Plan::at(7700, 2, 2).unwrap();
        let ports: Vec<_> = plan.uses().into_iter().map(|it| (it.port, it.by)).collect();
        let text = ports
            .iter()
            .map(|(port, by)| format!("{port} {by}"))
            .collect::<Vec<_>>();
        assert_eq!(
            text,
            [
                "7702 the control API",
                "7700 gateway of front",
                "7701 admin of front",
                "7703 registry of front",
                "7720 gateway of east",
                "7721 admin of east",
                "7722 registry of east",
                "7723 replica r1 of east",
                "7724 replica r2 of east",
                "7740 gateway of west",
                "7741 admin of west",
                "7742 registry of west",
                "7743 replica r1 of west",
                "7744 replica r2 of west",
            ]
        );
    }

    #[test]
    fn no_port_is_used_twice_at_the_largest_size() {
        let plan = Plan::at(7700, MAX_SITES, MAX_REPLICAS).unwrap();
        let ports: std::collections::BTreeSet<_> =
            plan.uses().into_iter().map(|it| it.port).collect();
        assert_eq!(ports.len(), ports_needed(MAX_SITES, MAX_REPLICAS));
        assert_eq!(Plan::at(65_500, 2, 2), None);
    }

    #[test]
    fn each_site_follows_the_others_and_the_front_follows_all() {
        let plan = Plan::at(7700, 2, 1).unwrap();
        let config = |nth: usize| plan.config(&plan.sites[nth], "/tmp/a.jsonl", "/tmp/50%/a.db");
        assert!(
            config(0).contains(
                "site: east\n      registry: [\"http://127.0.0.1:7722\"]\n    - site: west"
            )
        );
        assert!(
            config(1).ends_with(
                "peers:\n    - site: west\n      registry: [\"http://127.0.0.1:7742\"]\n"
            )
        );
        assert!(!config(1).contains("- site: front"));
        assert!(config(1).contains("  database: \"sqlite:///tmp/50%25/a.db\"\n"));
    }
}
