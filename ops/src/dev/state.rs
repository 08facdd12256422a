//! The demonstration as a document: `dev.json` in the state folder and
//! `GET /v1/state` of the control API hold the same.

use std::path::PathBuf;

use discovery_client::{Address, Site};
use serde::{Deserialize, Serialize};

use super::fault::Mode;

/// The file's name in the state folder.
pub const FILE: &str = "dev.json";

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Of this document; grows when something in it changes its meaning.
    pub version: u32,
    /// Whether everything was up once.
    pub ready: bool,
    /// The program all processes run.
    pub program: PathBuf,
    /// The supervisor's process.
    pub pid: u32,
    /// The address that survives the loss of any site.
    pub front: Address,
    /// The supervisor's own API.
    pub control: Address,
    /// Where files and logs are.
    pub state_dir: PathBuf,
    /// What can be asked for.
    pub models: Vec<String>,
    /// `front` first, then the sites with replicas.
    pub sites: Vec<SiteState>,
    /// The site that is away on purpose.
    pub fault: Option<FaultState>,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteState {
    /// Its name.
    pub name: Site,
    /// It has no replicas of its own.
    pub edge: bool,
    /// Where clients connect.
    pub gateway: Address,
    /// Health, metrics, status.
    pub admin: Address,
    /// Its registry.
    pub registry: Address,
    /// Its processes: the gateway first, then the replicas.
    pub processes: Vec<ProcessState>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessState {
    /// `gateway`, `r1`, …
    pub name: String,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// How it is.
    pub status: Status,
    /// Where it listens.
    pub address: Address,
    /// How often it was started again.
    pub restarts: u32,
    /// What it prints.
    pub log: PathBuf,
    /// A JSON line a request: the gateway's access log, a replica's journal.
    pub journal: PathBuf,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It runs.
    Running,
    /// A fault has stopped it with SIGSTOP.
    Stopped,
    /// A fault keeps it down.
    Held,
    /// It ended; it will be started again unless restarts are off.
    Dead,
}

/// The fault that is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultState {
    /// Names it in `/v1/faults/{id}`.
    pub id: u64,
    /// Which site is away.
    pub site: Site,
    /// How.
    pub mode: Mode,
    /// How long it lasts without a renewal.
    pub left_ms: u64,
}
