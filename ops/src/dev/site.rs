//! A site's processes as the supervisor holds them.

use tokio::time::Instant;

use super::{
    child::Recipe,
    fault::Known,
    state::{ProcessState, SiteState, Status},
};

/// One process and how it is.
pub struct Process {
    /// How to start it.
    pub recipe: Recipe,
    /// Its number, until its end was noted.
    pub pid: Option<u32>,
    /// How it is.
    pub status: Status,
    /// How often it was started again.
    pub restarts: u32,
    /// When it is to be started again.
    pub restart_at: Option<Instant>,
}

impl Process {
    /// One that does not run yet.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            pid: None,
            status: Status::Dead,
            restarts: 0,
            restart_at: None,
        }
    }

    /// As documented.
    pub fn state(&self) -> ProcessState {
        ProcessState {
            name: self.recipe.name.clone(),
            pid: self.pid,
            status: self.status,
            address: self.recipe.address.clone(),
            restarts: self.restarts,
            log: self.recipe.log.clone(),
            journal: self.recipe.journal.clone(),
        }
    }
}

/// One site's processes, and what is known of it without them.
pub struct SiteProcesses {
    /// The site as documented, without processes.
    pub about: SiteState,
    /// The gateway first.
    pub processes: Vec<Process>,
}

impl SiteProcesses {
    /// As the desk of faults sees it.
    pub fn known(&self) -> Known {
        let runs = |it: &Process| it.status == Status::Running && it.pid.is_some();
        let mut replicas = self.processes.iter().skip(1);
        Known {
            site: self.about.name.clone(),
            live: self.processes.first().is_some_and(runs) && replicas.any(runs),
        }
    }
}
