//! What a run leaves nowhere: its processes, its files, its limits.
//!
//! Invariants:
//! 1. A guarded process has ended when its guard is gone, also after an error;
//!    only processes started here are ended, by their id.
//! 2. A scratch directory is gone with its value.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Child},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Until a process that was asked to end is ended.
const STOP: Duration = Duration::from_secs(5);

/// A process that ends with this value.
#[derive(Debug)]
pub struct Guard {
    /// `None`: it has ended by itself and was waited for.
    process: Option<Child>,
    polite: Signal,
}

impl Guard {
    /// Guards `process`, which ends when it is sent `polite`.
    pub fn new(process: Child, polite: Signal) -> Self {
        Self {
            process: Some(process),
            polite,
        }
    }

    /// Its id, if it has not ended.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// Its status.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let end = self.process.as_mut().map(Child::try_wait).transpose()?;
        if let Some(end) = end.flatten() {
            // Waited for: its id may soon be another's.
            self.process = None;
            bail!("it ended: {end}");
        }
        Ok(())
    }

    /// Asks it to end; does not wait.
    pub fn terminate(&self) {
        if let Some(process) = &self.process {
            signal(process, self.polite);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.terminate();
        let Some(mut process) = self.process.take() else {
            return;
        };
        let began = Instant::now();
        while matches!(process.try_wait(), Ok(None)) {
            if began.elapsed() > STOP {
                signal(&process, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends `signal` to a child that was not yet waited for: its id is its own
/// until then. That it has ended already is no error.
fn signal(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal))
        && error != rustix::io::Errno::SRCH
    {
        eprintln!("cannot signal process {}: {error}", process.id());
    }
}

/// A directory of this run, removed with all in it at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in `folder`, or where the system keeps temporary files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = folder.map_or_else(env::temp_dir, Path::to_owned);
        let path = folder.join(format!("tradewind-bench-{}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path.canonicalize()?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Lets this process and those it starts open `files` files.
///
/// # Errors
/// If the machine does not allow it.
pub fn raise_file_limit(files: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    ensure!(
        raised.current.is_none_or(|most| most >= files),
        "the limit of open files is too low: needs {files} (ulimit -Hn)"
    );
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_process_ends_with_its_guard() {
        let child = process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        let mut guard = Guard::new(child, Signal::TERM);
        guard.check().unwrap();
        assert_eq!(guard.id(), Some(pid));

        drop(guard);

        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_scratch_directory_is_gone_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(Some(folder.path())).unwrap();
        fs::write(scratch.path().join("file"), "text").unwrap();
        let path = scratch.path().to_owned();

        drop(scratch);

        assert!(!path.exists());
    }
}
