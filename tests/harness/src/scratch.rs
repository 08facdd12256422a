//! A folder for what lives as long as this process.
//!
//! A temporary folder in a `static` is never removed. So each is named after
//! its process, and whoever comes next removes those of the dead. A server
//! empties its own part at once.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

/// An empty folder, the same for each call with this `name` in this process.
///
/// # Errors
/// If it cannot be made.
pub fn folder(name: &str) -> Result<PathBuf> {
    let prefix = format!("tradewind-{name}-");
    let own = env::temp_dir().join(format!("{prefix}{}", std::process::id()));
    for entry in fs::read_dir(env::temp_dir())?.flatten() {
        let file = entry.file_name();
        let of = file.to_str().and_then(|file| file.strip_prefix(&prefix));
        if let Some(pid) = of.and_then(|pid| pid.parse::<u32>().ok())
            && !PathBuf::from(format!("/proc/{pid}")).exists()
        {
            // Another process may be at it too.
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
    fs::create_dir_all(&own).with_context(|| format!("no folder {}", own.display()))?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed() {
        // No process has an id that large.
        let left = env::temp_dir().join("tradewind-scratch-test-4294967295");
        fs::create_dir_all(left.join("data")).unwrap();

        let own = folder("scratch-test").unwrap();

        assert!(own.is_dir() && !left.exists());
        fs::remove_dir_all(own).unwrap();
    }
}
