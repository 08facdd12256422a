//! The demonstration as a user starts it: `tradewind dev`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use discovery_client::Address;
use harness::{
    family::Member,
    process::Process,
    wait::{self, Hopeless},
};
use http::{Request, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;

use crate::binary::tradewind;

/// Two sites and their replicas are ready within this: debug builds on two
/// busy cores.
const READY: Duration = Duration::from_secs(60);

/// A running `tradewind dev` on free ports.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    file: PathBuf,
}

/// What `dev.json` says, as far as tests need it.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// Whether everything was up once.
    pub ready: bool,
    /// The address that survives the loss of any site.
    pub front: Address,
    /// The supervisor's own API.
    pub control: Address,
    /// What can be asked for.
    pub models: Vec<String>,
    /// The front, then the sites with replicas.
    pub sites: Vec<SiteState>,
    /// The fault that is on.
    pub fault: Option<FaultState>,
}

/// A fault in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct FaultState {
    /// Which site is away.
    pub site: String,
}

/// One site in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct SiteState {
    /// Its name.
    pub name: String,
    /// Where clients connect.
    pub gateway: Address,
    /// Its processes.
    pub processes: Vec<ProcessState>,
}

/// One process in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessState {
    /// `gateway`, `r1`, …
    pub name: String,
    /// Its id, if it runs.
    pub pid: Option<i32>,
    /// `running`, or what it is instead.
    pub status: String,
    /// How often it was started again.
    pub restarts: u32,
}

impl State {
    /// A site by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn site(&self, name: &str) -> Result<&SiteState> {
        self.sites
            .iter()
            .find(|site| site.name == name)
            .with_context(|| format!("no site {name} in {self:?}"))
    }
}

impl SiteState {
    /// A process by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn process(&self, name: &str) -> Result<&ProcessState> {
        self.processes
            .iter()
            .find(|one| one.name == name)
            .with_context(|| format!("no process {name} in {self:?}"))
    }
}

impl Dev {
    /// Starts it in `folder`, on ports of the kernel's choice, and waits until
    /// it says that it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready within a minute.
    pub async fn start(folder: &Path) -> Result<Self> {
        let state = folder.join("dev");
        let mut command = tradewind()?;
        command
            .args(["dev", "--base-port", "0", "--state-dir"])
            .arg(&state)
            .current_dir(folder);
        let process = Process::start("dev", command, folder)?;
        let mut dev = Self {
            process,
            file: state.join("dev.json"),
        };
        wait::until("tradewind dev", READY, async || {
            dev.process.check_alive()?;
            let state = dev.state()?;
            ensure!(state.ready, "not all of it is up: {:?}", state.sites);
            Ok(())
        })
        .await?;
        Ok(dev)
    }

    /// What it says of itself now.
    ///
    /// # Errors
    /// If `dev.json` is not there or cannot be read.
    pub fn state(&self) -> Result<State> {
        let text = fs::read(&self.file).with_context(|| format!("no {}", self.file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what it should be", self.file.display()))
    }

    /// What it has printed.
    #[must_use]
    pub fn printed(&self) -> String {
        self.process.log()
    }

    /// SIGKILL to one process of a site.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self, site: &str, process: &str) -> Result<()> {
        let state = self.state()?;
        let pid = state
            .site(site)?
            .process(process)?
            .pid
            .and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{process} of {site} does not run"))?;
        ensure!(
            self.process
                .members()
                .iter()
                .any(|member| member.pid == pid),
            Hopeless(format!(
                "dev.json names process {pid:?}, which dev did not start"
            ))
        );
        kill_process(pid, Signal::KILL).context("cannot kill it")
    }

    /// Takes a whole site away: `mode` is `kill` or `stop`. It comes back by
    /// itself.
    ///
    /// # Errors
    /// If the supervisor refuses.
    pub async fn take_away(&self, site: &str, mode: &str, away: Duration) -> Result<()> {
        let url = format!("{}/v1/faults", self.state()?.control);
        let lease_ms = u64::try_from(away.as_millis())?;
        let wanted = json!({ "site": site, "mode": mode, "lease_ms": lease_ms }).to_string();
        let request = Request::post(url).header("content-type", "application/json");
        let answer = crate::http::send(request.body(wanted.into())?).await?;
        let said = String::from_utf8_lossy(answer.body());
        ensure!(
            answer.status() == StatusCode::CREATED,
            "{} {said}",
            answer.status()
        );
        Ok(())
    }

    /// Everything it started that is alive, itself included.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.process.members()
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// If it has not ended within `within`.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.terminate(within).await
    }
}
