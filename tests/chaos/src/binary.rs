//! Finds the built `tradewind`.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

/// Names another binary to test, such as a release build.
pub const VARIABLE: &str = "TRADEWIND";

/// The folder that Cargo builds into, such as `target`.
///
/// # Errors
/// If this program does not run from within it.
pub fn target_dir() -> Result<PathBuf> {
    let own = env::current_exe()?;
    // target/<profile>/deps/<test>
    let target = own
        .ancestors()
        .nth(3)
        .context("run the tests with `cargo test`")?;
    Ok(target.to_owned())
}

/// A command that runs `tradewind`: the one that [`VARIABLE`] names, else the
/// one that Cargo built beside this test.
///
/// # Errors
/// If it has not been built.
pub fn tradewind() -> Result<Command> {
    let path = match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => {
            let own = env::current_exe()?;
            own.ancestors()
                .nth(2)
                .context("run the tests with `cargo test`")?
                .join("tradewind")
        }
    };
    ensure!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --locked` first",
        path.display()
    );
    Ok(Command::new(path))
}
