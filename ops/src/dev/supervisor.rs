//! Owns every process of the demonstration: starts it, notes its end, starts it
//! again, and carries out faults.
//!
//! ```text
//!                    ends              restart-after over, no fault
//!   Running ------------------> Dead -------------------------------> Running
//!      |  fault: kill -> Held --.                                        ^
//!      |  fault: stop -> Stopped +--- fault over: start / SIGCONT -------'
//! ```
//!
//! Runs on the main thread: the kernel kills a child when the thread that
//! started it ends.
//!
//! Invariants:
//! 1. A process that is waited for is the only one whose number gets signals.
//! 2. Nothing of a site under a fault is started before the fault is over.

use std::{process::ExitStatus, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    child::{ending, send},
    fault::{Desk, Fault, Known, Mode, Refused, Wanted},
    site::{Process, SiteProcesses},
    state::{FILE, FaultState, SiteState, State, Status},
    voice::Voice,
};

/// What the control API and the start-up ask of the supervisor.
pub enum Command {
    /// The whole document.
    State(oneshot::Sender<State>),
    /// Take a site away.
    Begin(Wanted, oneshot::Sender<Result<FaultState, Refused>>),
    /// Go on with a fault.
    Renew(u64, oneshot::Sender<Option<FaultState>>),
    /// Give the site back.
    End(u64, oneshot::Sender<Option<FaultState>>),
}

/// Which process ended, and how.
type Ended = (usize, usize, std::io::Result<ExitStatus>);

/// The owner of all processes.
pub struct Supervisor {
    /// What is the same all the time; `sites` is filled in when asked for.
    pub about: State,
    /// Every site, `front` first.
    pub sites: Vec<SiteProcesses>,
    /// Absent: never.
    pub restart_after: Option<Duration>,
    /// Where news is told.
    pub voice: Voice,
    waits: JoinSet<Ended>,
    desk: Desk,
}

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(
        about: State,
        sites: Vec<SiteProcesses>,
        restart_after: Option<Duration>,
        voice: Voice,
    ) -> Self {
        Self {
            about,
            sites,
            restart_after,
            voice,
            waits: JoinSet::new(),
            desk: Desk::default(),
        }
    }

    /// Starts every process.
    pub fn start(&mut self) -> anyhow::Result<()> {
        for site in 0..self.sites.len() {
            for process in 0..self.sites[site].processes.len() {
                self.launch(site, process)?;
            }
        }
        self.publish();
        Ok(())
    }

    /// Notes that everything was up once.
    pub fn ready(&mut self) -> State {
        self.about.ready = true;
        self.publish();
        self.state()
    }

    /// Waits for the next thing to do, and does it. Ends when all commanders
    /// are gone.
    ///
    /// # Errors
    /// The first process that ends before all are ready.
    pub async fn step(&mut self, commands: &mut mpsc::Receiver<Command>) -> anyhow::Result<()> {
        let restarts = self
            .processes()
            .filter(|(site, _)| !self.is_away(*site))
            .filter_map(|(_, it)| it.restart_at);
        let next = restarts.chain(self.desk.lapses_at()).min();
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(command) = commands.recv() => self.obey(command),
            Some(ended) = self.waits.join_next() => {
                if let Ok(ended) = ended {
                    self.note_end(ended)?;
                }
            }
            () = due => {
                let now = Instant::now();
                if let Some(fault) = self.desk.lapse(now) {
                    self.voice.note(fault.site.as_str(), "", "fault", "lapsed: nobody renewed it");
                    self.give_back(&fault);
                }
                self.restart_due(now);
            }
        }
        self.publish();
        Ok(())
    }

    /// SIGTERM to the replicas, then to the gateways; SIGKILL to what is left.
    pub async fn stop(&mut self) {
        let running = |it: &Process| it.pid.is_some();
        let pids: Vec<u32> = self.processes().filter_map(|(_, it)| it.pid).collect();
        for pid in pids {
            send(pid, Signal::CONT);
        }
        for (replicas, signal) in [
            (true, Signal::TERM),
            (false, Signal::TERM),
            (true, Signal::KILL),
            (false, Signal::KILL),
        ] {
            let chosen = |nth: usize| (nth > 0) == replicas;
            let mut left = 0;
            for site in &self.sites {
                for (_, it) in site
                    .processes
                    .iter()
                    .enumerate()
                    .filter(|(nth, it)| chosen(*nth) && running(it))
                {
                    left += 1;
                    send(it.pid.unwrap_or_default(), signal);
                }
            }
            let deadline = Instant::now() + GRACE;
            while left > 0 {
                let Ok(Some(Ok((site, process, _)))) =
                    timeout_at(deadline, self.waits.join_next()).await
                else {
                    break;
                };
                self.sites[site].processes[process].pid = None;
                left -= usize::from(chosen(process));
            }
        }
        if let Err(error) = std::fs::remove_file(self.about.state_dir.join(FILE)) {
            tracing::debug!(%error, "the state file was gone already");
        }
    }

    fn processes(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.sites
            .iter()
            .enumerate()
            .flat_map(|(nth, site)| site.processes.iter().map(move |it| (nth, it)))
    }

    fn is_away(&self, site: usize) -> bool {
        self.desk
            .fault()
            .is_some_and(|fault| fault.site == self.sites[site].about.name)
    }

    fn launch(&mut self, site: usize, process: usize) -> anyhow::Result<()> {
        let it = &mut self.sites[site].processes[process];
        let mut child = it.recipe.start(&self.about.program)?;
        it.pid = child.id();
        it.status = Status::Running;
        it.restart_at = None;
        self.waits
            .spawn(async move { (site, process, child.wait().await) });
        Ok(())
    }

    /// Starts a process again, now or after a pause if that fails.
    fn relaunch(&mut self, site: usize, process: usize) {
        let outcome = self.launch(site, process);
        let name = self.sites[site].about.name.clone();
        let it = &mut self.sites[site].processes[process];
        match outcome {
            Ok(()) => {
                it.restarts += 1;
                let pid = it.pid.unwrap_or_default();
                self.voice.note(
                    name.as_str(),
                    &it.recipe.name,
                    "restarted",
                    &format!("pid {pid}"),
                );
            }
            Err(error) => {
                it.restart_at = self.restart_after.map(|pause| Instant::now() + pause);
                self.voice.note(
                    name.as_str(),
                    &it.recipe.name,
                    "not started",
                    &format!("{error:#}"),
                );
            }
        }
    }

    fn note_end(&mut self, (site, process, status): Ended) -> anyhow::Result<()> {
        let away = self.is_away(site);
        let name = self.sites[site].about.name.clone();
        let it = &mut self.sites[site].processes[process];
        let ending = ending(status);
        let pid = it.pid.take().unwrap_or_default();
        anyhow::ensure!(
            self.about.ready,
            "{name}/{} {ending} before everything was ready; its last words are in {}",
            it.recipe.name,
            it.recipe.log.display()
        );
        self.voice.note(
            name.as_str(),
            &it.recipe.name,
            "died",
            &format!("pid {pid} {ending}"),
        );
        if it.status == Status::Held && !away {
            self.relaunch(site, process);
        } else if it.status != Status::Held {
            it.status = Status::Dead;
            it.restart_at = self.restart_after.map(|pause| Instant::now() + pause);
        }
        Ok(())
    }

    fn restart_due(&mut self, now: Instant) {
        for site in 0..self.sites.len() {
            if self.is_away(site) {
                continue;
            }
            for process in 0..self.sites[site].processes.len() {
                if self.sites[site].processes[process]
                    .restart_at
                    .is_some_and(|at| at <= now)
                {
                    self.relaunch(site, process);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        // A caller that no longer waits for its answer is no failure here.
        match command {
            Command::State(reply) => drop(reply.send(self.state())),
            Command::Begin(wanted, reply) => {
                let known: Vec<Known> = self
                    .sites
                    .iter()
                    .filter(|site| !site.about.edge)
                    .map(SiteProcesses::known)
                    .collect();
                let begun = self.desk.begin(&wanted, &known, now);
                if let Ok(fault) = &begun {
                    self.take_away(fault);
                }
                drop(reply.send(begun.map(|fault| document(&fault, now))));
            }
            Command::Renew(id, reply) => {
                drop(reply.send(self.desk.renew(id, now).map(|fault| document(&fault, now))));
            }
            Command::End(id, reply) => {
                let ended = self.desk.end(id);
                if let Some(fault) = &ended {
                    self.give_back(fault);
                }
                drop(reply.send(ended.map(|fault| document(&fault, now))));
            }
        }
    }

    fn take_away(&mut self, fault: &Fault) {
        let (signal, status, word) = match fault.mode {
            Mode::Kill => (Signal::KILL, Status::Held, "killed and held down"),
            Mode::Stop => (Signal::STOP, Status::Stopped, "stopped"),
        };
        for site in self
            .sites
            .iter_mut()
            .filter(|site| site.about.name == fault.site)
        {
            for process in &mut site.processes {
                if let Some(pid) = process.pid {
                    send(pid, signal);
                    process.status = status;
                } else if fault.mode == Mode::Kill {
                    process.status = Status::Held;
                    process.restart_at = None;
                }
            }
        }
        self.voice.note(fault.site.as_str(), "", "fault", word);
    }

    fn give_back(&mut self, fault: &Fault) {
        self.voice.note(fault.site.as_str(), "", "fault", "over");
        let Some(site) = self
            .sites
            .iter()
            .position(|site| site.about.name == fault.site)
        else {
            return;
        };
        for process in 0..self.sites[site].processes.len() {
            let it = &mut self.sites[site].processes[process];
            match (it.status, it.pid) {
                (Status::Stopped, Some(pid)) => {
                    send(pid, Signal::CONT);
                    it.status = Status::Running;
                }
                (Status::Held, None) => self.relaunch(site, process),
                // Killed and not yet gone: started when its end is noted.
                _ => {}
            }
        }
    }

    fn state(&self) -> State {
        let now = Instant::now();
        let sites = self.sites.iter().map(|site| SiteState {
            processes: site.processes.iter().map(Process::state).collect(),
            ..site.about.clone()
        });
        let fault = self.desk.fault().map(|fault| document(fault, now));
        State {
            sites: sites.collect(),
            fault,
            ..self.about.clone()
        }
    }

    /// Writes the document where others look for it, whole or not at all.
    fn publish(&self) {
        let (path, draft) = (
            self.about.state_dir.join(FILE),
            self.about.state_dir.join(".dev.json.new"),
        );
        let written = serde_json::to_vec_pretty(&self.state())
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&draft, text))
            .and_then(|()| std::fs::rename(&draft, &path));
        if let Err(error) = written {
            self.voice.note(
                "",
                "",
                "problem",
                &format!("cannot write {}: {error}", path.display()),
            );
        }
    }
}

fn document(fault: &Fault, now: Instant) -> FaultState {
    let left_ms = u64::try_from(fault.left(now).as_millis()).unwrap_or(u64::MAX);
    FaultState {
        id: fault.id,
        site: fault.site.clone(),
        mode: fault.mode,
        left_ms,
    }
}
