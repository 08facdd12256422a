//! Waits for a condition, with a deadline.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(50);

/// What is waited for can no longer happen: waiting on would be in vain.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Polls `look` until it finds something.
///
/// # Errors
/// When `within` has passed: names `what`, and what the last look saw. At once
/// when a look finds it [`Hopeless`].
pub async fn until<T, F>(what: &str, within: Duration, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let end = Instant::now() + within;
    loop {
        let missing = match tokio::time::timeout(within, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(missing)) => missing,
            Err(_) => bail!("{what}: one look took longer than {within:?}"),
        };
        if missing.is::<Hopeless>() {
            return Err(missing.context(what.to_owned()));
        }
        if Instant::now() >= end {
            return Err(missing.context(format!("{what}: not within {within:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}
