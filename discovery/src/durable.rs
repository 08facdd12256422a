//! A registry that knows its records again after a restart.
//!
//! The registry itself stays the one in memory: it answers, tells its watchers
//! and times its leases without a database. What changes is written behind it
//! into a versioned table, each record as it is when its turn comes. To wait
//! for the commit first would make each registration as slow as the database
//! and none possible while it is away; and what a crash loses here, the last
//! unwritten changes, the owners heal within a lease: they register again.
//! Renewals are not written. After a restart each lease begins anew, as etcd's
//! do.
//!
//! ```text
//!   register, update, revoke, lapse --> memory --> watchers, at once
//!                                         | backlog: keys, each once
//!                                         v
//!                          write, 64 at a time, until it is done
//!                                         | under the fence registry/<site>
//!                                         v
//!                             table "registry": site 0 key -> record
//! ```
//!
//! Invariants:
//! 1. While the database is away the registry goes on; when it is back it
//!    catches up (`a_registry_goes_on_without_its_database_and_catches_up`).
//! 2. Of two registries of one site on one database the older writes nothing
//!    more, and ends (`the_older_of_two_registries_ends`).
//! 3. A record that was written is known after a restart, under the same lease
//!    (`a_restart_keeps_records_and_leases`).

use std::time::Duration;

use discovery_client::{Key, Site};
use gcs_sql::{
    Database, Error as Sql, Fence, Ledger as Fences, Outcome, Pace, Range, Settings, TableName,
    Tables, Write,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Error, MemoryRegistry,
    backlog::{Backlog, Kept},
};

/// How long the start waits for the database before it goes on without.
const START: Duration = Duration::from_secs(3);

/// How long the last changes may take to be written when the registry stops.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a failed attempt is left alone, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How often a registry that has nothing to write looks whether another has
/// taken over.
const LOOK: Duration = Duration::from_secs(2);

/// Most records written by one transaction.
const BATCH: usize = 64;

/// Most bytes of records in one transaction, but for one record alone.
const BATCH_BYTES: usize = 4 << 20;

/// Keeps a [`MemoryRegistry`] in a database.
#[derive(Debug)]
pub struct DurableRegistry {
    memory: MemoryRegistry,
    place: Place,
    /// Absent: the database was away at the start.
    held: Option<Held>,
}

/// Where the records are.
#[derive(Debug)]
struct Place {
    settings: Settings,
    site: Site,
    holder: String,
    table: TableName,
}

/// The right to write there.
#[derive(Debug)]
struct Held {
    tables: Tables,
    fences: Fences,
    fence: Fence,
}

impl DurableRegistry {
    /// The registry of `site` with the records that `settings`' database has.
    /// `holder` says in the ledger who it is. Should the database be away, the
    /// registry begins without records, as one in memory does.
    ///
    /// # Errors
    /// [`Error::Store`] if the database refuses for good.
    pub async fn open(
        settings: &Settings,
        site: &Site,
        holder: &str,
        config: &Config,
    ) -> Result<Self, Error> {
        let place = Place {
            settings: settings.clone(),
            site: site.clone(),
            holder: holder.to_owned(),
            table: TableName::new("registry")?,
        };
        let memory = MemoryRegistry::new(config);
        let (held, kept) = match place.take_in_time().await {
            Ok((held, kept)) => (Some(held), kept),
            Err(error) if error.is_transient() => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the registry starts without its database");
                (None, Vec::new())
            }
            Err(error) => return Err(error.into()),
        };
        let mut backlog = Backlog::new(kept.iter().map(|(key, _)| key.clone()));
        for (key, _) in kept.iter().filter(|(_, kept)| kept.is_none()) {
            backlog.note(key.clone(), |_| true);
        }
        let kept: Vec<_> = kept.into_iter().filter_map(|(_, kept)| kept).collect();
        if !kept.is_empty() {
            tracing::info!(records = kept.len(), "the registry knows its records again");
        }
        memory.step(|ledger, now| ledger.restore(kept, backlog, now));
        Ok(Self {
            memory,
            place,
            held,
        })
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> MemoryRegistry {
        self.memory.clone()
    }

    /// Writes down what changes, until `stop` fires and the last is written.
    ///
    /// # Errors
    /// [`Error::TakenOver`] if another registry of the site has this database.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let held = match self.held.take() {
            Some(held) => held,
            None => match stop.run_until_cancelled(self.join()).await {
                Some(joined) => joined?,
                None => return Ok(()),
            },
        };
        let tended = stop.child_token();
        let writing = async {
            let written = self.write_on(&held, &stop).await;
            tended.cancel();
            written
        };
        let (written, ()) = tokio::join!(writing, held.tables.tend(tended.clone()));
        written
    }

    async fn write_on(&self, held: &Held, stop: &CancellationToken) -> Result<(), Error> {
        let written = stop.run_until_cancelled(async {
            loop {
                self.write(held).await?;
                tokio::select! {
                    () = self.memory.unwritten() => {}
                    () = sleep(LOOK) => self.look(held).await?,
                }
            }
        });
        if let Some(ended) = written.await {
            return ended;
        }
        match timeout(GOODBYE, self.write(held)).await {
            Ok(written) => written,
            Err(_) => {
                tracing::warn!(records = self.waiting(), "stopped before all was written");
                Ok(())
            }
        }
    }

    async fn look(&self, held: &Held) -> Result<(), Error> {
        match held.fences.current(&held.fence.name).await {
            Ok(epoch) if epoch != held.fence.epoch => Err(self.taken_over()),
            Ok(_) => Ok(()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the registry's database does not answer");
                Ok(())
            }
        }
    }

    fn taken_over(&self) -> Error {
        Error::TakenOver {
            site: self.place.site.clone(),
        }
    }

    /// Takes hold of a database that was away at the start. What it has is
    /// older than what is known by now, and is written over.
    async fn join(&self) -> Result<Held, Error> {
        let mut patience = RETRY.0;
        loop {
            match self.place.take_in_time().await {
                Ok((held, kept)) => {
                    tracing::info!("the registry has its database");
                    self.memory.step(|ledger, _| {
                        if let Some(backlog) = ledger.backlog() {
                            backlog.found(kept.into_iter().map(|(key, _)| key));
                        }
                        ledger.write_all();
                    });
                    return Ok(held);
                }
                Err(error) if error.is_transient() => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "the registry is still without its database");
                }
                Err(error) => return Err(error.into()),
            }
            sleep(patience).await;
            patience = (patience * 2).min(RETRY.1);
        }
    }

    fn waiting(&self) -> usize {
        let waiting = |backlog: &mut Backlog| backlog.len();
        self.memory
            .step(|ledger, _| ledger.backlog().map_or(0, waiting))
    }

    /// Empties the backlog.
    async fn write(&self, held: &Held) -> Result<(), Error> {
        loop {
            let keys = self.memory.step(|ledger, _| {
                let backlog = ledger.backlog();
                backlog.map_or_else(Vec::new, |backlog| backlog.take(BATCH))
            });
            if keys.is_empty() {
                return Ok(());
            }
            self.write_some(held, &keys).await?;
        }
    }

    /// Writes some of `keys`, the first, as they are by then.
    async fn write_some(&self, held: &Held, keys: &[Key]) -> Result<(), Error> {
        let (mut patience, mut since) = (RETRY.0, None);
        loop {
            let now: Vec<_> = self
                .memory
                .step(|ledger, _| keys.iter().map(|key| ledger.kept(key)).collect());
            let mut write = Write::new().under(&held.fence);
            let (mut count, mut bytes) = (0, 0);
            for (key, kept) in keys.iter().zip(&now) {
                let at = self.place.row(key);
                write = match kept.as_ref().and_then(encoded) {
                    Some(record) if count > 0 && bytes + record.len() > BATCH_BYTES => break,
                    Some(record) => {
                        bytes += record.len();
                        write.put(&self.place.table, at, record)
                    }
                    None => write.delete(&self.place.table, at),
                };
                count += 1;
            }
            match held.tables.transact(&write).await {
                Ok(Outcome::Done(_) | Outcome::Refused { .. }) => {
                    self.memory.step(|ledger, _| {
                        if let Some(backlog) = ledger.backlog() {
                            let written = keys.iter().zip(&now).take(count);
                            written.for_each(|(key, kept)| backlog.written(key, kept.is_some()));
                        }
                    });
                    if let Some(since) = since {
                        let away = Instant::now().duration_since(since);
                        tracing::info!(?away, "the registry's database is back");
                    }
                    return Ok(());
                }
                Err(Sql::Stale { .. }) => return Err(self.taken_over()),
                Err(error) => {
                    if since.is_none() {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(
                            error,
                            "the registry cannot write to its database, and goes on without"
                        );
                    }
                    since = since.or_else(|| Some(Instant::now()));
                }
            }
            sleep(patience).await;
            patience = (patience * 2).min(RETRY.1);
        }
    }
}

/// A record as it is written. Nothing: it is too large to be kept.
fn encoded(kept: &Kept) -> Option<Vec<u8>> {
    let json = kept.to_json().ok()?;
    let fits = json.len() <= gcs_sql::VALUE_MAX_BYTES;
    if !fits {
        let key = kept.endpoint.key.to_string();
        tracing::warn!(key, bytes = json.len(), "a record is too large to be kept");
    }
    fits.then_some(json)
}

impl Place {
    async fn take_in_time(&self) -> Result<(Held, Vec<(Key, Option<Kept>)>), Sql> {
        timeout_at(Instant::now() + START, self.take())
            .await
            .unwrap_or(Err(Sql::Deadline(START)))
    }

    /// Fences off who was here before and reads what is here.
    async fn take(&self) -> Result<(Held, Vec<(Key, Option<Kept>)>), Sql> {
        let database = Database::open(&self.settings).await?;
        let tables = Tables::open(&database, Pace::default()).await?;
        let fences = Fences::open(&database).await?;
        let name = format!("registry/{}", self.site);
        let fence = fences.take(&name, &self.holder).await?;
        let prefix = self.prefix();
        let mut all = Vec::new();
        let mut range = Some(Range::prefix(&self.table, prefix.clone()));
        while let Some(next) = range {
            let page = tables.range(&next).await?;
            for entry in page.entries {
                let Some(key) = key(&entry.key[prefix.len()..]) else {
                    continue;
                };
                let kept = Kept::from_json(&entry.value)
                    .inspect_err(|error| {
                        tracing::warn!(%key, %error, "a record could not be read and is left out");
                    })
                    .ok();
                all.push((key, kept));
            }
            range = page.more;
        }
        let held = Held {
            tables,
            fences,
            fence,
        };
        Ok((held, all))
    }

    fn prefix(&self) -> Vec<u8> {
        [self.site.as_str().as_bytes(), b"\0"].concat()
    }

    /// Where the record of `key` is. No name has a NUL in it.
    fn row(&self, key: &Key) -> Vec<u8> {
        let parts = [self.site.as_str(), key.site.as_str(), key.id.as_str()];
        parts.join("\0").into_bytes()
    }
}

fn key(row: &[u8]) -> Option<Key> {
    let (site, id) = std::str::from_utf8(row).ok()?.split_once('\0')?;
    Some(Key {
        site: Site::new(site).ok()?,
        id: discovery_client::EndpointId::new(id).ok()?,
    })
}
