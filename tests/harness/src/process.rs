//! One process under guard: its family dies with the guard, its output is kept.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    family::{Family, Member},
    wait,
};

use std::os::unix::process::CommandExt;

/// Lines of its output shown when a test fails.
const SHOWN: usize = 60;

/// A running process, its family and its output in a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    family: Family,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a group of its own, with output going to
    /// `<folder>/<name>.log`.
    ///
    /// # Errors
    /// If the file cannot be made or the program cannot be started.
    pub fn start(name: &str, command: Command, folder: &Path) -> Result<Self> {
        Self::spawn(name, command, folder, Stdio::null())
    }

    /// As [`Process::start`], for a command of [`leash`](crate::leash).
    pub(crate) fn start_leashed(name: &str, command: Command, folder: &Path) -> Result<Self> {
        // The child's handle keeps our end of the pipe.
        Self::spawn(name, command, folder, Stdio::piped())
    }

    fn spawn(name: &str, mut command: Command, folder: &Path, input: Stdio) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("no folder {}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("no log file")?;
        let family = Family::new();
        family.mark(&mut command);
        let program = command.get_program().to_owned();
        let child = command
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            family,
            log,
        })
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// It and all it started that are alive.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.family.members()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// [`wait::Hopeless`] with its status and the end of its output.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let name = &self.name;
                Err(
                    wait::Hopeless(format!("{name} ended with {status}\n{}", tail(&self.log())))
                        .into(),
                )
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it is still running when `within` has passed.
    pub async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{}'s end", self.name);
        wait::until(&what, within, async || {
            self.child.try_wait()?.context("still running")
        })
        .await
    }

    /// Asks it alone to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not stop within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        // An error means that it has gone by itself, which `end` will tell.
        let _gone = kill_process(self.pid(), Signal::TERM);
        self.end(within).await
    }

    /// SIGKILL to it and all it started. Returns how many that were.
    pub fn kill(&mut self) -> usize {
        let killed = self.family.kill();
        // One that has overwritten its environment bears no mark.
        let _gone = self.child.kill();
        // Reaps the zombie; it cannot fail after the kill but by having gone.
        let _status = self.child.wait();
        killed
    }

    /// Waits for its end, blocking; kills it if it takes longer than `within`.
    pub(crate) fn end_or_kill(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        self.kill();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- the end of {}'s output\n{}",
                self.name,
                tail(&self.log())
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_kept_and_an_early_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let mut process = Process::start("early", command, folder.path()).unwrap();

        let status = process.end(Duration::from_secs(5)).await.unwrap();

        assert_eq!(status.code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
        assert!(
            process
                .check_alive()
                .unwrap_err()
                .to_string()
                .contains("err")
        );
    }

    #[test]
    fn the_family_dies_with_the_guard() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]);
        let process = Process::start("guarded", command, folder.path()).unwrap();
        let family = process.family.clone();

        drop(process);

        assert_eq!(family.members(), []);
    }
}
