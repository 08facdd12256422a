//! The tasks of a process, watched over together.
//!
//! A role that ends unasked has failed, however politely; a stop waits for each
//! until a deadline.

use std::{collections::HashMap, time::Duration};

use anyhow::anyhow;
use tokio::{
    task::{self, JoinSet},
    time::{Instant, timeout_at},
};

/// The tasks without which the process is not what it was configured to be.
#[derive(Default)]
pub struct Roles {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, &'static str>,
}

impl Roles {
    /// Starts one, under the name it is reported by.
    pub fn start(
        &mut self,
        name: &'static str,
        role: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(role);
        self.names.insert(task.id(), name);
    }

    /// Waits for the next role that ends; nothing if none runs.
    async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, outcome) = match self.tasks.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(panic) => (panic.id(), Err(panic.into())),
        };
        Some((self.names.remove(&id).unwrap_or("a role"), outcome))
    }

    /// Waits for the first role that ends by itself, and says why that is a
    /// failure.
    pub async fn first_end(&mut self) -> anyhow::Error {
        let failure = match self.next().await {
            Some((name, Err(error))) => error.context(format!("{name} failed")),
            Some((name, Ok(()))) => anyhow!("{name} ended unasked"),
            None => anyhow!("nothing was started"),
        };
        tracing::error!(error = format!("{failure:#}"), "stopping");
        failure
    }

    /// Waits until the role `name` does not run, however long that takes; what
    /// fails meanwhile is logged.
    pub async fn end(&mut self, name: &str) {
        while self.names.values().any(|it| *it == name) {
            match self.next().await {
                Some((name, Err(error))) => {
                    tracing::error!(role = name, error = format!("{error:#}"), "failed");
                }
                Some((_, Ok(()))) => {}
                None => break,
            }
        }
    }

    /// Waits until no role that is `awaited` runs, and says what failed first.
    pub async fn end_of(
        &mut self,
        awaited: impl Fn(&str) -> bool,
        within: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let mut failed = Ok(());
        while let Some(name) = self.names.values().copied().find(|name| awaited(name)) {
            match timeout_at(deadline, self.next()).await {
                Ok(Some((_, Ok(())))) => {}
                Ok(Some((name, Err(error)))) => {
                    failed = failed.and(Err(
                        error.context(format!("{name} failed while it was stopped"))
                    ));
                }
                Ok(None) => break,
                Err(_) => return failed.and(Err(anyhow!("{name} did not end within {within:?}"))),
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_role_to_end_is_the_failure() {
        let mut roles = Roles::default();
        roles.start("gateway", pending());
        roles.start("registry", async { Err(anyhow!("no luck")) });
        assert_eq!(
            format!("{:#}", roles.first_end().await),
            "registry failed: no luck"
        );

        let mut roles = Roles::default();
        roles.start("peers", async { Ok(()) });
        assert_eq!(
            format!("{:#}", roles.first_end().await),
            "peers ended unasked"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_panics_has_failed() {
        let mut roles = Roles::default();
        roles.start("registry", async { panic!("out of luck") });
        assert!(format!("{:#}", roles.first_end().await).starts_with("registry failed: "));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_awaited_until_its_deadline() {
        let mut roles = Roles::default();
        roles.start("gateway", async { Ok(()) });
        roles.start("registry", pending());
        let second = Duration::from_secs(1);
        roles
            .end_of(|role| role == "gateway", second)
            .await
            .unwrap();
        roles
            .end_of(|role| role == "gateway", second)
            .await
            .unwrap();
        let late = roles.end_of(|_| true, second).await.unwrap_err();
        assert_eq!(late.to_string(), "registry did not end within 1s");
    }
}
