//! One site as an operator runs it: `tradewind serve -c site.yaml`.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use discovery_client::Address;
use harness::{ports, process::Process, wait};
use serde_json::{Value, json};

use crate::{binary::tradewind, http};

/// A site is ready within this: a debug build on two busy cores.
const READY: Duration = Duration::from_secs(30);

/// A site's configuration, and its process once started.
#[derive(Debug)]
pub struct Site {
    name: String,
    ports: [u16; 3],
    peers: Vec<Value>,
    replicas: Vec<Value>,
    applications: Vec<Value>,
    process: Option<Process>,
}

impl Site {
    /// A site with ports of its own, so that others can name it as their peer
    /// before it runs.
    ///
    /// # Errors
    /// If there are no free ports.
    pub fn new(name: &str) -> Result<Self> {
        let (peers, replicas, applications) = Default::default();
        Ok(Self {
            name: name.to_owned(),
            ports: ports::free()?,
            peers,
            replicas,
            applications,
            process: None,
        })
    }

    /// Adds a replica that does not register itself.
    #[must_use]
    pub fn replica(mut self, id: &str, address: &Address, applications: &[&str]) -> Self {
        self.replicas
            .push(json!({ "id": id, "address": address, "applications": applications }));
        self
    }

    /// Adds an entry of `gateway.applications`.
    #[must_use]
    pub fn application(mut self, entry: Value) -> Self {
        self.applications.push(entry);
        self
    }

    /// Subscribes this site to another one.
    #[must_use]
    pub fn peer(mut self, other: &Self) -> Self {
        self.peers
            .push(json!({ "site": other.name, "registry": [local(other.ports[2])] }));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// Never: a loopback address with a port is an address.
    pub fn gateway(&self) -> Result<Address> {
        Ok(Address::new(local(self.ports[0]))?)
    }

    /// Where health and metrics are read, as `http://host:port`.
    #[must_use]
    pub fn admin(&self) -> String {
        format!("http://{}", local(self.ports[1]))
    }

    /// Writes `<folder>/<name>.yaml`, starts the site and waits until it is
    /// ready.
    ///
    /// # Errors
    /// If it ends or is not ready within half a minute.
    pub async fn start(&mut self, folder: &Path) -> Result<()> {
        let [gateway, admin, registry] = self.ports.map(local);
        let config = json!({
            "site": self.name,
            "gateway": { "listen": gateway, "applications": self.applications },
            "registry": { "listen": registry },
            "admin": { "listen": admin },
            "federation": { "peers": self.peers },
            "replicas": self.replicas,
            "log": { "format": "json" },
        });
        // Every JSON document is a YAML one.
        let file = folder.join(format!("{}.yaml", self.name));
        fs::write(&file, config.to_string()).context("cannot write the configuration")?;
        let mut command = tradewind()?;
        command.arg("serve").arg("-c").arg(&file);
        let mut process = Process::start(&format!("site-{}", self.name), command, folder)?;
        let ready = format!("{}/readyz", self.admin());
        wait::until(&format!("site {}", self.name), READY, async || {
            process.check_alive()?;
            http::get(&ready).await
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL to the site's process.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// What the site has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
