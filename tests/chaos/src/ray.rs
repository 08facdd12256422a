//! Real Ray clusters, several on one machine.
//!
//! Each has its own ports and its own folder for temporary files, and stays in
//! the foreground (`--block`). It is stopped through its family: `ray stop`
//! kills by name and would take the neighbour with it. Ray's workers lead
//! process groups of their own, so killing the head's group alone would leave
//! a Serve proxy that goes on answering for a while.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use discovery_client::Address;
use harness::{ports, process::Process, wait};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{http, venv::Venv};

/// Bytes of shared memory of a cluster; 75 MiB is the least Ray accepts.
const OBJECT_STORE: u32 = 80 << 20;
/// The head answers after 3 s on two idle cores.
const HEAD: Duration = Duration::from_secs(90);
/// Serve's controller, proxy and replica, one Python process each.
const DEPLOY: Duration = Duration::from_secs(120);

/// Where a cluster keeps its state.
#[derive(Debug, Clone)]
pub struct Backing {
    /// A store, or a Redis.
    pub address: SocketAddr,
    /// The authority of its certificate, and the password: then the head speaks
    /// TLS and names itself after its site.
    pub secured: Option<(PathBuf, String)>,
}

impl From<SocketAddr> for Backing {
    fn from(address: SocketAddr) -> Self {
        let secured = None;
        Self { address, secured }
    }
}

impl Backing {
    fn tell(&self, command: &mut Command) {
        let address = self.address;
        match &self.secured {
            None => command.env("RAY_REDIS_ADDRESS", address.to_string()),
            Some((authority, _)) => command
                .env("RAY_REDIS_ADDRESS", format!("rediss://{address}"))
                .env("RAY_REDIS_CA_CERT", authority),
        };
    }
}

/// A running Ray cluster with the application of `python/ray_site.py`.
#[derive(Debug)]
pub struct Cluster {
    site: String,
    head: Process,
    gcs: u16,
    http: u16,
    /// Ray's sockets are in there, and their paths must be short.
    _temporary: TempDir,
}

impl Cluster {
    /// Starts the head of a cluster for `site`; logs go to `folder`.
    ///
    /// # Errors
    /// If Ray cannot be started or does not answer in time.
    pub async fn start(venv: &Venv, site: &str, folder: &Path) -> Result<Self> {
        Self::start_on(venv, site, folder, None).await
    }

    /// As [`Cluster::start`], with its state in a store, in the namespace named
    /// after `site`.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_on(
        venv: &Venv,
        site: &str,
        folder: &Path,
        store: Option<&Backing>,
    ) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("ray-").tempdir()?;
        let names = [
            "port",
            "node-manager-port",
            "object-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "metrics-export-port",
            "runtime-env-agent-port",
            "ray-client-server-port",
            "dashboard-port",
        ];
        let [http, numbers @ ..] = ports::free::<10>()?;
        let mut command = environment(venv.program("ray"), site);
        if let Some(store) = store {
            command.env("RAY_external_storage_namespace", site);
            store.tell(&mut command);
        }
        command.args([
            "start",
            "--head",
            "--block",
            "--disable-usage-stats",
            "--include-dashboard=false",
        ]);
        command.args(["--node-ip-address=127.0.0.1", "--num-cpus=1"]);
        // Workers bind what the kernel gives them; Ray's own range would be
        // the same for both clusters.
        command.args(["--min-worker-port=0", "--max-worker-port=0"]);
        if let Some((_, password)) = store.and_then(|store| store.secured.as_ref()) {
            command.arg(format!("--redis-username={site}"));
            command.arg(format!("--redis-password={password}"));
        }
        command.arg(format!("--object-store-memory={OBJECT_STORE}"));
        command.arg(format!("--temp-dir={}", temporary.path().display()));
        command.args(
            names
                .iter()
                .zip(numbers)
                .map(|(name, number)| format!("--{name}={number}")),
        );
        let head = Process::start(&format!("ray-{site}"), command, folder)?;
        let gcs = numbers[0];
        let mut cluster = Self {
            site: site.to_owned(),
            head,
            gcs,
            http,
            _temporary: temporary,
        };
        wait::until(&format!("the Ray head of {site}"), HEAD, async || {
            cluster.head.check_alive()?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, gcs))
                .await
                .context("its GCS does not listen")
        })
        .await?;
        Ok(cluster)
    }

    /// Deploys the application and waits until Serve's proxy answers for it.
    ///
    /// # Errors
    /// If it does not within two minutes.
    pub async fn deploy(&mut self, venv: &Venv, folder: &Path) -> Result<()> {
        let mut command = environment(venv.script("ray_site.py"), &self.site);
        command.args([format!("127.0.0.1:{}", self.gcs), self.http.to_string()]);
        let mut driver = Process::start(&format!("deploy-{}", self.site), command, folder)?;
        let status = driver.end(DEPLOY).await?;
        ensure!(
            status.success(),
            "Serve refused the application: {}",
            driver.log()
        );
        self.answers(DEPLOY).await
    }

    /// Waits until Serve's proxy answers for the application.
    ///
    /// # Errors
    /// If it does not within `within`.
    pub async fn answers(&mut self, within: Duration) -> Result<()> {
        let url = format!("{}/demo/where", self.address()?);
        wait::until(
            &format!("Serve's proxy of {}", self.site),
            within,
            async || {
                self.head.check_alive()?;
                http::get(&url).await
            },
        )
        .await?;
        Ok(())
    }

    /// Runs `python/ray_task.py`: a new driver, a task and an actor.
    ///
    /// # Errors
    /// If it does not end well within `within`.
    pub async fn works(&self, venv: &Venv, folder: &Path, within: Duration) -> Result<()> {
        let mut driver = self.driver(venv, folder)?;
        let status = driver.end(within).await?;
        ensure!(status.success(), "a driver failed: {}", driver.log());
        Ok(())
    }

    /// Starts `python/ray_task.py`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn driver(&self, venv: &Venv, folder: &Path) -> Result<Process> {
        let mut command = environment(venv.script("ray_task.py"), &self.site);
        command.arg(format!("127.0.0.1:{}", self.gcs));
        Process::start(&format!("task-{}", self.site), command, folder)
    }

    /// The process that holds the cluster's state, if it lives.
    #[must_use]
    pub fn gcs_server(&self) -> Option<Pid> {
        let members = self.head.members();
        let found = members.iter().find(|one| {
            let program = one.title.split(' ').next().unwrap_or_default();
            program.ends_with("/gcs_server")
        });
        found.map(|one| one.pid)
    }

    /// Starts a second `gcs_server` as the cluster's own was started, with its
    /// state in the same namespace, reached through the store at `store`.
    ///
    /// # Errors
    /// If the cluster has none, or it cannot be started.
    pub fn second_gcs_server(&self, store: SocketAddr, folder: &Path) -> Result<Process> {
        let pid = self.gcs_server().context("no gcs_server")?;
        let read = |what| fs::read(format!("/proc/{}/{what}", pid.as_raw_nonzero()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let words = read("cmdline")?;
        let mut words = words.split(|byte| *byte == 0).map(text);
        let mut command = Command::new(words.next().context("no command line")?);
        let [port] = ports::free()?;
        for word in words.filter(|word| !word.is_empty()) {
            let name = word.split('=').next().unwrap_or_default();
            let value = match name {
                "--gcs_server_port" => port.to_string(),
                "--redis_port" => store.port().to_string(),
                "--log_dir" | "--stdout_filepath" | "--stderr_filepath" => {
                    folder.join(name.trim_matches('-')).display().to_string()
                }
                _ => {
                    command.arg(word);
                    continue;
                }
            };
            command.arg(format!("{name}={value}"));
        }
        fs::create_dir_all(folder.join("log_dir"))?;
        command.env_clear();
        for entry in read("environ")?.split(|byte| *byte == 0).map(text) {
            if let Some((name, value)) = entry.split_once('=') {
                command.env(name, value);
            }
        }
        Process::start("second-gcs", command, folder)
    }

    /// The page of the application that says where it runs.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/demo/where", self.http)
    }

    /// Where Serve's proxy listens.
    ///
    /// # Errors
    /// Never: a loopback address with a port is an address.
    pub fn address(&self) -> Result<Address> {
        Ok(Address::new(format!("http://127.0.0.1:{}", self.http))?)
    }

    /// SIGKILL to Serve's proxy alone. Serve notices after some seconds and
    /// starts another.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_proxy(&self) -> Result<()> {
        let members = self.head.members();
        let proxy = members
            .iter()
            .find(|one| one.title.starts_with("ray::ProxyActor"));
        let proxy = proxy.with_context(|| format!("no Serve proxy among {members:?}"))?;
        kill_process(proxy.pid, Signal::KILL).context("cannot kill the Serve proxy")
    }

    /// SIGKILL to every process of the cluster. Returns how many those were.
    pub fn kill(&mut self) -> usize {
        self.head.kill()
    }
}

fn environment(mut command: Command, site: &str) -> Command {
    command.env("CHAOS_SITE", site);
    command.env("RAY_USAGE_STATS_ENABLED", "0");
    command.env_remove("RAY_ADDRESS");
    // A dead proxy is noticed within seconds instead of half a minute.
    command.env("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1");
    command
}
