//! What an active store does besides commands: signs of life, folds, loads,
//! sweeps. One step at a time, between groups.

use std::{collections::HashSet, time::Duration};

use gcs_sql::{Dialect, Error};
use tokio::{task::JoinSet, time::Instant};

use super::{
    engine::Passwords,
    fold::Fold,
    journal,
    key::NamespaceId,
    patience::Patience,
    space::{Entry, State},
    status, sweep,
    term::{SURE, Term},
    writer::{Deposed, Writer},
};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// The journal is folded at once when it has grown by this many bytes.
const FOLD_BYTES: usize = 8 * 1024 * 1024;

/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(60);

/// A namespace that nobody has used for this long leaves the memory.
const IDLE: Duration = Duration::from_secs(600);

impl Term {
    /// Makes sure that no other process has the database.
    pub(super) async fn be_sure(&mut self) -> Result<(), Deposed> {
        let now = Instant::now();
        if now < self.sure || self.writer.database().dialect() == Dialect::Sqlite {
            return Ok(());
        }
        self.give_sign_of_life().await
    }

    async fn give_sign_of_life(&mut self) -> Result<(), Deposed> {
        let began = Instant::now();
        let version = beat(&mut self.writer, self.catalog_seen).await?;
        self.sure = began + SURE;
        self.beat = began;
        self.note_trouble(began);
        if version != self.catalog_seen {
            let (entries, passwords) = catalog(&mut self.writer).await;
            self.spaces.set_catalog(entries);
            self.forget_deleted();
            (self.settings.passwords)(passwords);
            self.catalog_seen = version;
            // Who changed it waits to hear that it is in force.
            beat(&mut self.writer, version).await?;
        }
        Ok(())
    }

    /// Does one step of what is due; `true` if there may be more.
    pub(super) async fn chores(&mut self) -> Result<bool, Deposed> {
        self.start_loads();
        let now = Instant::now();
        if now >= self.beat + BEAT {
            self.give_sign_of_life().await?;
            self.memory = self.spaces.memory();
            status::publish(self);
        }
        if self.fold.is_some() {
            if now < self.fold_again {
                return Ok(false);
            }
            self.fold_once().await?;
            return Ok(true);
        }
        if now >= self.folded + self.settings.fold || self.unfolded_bytes >= FOLD_BYTES {
            self.folded = now;
            self.unfolded_bytes = 0;
            if self.spaces.used().any(|space| !space.dirty.is_empty()) {
                self.fold = Some(Fold::begin(&mut self.spaces, self.upto));
                return Ok(true);
            }
        }
        if now >= self.swept + SWEEP {
            self.swept = now;
            self.evict(now);
            // Nothing that waits can refer to a blob from before the grace.
            let calm = self.parked.is_empty()
                && self
                    .trouble
                    .is_none_or(|trouble| trouble.elapsed() > self.settings.blob_grace);
            // Beside the commands, for deleting much takes long.
            if self.sweeps.is_empty() {
                let (database, settings) = (self.shared.database().clone(), self.settings.clone());
                self.sweeps.spawn_local(async move {
                    sweep::sweep(&database, &settings, calm).await;
                });
            }
            let _swept = self.sweeps.try_join_next();
        }
        Ok(false)
    }

    /// Begins to load what commands wait for.
    fn start_loads(&mut self) {
        let wanted: Vec<NamespaceId> = self
            .parked
            .keys()
            .filter(|id| !self.loading.contains(id))
            .copied()
            .collect();
        for id in wanted {
            let entry = self.spaces.entries().find(|entry| entry.id == id).cloned();
            match entry.filter(|entry| entry.state != State::Deleted) {
                Some(entry) => {
                    self.loading.insert(id);
                    self.loads.spawn_local(self.load(entry));
                }
                // Deleted meanwhile: its commands find it so.
                None => self.unpark(id),
            }
        }
    }

    pub(super) fn next_chore(&self) -> Instant {
        let fold = match self.fold {
            Some(_) => self.fold_again,
            None => self.folded + self.settings.fold,
        };
        fold.min(self.beat + BEAT).min(self.swept + SWEEP)
    }

    /// Notes that the database was away, if something took that long.
    pub(super) fn note_trouble(&mut self, began: Instant) {
        if began.elapsed() > self.writer.database().deadline() {
            self.trouble = Some(Instant::now());
        }
    }

    /// Drops deleted namespaces from memory once the tables know all of them: a
    /// copy may fill them, and they are read anew then.
    fn forget_deleted(&mut self) {
        let fold = &self.fold;
        let heads = &mut self.heads;
        self.spaces.retain(|space| {
            let id = space.entry.id;
            let folding = fold.as_ref().is_some_and(|fold| fold.has(id));
            let keep = space.entry.state != State::Deleted || folding || !space.dirty.is_empty();
            if !keep {
                heads.insert(id, space.heads.clone());
            }
            keep
        });
        let deleted = |id: &NamespaceId| {
            let entry = self.spaces.entries().find(|entry| entry.id == *id);
            entry.is_none_or(|entry| entry.state == State::Deleted)
        };
        if self.loading.iter().any(deleted) {
            self.loads.abort_all();
            self.loads = JoinSet::new();
            self.loading.clear();
        }
        let catalog: HashSet<NamespaceId> = self.spaces.entries().map(|entry| entry.id).collect();
        self.used.retain(|id, _| catalog.contains(id));
        self.heads.retain(|id, _| catalog.contains(id));
    }

    /// Drops namespaces that nobody uses from memory.
    fn evict(&mut self, now: Instant) {
        let used = &self.used;
        let mut epochs = Vec::new();
        self.spaces.retain(|space| {
            let idle = used
                .get(&space.entry.id)
                .is_none_or(|at| now.duration_since(*at) > IDLE);
            let keep = !idle || !space.dirty.is_empty() || space.heads.connected();
            if !keep {
                epochs.push(space.entry.clone());
            }
            keep
        });
        for entry in epochs {
            self.used.remove(&entry.id);
            self.spaces.add(entry);
        }
    }

    /// Does one transaction of the fold under way. If the database does not do
    /// it, commands go on: what they change waits in the journal.
    async fn fold_once(&mut self) -> Result<(), Deposed> {
        let Some(mut fold) = self.fold.take() else {
            return Ok(());
        };
        match self.fold_step(&mut fold).await {
            Ok(last) => {
                self.fold_tries = None;
                if last? {
                    self.folded = Instant::now();
                    self.forget_deleted();
                    return Ok(());
                }
            }
            Err(error) => {
                self.trouble = Some(Instant::now());
                let tries = self
                    .fold_tries
                    .get_or_insert_with(|| Patience::new("bringing the tables up to date"));
                self.fold_again = Instant::now() + tries.note(&error);
            }
        }
        self.fold = Some(fold);
        Ok(())
    }

    /// One transaction of a fold; `true` if it was the last.
    async fn fold_step(&mut self, fold: &mut Fold) -> Result<Result<bool, Deposed>, Error> {
        let at_ms = self.clock.now_ms();
        let history = self.settings.history > Duration::ZERO;
        let step = fold.step(&mut self.writer, &self.spaces, at_ms, history);
        match step.await {
            Ok(Ok((rows, last))) => {
                self.settings.metrics.folded(rows);
                Ok(Ok(last))
            }
            Ok(Err(deposed)) => Ok(Err(deposed)),
            Err(error) => {
                self.writer.spoiled(&error);
                Err(error)
            }
        }
    }

    /// Folds all that is dirty, as long as it takes.
    pub(super) async fn fold_all(&mut self) -> Result<(), Deposed> {
        let mut fold = Fold::begin(&mut self.spaces, self.upto);
        let mut patience = Patience::new("bringing the tables up to date");
        loop {
            match self.fold_step(&mut fold).await {
                Ok(last) if last? => return Ok(()),
                Ok(_) => {}
                Err(error) => patience.wait(&error).await,
            }
        }
    }
}

pub(super) async fn beat(writer: &mut Writer, seen: i64) -> Result<i64, Deposed> {
    let mut patience = Patience::new("giving a sign of life");
    loop {
        match writer.beat(seen).await {
            Ok(outcome) => return outcome,
            Err(error) => {
                writer.spoiled(&error);
                patience.wait(&error).await;
            }
        }
    }
}

pub(super) async fn catalog(writer: &mut Writer) -> (Vec<Entry>, Passwords) {
    let mut patience = Patience::new("reading the catalog");
    loop {
        match writer.catalog().await {
            Ok(entries) => return entries,
            Err(error) => {
                writer.spoiled(&error);
                patience.wait(&error).await;
            }
        }
    }
}

pub(super) async fn journal_rows(writer: &mut Writer) -> Vec<journal::Row> {
    let mut patience = Patience::new("reading the journal");
    loop {
        match writer.journal().await {
            Ok(rows) => return rows,
            Err(error) => {
                writer.spoiled(&error);
                patience.wait(&error).await;
            }
        }
    }
}
