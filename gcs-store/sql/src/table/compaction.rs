//! Lets go of history that nobody needs, and of leases that have lapsed.
//!
//! First the mark moves, in one small transaction, then the rows go in small
//! steps: a crash in between leaves rows that the next compaction deletes.
//!
//! Invariants:
//! 1. What is in force is never deleted, nor what stood at a revision from the
//!    mark on (`compaction_keeps_what_stands`).

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Tables,
    entry::Revision,
    head::{Head, to_i64},
};
use crate::Error;

/// About how many versions one step deletes.
const STEP: usize = 500;

/// How often lapsed leases are looked for.
const SWEEP: Duration = Duration::from_millis(500);

/// How many sweeps there are to a compaction.
const COMPACT_EVERY: u32 = 120;

/// How much history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how long.
    pub age: Duration,
    /// And at most so many revisions.
    pub revisions: i64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(3600),
            revisions: 100_000,
        }
    }
}

impl Tables {
    /// Gives up the history before `before`, and says how many versions went.
    /// A watch from an earlier position begins anew.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `before` is yet to come; what the database says.
    pub async fn compact(&self, before: Revision) -> Result<u64, Error> {
        let mut transaction = self.database().begin().await?;
        let head = Head::lock(&mut transaction, self.database().dialect()).await?;
        if before > head.revision {
            transaction.rollback().await?;
            return Err(Error::invalid(format!(
                "revision {before} is yet to come, the newest is {}",
                head.revision
            )));
        }
        let mark = before.max(head.compacted);
        let sql = "UPDATE table_head SET compacted = ? WHERE id = 1";
        transaction.execute(sql, &[mark.0.into()]).await?;
        transaction.commit().await?;

        // Each step names where it begins: past the rows that the one before
        // deleted, which the database's index and statistics still know.
        let (mut after, mut gone) = (0, 0);
        loop {
            let values = [after.into(), mark.0.into(), to_i64(STEP).into()];
            let step = self.database().fetch(STEP_END, &values).await?;
            let end = step.first().map(|row| row.int(0)).transpose()?;
            let upto = end.unwrap_or(mark.0);
            let sql = "DELETE FROM table_version WHERE ended > ? AND ended <= ?";
            let values = [after.into(), upto.into()];
            gone += self.database().execute(sql, &values).await?;
            if end.is_none() {
                return Ok(gone);
            }
            after = upto;
        }
    }

    /// Gives up what `keep` does not ask for, and says how many versions went.
    ///
    /// # Errors
    /// What the database says.
    pub async fn compact_by(&self, keep: Keep) -> Result<u64, Error> {
        let head = Head::of(&self.database().fetch(Head::READ, &[]).await?)?;
        let by_count = head.revision.0 - keep.revisions;
        let by_age = self.newest_older_than(keep.age, head).await?;
        let before = by_count.max(by_age);
        if before <= head.compacted.0 {
            return Ok(0);
        }
        self.compact(Revision(before)).await
    }

    /// A revision of at least `age` ago, close to the newest such: revisions
    /// and their times grow together, so a search by halves finds it.
    async fn newest_older_than(&self, age: Duration, head: Head) -> Result<i64, Error> {
        let now = self.database().dialect().now_ms();
        let rows = self.database().fetch(&format!("SELECT {now}"), &[]).await?;
        let now_ms = rows.first().map(|row| row.int(0)).transpose()?.unwrap_or(0);
        let cutoff = now_ms - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let (mut old, mut new) = (head.compacted.0, head.revision.0 + 1);
        while new - old > 1 {
            let middle = old + (new - old) / 2;
            let rows = self.database().fetch(AT_OR_AFTER, &[middle.into()]).await?;
            match rows.first() {
                Some(row) if row.int(1)? <= cutoff => old = row.int(0)?.max(middle),
                _ => new = middle,
            }
        }
        Ok(old.min(head.revision.0))
    }

    /// Ends lapsed leases and compacts, until `stop` fires. Several processes
    /// may do so at once.
    pub async fn tend(&self, stop: CancellationToken) {
        let tending = async {
            let mut ticks = tokio::time::interval(SWEEP);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut sweeps = 0_u32;
            loop {
                ticks.tick().await;
                sweeps = sweeps.wrapping_add(1);
                let mut done = self.expire().await.map(|_| ());
                if done.is_ok() && sweeps.is_multiple_of(COMPACT_EVERY) {
                    done = self.compact_by(self.settings().keep).await.map(|_| ());
                }
                if let Err(error) = done {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "tables could not be tended, trying again");
                }
            }
        };
        stop.run_until_cancelled(tending).await;
    }
}

/// Where a step of so many versions ends. Nothing: fewer are left.
const STEP_END: &str = "SELECT ended FROM table_version WHERE ended > ? AND ended <= ? \
     ORDER BY ended LIMIT 1 OFFSET ?";

/// The first change at or after a revision, and its time.
const AT_OR_AFTER: &str =
    "SELECT revision, at_ms FROM table_version WHERE revision >= ? ORDER BY revision LIMIT 1";
