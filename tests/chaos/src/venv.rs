//! The Python that has what the tests need.

use std::{
    env, iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::binary::target_dir;

/// Where this crate's scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// The virtual environment that `make test-env` makes.
#[derive(Debug, Clone)]
pub struct Venv {
    bin: PathBuf,
}

impl Venv {
    /// Finds it under Cargo's target folder.
    ///
    /// # Errors
    /// If it has not been made.
    pub fn find() -> Result<Self> {
        let bin = target_dir()?.join("venv/bin");
        ensure!(
            bin.join("python").exists(),
            "{} is missing: run `make test-env`",
            bin.display()
        );
        Ok(Self { bin })
    }

    /// Its folder, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.bin.parent().unwrap_or(&self.bin)
    }

    /// A command that runs a program of the machine with this environment
    /// activated.
    ///
    /// # Errors
    /// If the machine's search path cannot be extended.
    pub fn activated(&self, program: &str) -> Result<Command> {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = iter::once(self.bin.clone()).chain(env::split_paths(&path));
        let mut command = Command::new(program);
        command.env("PATH", env::join_paths(all)?);
        without_proxy(&mut command);
        Ok(command)
    }

    /// A command that runs one of this crate's scripts, unbuffered.
    #[must_use]
    pub fn script(&self, name: &str) -> Command {
        let mut command = self.program("python");
        command.arg("-u").arg(format!("{SCRIPTS}/{name}"));
        command
    }

    /// A command that runs a program of the environment. No proxy stands
    /// between it and loopback, whatever the machine's settings are.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        without_proxy(&mut command);
        command
    }
}

fn without_proxy(command: &mut Command) {
    for variable in ["http_proxy", "https_proxy", "all_proxy"] {
        command
            .env_remove(variable)
            .env_remove(variable.to_uppercase());
    }
}
