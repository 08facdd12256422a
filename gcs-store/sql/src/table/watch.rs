//! Changes as they happen, in order, whoever makes them.
//!
//! A watcher holds a position. It reads on from the history when somebody of
//! this process has committed (the hint, which costs nothing) or when the poll
//! shows that another process has. While the database is away it waits; its
//! position is still good afterwards, or compaction says that it is not.
//!
//! ```text
//!   transact --- hint ---.
//!                        v     head moved?          (after, upto]
//!   poll interval ---> wake ---------------> snapshot ----------> Changed ...
//!                        |  no, for a while: Progress       compacted: Reset
//! ```
//!
//! Invariants:
//! 1. Every revision that touches the scope is seen once, in order, whole
//!    (`a_watch_sees_every_revision_once_and_in_order`).
//! 2. What was lost to compaction is told by a `Reset`, never skipped silently
//!    (`a_compacted_position_is_reset_and_says_so`).

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Tables,
    entry::{ENTRY, Entry, Keys, Revision, TableName, entry},
    head::{Head, IN_FORCE},
};
use crate::{Error, Row, Transaction, Value};

/// Most changes read at once.
const BATCH_MAX: usize = 1024;

/// Most bytes of values read at once, unless one revision alone has more.
const BATCH_MAX_BYTES: i64 = 8 << 20;

/// How long a failed read is left alone, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a watch begins with everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It had no position.
    Begun,
    /// Changes after its position are no longer kept.
    Compacted {
        /// The oldest position that can still be gone on from.
        oldest: Revision,
    },
    /// Its position is yet to come: the database is not the one it was, or was
    /// set back to an older copy.
    Foreign,
}

/// One change of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry is new or has another value.
    Put(Entry),
    /// The entry is gone: deleted, or its lease has ended.
    Delete {
        /// Whose.
        key: Bytes,
    },
}

/// One step of a watch. After it the watcher is at `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Forget everything; this is all there is.
    Reset {
        /// The position of the list.
        at: Revision,
        /// Why it begins anew.
        cause: Cause,
        /// Every entry, in the order of the keys.
        entries: Vec<Entry>,
    },
    /// What one revision changed, whole.
    Changed {
        /// Which.
        at: Revision,
        /// The changes, in the order of the keys; at least one.
        changes: Vec<Change>,
    },
    /// Nothing else changed up to `at`; the database answers.
    Progress {
        /// The newest position.
        at: Revision,
    },
}

impl Event {
    /// The watcher's position once the event is applied.
    #[must_use]
    pub fn at(&self) -> Revision {
        match self {
            Self::Reset { at, .. } | Self::Changed { at, .. } | Self::Progress { at } => *at,
        }
    }
}

impl Tables {
    /// All changes after `after` of the keys of `table` that begin with
    /// `prefix`. Ends after an error that no retry mends.
    pub fn watch(
        &self,
        table: &TableName,
        prefix: impl Into<Bytes>,
        after: Option<Revision>,
    ) -> BoxStream<'static, Result<Event, Error>> {
        let watcher = Watcher {
            news: self.news(),
            tables: self.clone(),
            table: table.clone(),
            keys: Keys::prefixed(prefix.into()),
            at: after,
            ready: VecDeque::new(),
            spoke: Instant::now(),
            patience: RETRY.0,
        };
        stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            let item = watcher.next().await;
            let goes_on = item.is_ok();
            Some((item, goes_on.then_some(watcher)))
        })
        .boxed()
    }
}

struct Watcher {
    tables: Tables,
    table: TableName,
    keys: Keys,
    news: watch::Receiver<Revision>,
    at: Option<Revision>,
    /// Read but not yet given out.
    ready: VecDeque<Event>,
    spoke: Instant,
    patience: Duration,
}

impl Watcher {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.spoke = Instant::now();
                return Ok(event);
            }
            match self.step().await {
                Ok(()) => self.patience = RETRY.0,
                Err(error) if error.is_transient() => {
                    tracing::debug!(
                        table = %self.table,
                        error = &error as &dyn std::error::Error,
                        "a watch waits for the database"
                    );
                    sleep(self.patience).await;
                    self.patience = (self.patience * 2).min(RETRY.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is new, or waits until something may be.
    async fn step(&mut self) -> Result<(), Error> {
        let Some(at) = self.at else {
            let mut read = self.tables.database().read().await?;
            let head = Head::read(&mut read).await?;
            self.reset(&mut read, head, Cause::Begun).await?;
            return read.commit().await;
        };
        self.news.mark_unchanged();
        let head = self.tables.head().await?;
        if head.revision != at || head.compacted > at {
            return self.read_on(at).await;
        }
        let due = self.spoke + self.tables.settings().progress;
        if Instant::now() >= due {
            self.ready.push_back(Event::Progress { at });
            return Ok(());
        }
        let wake = due.min(Instant::now() + self.tables.settings().poll);
        tokio::select! {
            // The sender lives as long as `self.tables`.
            _ = self.news.changed() => {}
            () = sleep_until(wake) => {}
        }
        Ok(())
    }

    async fn read_on(&mut self, at: Revision) -> Result<(), Error> {
        let mut read = self.tables.database().read().await?;
        let head = Head::read(&mut read).await?;
        if at < head.compacted {
            let oldest = head.compacted;
            self.reset(&mut read, head, Cause::Compacted { oldest })
                .await?;
        } else if at > head.revision {
            self.reset(&mut read, head, Cause::Foreign).await?;
        } else {
            self.batch(&mut read, at, head.revision).await?;
        }
        read.commit().await
    }

    async fn reset(
        &mut self,
        read: &mut Transaction,
        head: Head,
        cause: Cause,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT {ENTRY} FROM table_version \
             WHERE name = ? AND k >= ? AND k < ? AND {IN_FORCE} ORDER BY k"
        );
        let rows = read.fetch(&sql, &self.scope()).await?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let at = head.revision;
        self.ready.push_back(Event::Reset { at, cause, entries });
        self.at = Some(at);
        Ok(())
    }

    /// Reads whole revisions after `at`, as many as a batch holds.
    async fn batch(
        &mut self,
        read: &mut Transaction,
        at: Revision,
        newest: Revision,
    ) -> Result<(), Error> {
        let within = |upto: Revision| {
            let mut values = vec![at.0.into(), upto.0.into()];
            values.extend(self.scope());
            values
        };
        let mut values = within(newest);
        values.push(super::head::to_i64(BATCH_MAX).into());
        let sql = format!("SELECT revision, size {WITHIN} ORDER BY revision, k LIMIT ?");
        let rows = read.fetch(&sql, &values).await?;
        let sizes = rows
            .iter()
            .map(|row| Ok((Revision(row.int(0)?), row.int(1)?)));
        let sizes: Vec<_> = sizes.collect::<Result<_, Error>>()?;
        let upto = cut(&sizes, newest);
        if !sizes.is_empty() {
            let sql = format!("SELECT {ENTRY}, ended {WITHIN} ORDER BY revision, k");
            let rows = read.fetch(&sql, &within(upto)).await?;
            self.ready.extend(events(&rows)?);
        }
        self.at = Some(upto);
        Ok(())
    }

    fn scope(&self) -> [Value; 3] {
        [
            self.table.as_str().into(),
            self.keys.from.clone().into(),
            self.keys.to.clone().into(),
        ]
    }
}

/// What changed in a scope after one revision and up to another.
const WITHIN: &str = "FROM table_version \
    WHERE revision > ? AND revision <= ? AND name = ? AND k >= ? AND k < ?";

/// How far to read on: a revision is read whole or not at all.
fn cut(sizes: &[(Revision, i64)], newest: Revision) -> Revision {
    let Some((first, _)) = sizes.first() else {
        return newest;
    };
    let mut bytes = 0;
    for (n, (revision, size)) in sizes.iter().enumerate() {
        bytes += size;
        let full = bytes > BATCH_MAX_BYTES || n + 1 == BATCH_MAX;
        if full && revision > first {
            return Revision(revision.0 - 1);
        }
    }
    if sizes.len() < BATCH_MAX {
        newest
    } else {
        *first
    }
}

fn events(rows: &[Row]) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    for row in rows {
        let revision = Revision(row.int(3)?);
        let change = if row.int(6)? == revision.0 {
            Change::Delete { key: row.bytes(0)? }
        } else {
            Change::Put(entry(row)?)
        };
        match events.last_mut() {
            Some(Event::Changed { at, changes }) if *at == revision => changes.push(change),
            _ => events.push(Event::Changed {
                at: revision,
                changes: vec![change],
            }),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_between_two_revisions() {
        let sizes = |list: &[(i64, i64)]| -> Vec<_> {
            list.iter()
                .map(|(at, size)| (Revision(*at), *size))
                .collect()
        };
        let newest = Revision(9);
        assert_eq!(cut(&[], newest), newest);
        assert_eq!(cut(&sizes(&[(3, 1), (4, 1)]), newest), newest);
        let large = BATCH_MAX_BYTES;
        assert_eq!(cut(&sizes(&[(3, large), (5, large)]), newest), Revision(4));
        assert_eq!(
            cut(&sizes(&[(3, large), (3, large)]), newest),
            newest,
            "one revision is never split"
        );
        let many: Vec<_> = (0..BATCH_MAX as i64)
            .map(|n| (Revision(n / 2), 0))
            .collect();
        assert_eq!(cut(&many, Revision(9999)).0, BATCH_MAX as i64 / 2 - 2);
    }
}
