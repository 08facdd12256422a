//! Fills a new namespace with rows, and opens it when all are there.
//!
//! ```text
//!   begin   the name is taken by an incomplete namespace; nobody can use it
//!   put     rows, some hundred in a transaction; each is a sign of life
//!   finish  the counter is put right; all rows are read again and compared;
//!           active, in one transaction
//! ```
//!
//! A copy that breaks off leaves an incomplete namespace. The next copy to that
//! name empties it and begins anew once there was no sign of life for a minute;
//! `purge` removes it. A namespace that exists may be filled as well if it is
//! empty (`over`): it keeps its number, and with it its history.
//!
//! Invariants:
//! 1. A namespace is never active with some of its rows only
//!    (`a_copy_that_dies_leaves_nothing_usable`).
//! 2. The job counter never goes back below a number that was handed out as far
//!    as this database knows (`the_job_counter_never_goes_back`).

use bytes::Bytes;
use gcs_sql::Value;
use ray_tables::{NamespaceName, TableName};

use super::{
    Error,
    counter::{self, Counter},
    picture::{Difference, Picture, readable},
    settled::{quiet, written},
    source::fingerprint,
};
use crate::{
    gcs::{
        blob,
        command::{INLINE_MAX, Stored},
        heads::cluster_id_field,
        key::{self, FIELD_MAX, NamespaceId},
        load,
    },
    namespace::{self, Catalog, Change, Record, Refusal, State, Version},
};

/// Rows and bytes of one transaction.
const BATCH: (usize, usize) = (256, 2 * 1024 * 1024);

/// A copy that gave no sign for so long has died.
const SILENCE_MS: i64 = 60_000;

/// How often a transaction that met another is tried again.
const TRIES: u32 = 5;

const COLUMNS: [&str; 7] = [
    "long_field",
    "value",
    "blob_hash",
    "size",
    "created_ms",
    "updated_ms",
    "epoch",
];

/// A namespace that is being filled.
#[derive(Debug)]
pub(crate) struct Fill {
    catalog: Catalog,
    id: NamespaceId,
    name: NamespaceName,
    now_ms: i64,
    batch: Vec<Value>,
    blobs: Vec<Bytes>,
    bytes: usize,
    counter: Counter,
    cluster_id: Option<Bytes>,
    picture: Picture,
    /// What the namespace was before, if it was there.
    before: Option<State>,
}

/// What a copy did.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
    /// What the job counter was raised to, if it is not what was copied.
    pub(crate) counter_raised: Option<i64>,
    pub(crate) version: Version,
}

impl Fill {
    /// Takes the name. `counters`: the namespaces whose job numbers the new one
    /// must not hand out again.
    ///
    /// # Errors
    /// [`Refusal`] if the name is taken; what the database says.
    pub(crate) async fn begin(
        catalog: &Catalog,
        name: &NamespaceName,
        counters: &[&NamespaceName],
    ) -> Result<Self, Error> {
        let mut counter = Counter::default();
        for of in counters.iter().chain([&name]) {
            counter.raise(counter::known(&catalog.database, of).await?);
        }
        let mut change = catalog.change().await?;
        let now_ms = change.now_ms;
        let (id, purged) = match change.find(name).await {
            Err(namespace::Error::Missing { .. }) => {
                (change.add(name, State::Incomplete).await?, false)
            }
            Ok(record) => {
                let purged = record.deleted_ms.is_some();
                (leftover(&mut change, record).await?, purged)
            }
            Err(error) => return Err(error.into()),
        };
        change.commit().await?;
        catalog.erase_rows("gcs_row", id).await?;
        if purged {
            catalog.erase_rows("gcs_history", id).await?;
        }
        Ok(Self::new(catalog, id, name, now_ms, counter))
    }

    /// Takes a namespace that is there, is empty, and is not in use.
    ///
    /// # Errors
    /// [`Refusal`] if it is not so; what the database says.
    pub(crate) async fn over(catalog: &Catalog, name: &NamespaceName) -> Result<Self, Error> {
        let mut counter = Counter::default();
        counter.raise(counter::known(&catalog.database, name).await?);
        let mut change = catalog.change().await?;
        let now_ms = change.now_ms;
        let record = change.find(name).await?;
        record.refuse_in_use(now_ms)?;
        let (id, before) = (record.id, record.state);
        if record.deleted_ms.is_some() {
            // Its history is being purged.
            record.refuse_unless(&[State::Deleted])?;
        }
        if before == State::Incomplete {
            leftover(&mut change, record).await?;
        } else {
            change.hold(id).await?;
        }
        let version = change.commit().await?;
        let mut fill = Self::new(catalog, id, name, now_ms, counter);
        if before == State::Incomplete {
            catalog.erase_rows("gcs_row", id).await?;
            fill.before = Some(State::Active);
            return Ok(fill);
        }
        if let Err(error) = quiet(catalog, id, name, version).await {
            let mut change = catalog.change().await?;
            change.set_state(id, before).await?;
            change.commit().await?;
            return Err(error);
        }
        fill.before = Some(before);
        Ok(fill)
    }

    fn new(
        catalog: &Catalog,
        id: NamespaceId,
        name: &NamespaceName,
        now_ms: i64,
        counter: Counter,
    ) -> Self {
        Self {
            catalog: catalog.clone(),
            id,
            name: name.clone(),
            now_ms,
            batch: Vec::new(),
            blobs: Vec::new(),
            bytes: 0,
            counter,
            cluster_id: None,
            picture: Picture::default(),
            before: None,
        }
    }

    /// Where a value is kept: here, or among the blobs.
    pub(crate) async fn store(&self, value: Bytes) -> Result<Stored, Error> {
        if value.len() <= INLINE_MAX {
            return Ok(Stored::Inline(value));
        }
        Ok(blob::store(&self.catalog.database, &value).await?)
    }

    /// Adds a row, the first of its field; the job counter is kept for the end.
    pub(crate) async fn put(
        &mut self,
        table: &TableName,
        field: &Bytes,
        value: &Stored,
    ) -> Result<(), Error> {
        if field.len() > FIELD_MAX {
            return Err(Error::Field {
                field: readable(field),
                bytes: field.len(),
            });
        }
        if *table == TableName::JOB_COUNTER
            && let Stored::Inline(value) = value
            && self.counter.copied(value)
        {
            return Ok(());
        }
        if *table == TableName::KV
            && *field == cluster_id_field()
            && let Stored::Inline(value) = value
        {
            self.cluster_id = Some(value.clone());
        }
        if !self.add(table, field, value) {
            return Ok(());
        }
        if self.batch.len() / (COLUMNS.len() + 1) >= BATCH.0 || self.bytes >= BATCH.1 {
            self.flush().await?;
        }
        Ok(())
    }

    fn add(&mut self, table: &TableName, field: &Bytes, value: &Stored) -> bool {
        if !self
            .picture
            .add(table.clone(), field.clone(), fingerprint(value))
        {
            return false;
        }
        let [inline, hash, size] = load::columns(value);
        if let Value::Bytes(hash) = &hash {
            self.blobs.push(hash.clone());
        }
        if let Value::Bytes(inline) = &inline {
            self.bytes += inline.len();
        }
        self.bytes += field.len();
        self.batch.extend([
            key::row(self.id, table, field).into(),
            key::long_field(field).into(),
            inline,
            hash,
            size,
            self.now_ms.into(),
            self.now_ms.into(),
            0.into(),
        ]);
        true
    }

    /// Writes the rest, checks all and opens the namespace. `also` may change
    /// more in the same transaction.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if what was written is not what was put; what the
    /// database says. The namespace then is not there.
    pub(crate) async fn finish(
        mut self,
        also: impl AsyncFnOnce(&mut Change, NamespaceId) -> Result<(), Error>,
    ) -> Result<Filled, Error> {
        if let Err(error) = self.complete().await {
            return Err(self.abandon(error).await);
        }
        Ok(Filled {
            rows: self.picture.rows(),
            bytes: self.picture.bytes(),
            blake3: self.picture.blake3(),
            counter_raised: self.counter.raised(),
            version: self.open(also).await?,
        })
    }

    async fn complete(&mut self) -> Result<(), Error> {
        if let Some(value) = self.counter.value() {
            let value = Stored::Inline(value.to_string().into());
            self.add(&TableName::JOB_COUNTER, &Bytes::new(), &value);
        }
        self.flush().await?;
        let written = written(&self.catalog.database, self.id).await?;
        let wrong = Difference::between(&self.picture, &written).rows.len();
        if wrong > 0 {
            return Err(Error::Mismatch { rows: wrong });
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        while let Err(error) = self.write().await {
            tries += 1;
            if !matches!(error, Error::Sql(gcs_sql::Error::Conflict { .. })) || tries == TRIES {
                return Err(error);
            }
        }
        self.batch.clear();
        self.blobs.clear();
        self.bytes = 0;
        gcs_sql::crash::point("restore");
        Ok(())
    }

    async fn write(&self) -> Result<(), Error> {
        let mut transaction = self.catalog.database.begin().await?;
        let sql = format!(
            "UPDATE gcs_namespace SET seen_ms = {} WHERE id = ? AND state = ?",
            transaction.dialect().now_ms()
        );
        let values = [self.id.0.into(), State::Incomplete.name().into()];
        if transaction.execute(&sql, &values).await? == 0 {
            return Err(Error::Overtaken);
        }
        for hash in &self.blobs {
            let sql = "UPDATE gcs_blob_info SET touched_ms = ? WHERE hash = ? AND chunks > 0";
            let values = [crate::gcs::clock::now_ms().into(), hash.clone().into()];
            if transaction.execute(sql, &values).await? == 0 {
                let hash = blake3::Hash::from_slice(hash)
                    .map_or_else(|_| readable(hash), |hash| hash.to_hex().to_string());
                return Err(blob::Lost { hash, chunk: 0 }.into());
            }
        }
        transaction
            .upsert("gcs_row", &["k"], &COLUMNS, &self.batch)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn open(
        &self,
        also: impl AsyncFnOnce(&mut Change, NamespaceId) -> Result<(), Error>,
    ) -> Result<Version, Error> {
        gcs_sql::crash::point("restore-open");
        let mut change = self.catalog.change().await?;
        let record = change.find(&self.name).await?;
        if record.id != self.id || record.state != State::Incomplete {
            return Err(Error::Overtaken);
        }
        change.set_state(self.id, State::Active).await?;
        // A namespace that is put back is no orphan for its age.
        let seen_ms = self.before.map_or(0, |_| change.now_ms);
        let sql = "UPDATE gcs_namespace SET seen_ms = ?, cluster_id = ? WHERE id = ?";
        let values = [
            seen_ms.into(),
            self.cluster_id.clone().into(),
            self.id.0.into(),
        ];
        change.transaction.execute(sql, &values).await?;
        also(&mut change, self.id).await?;
        Ok(change.commit().await?)
    }

    /// Removes what was written, and tells why.
    pub(crate) async fn abandon(self, why: Error) -> Error {
        if !matches!(why, Error::Overtaken)
            && let Err(error) = self.undo().await
        {
            tracing::warn!(
                namespace = %self.name, %error,
                "what was copied so far could not be removed; a purge will"
            );
        }
        why
    }

    async fn undo(&self) -> Result<(), Error> {
        let Some(before) = self.before else {
            return Ok(self.catalog.erase(self.id).await?);
        };
        self.catalog.erase_rows("gcs_row", self.id).await?;
        let mut change = self.catalog.change().await?;
        change.set_state(self.id, before).await?;
        change.commit().await?;
        Ok(())
    }
}

/// Takes over what a copy that died has left.
async fn leftover(change: &mut Change, record: Record) -> Result<NamespaceId, Error> {
    if record.state != State::Incomplete {
        return Err(Refusal::Exists {
            name: record.name,
            state: record.state,
        }
        .into());
    }
    let silent_ms = change.now_ms - record.seen_ms;
    if silent_ms < SILENCE_MS {
        return Err(Refusal::Copying {
            name: record.name,
            seconds: silent_ms / 1000,
        }
        .into());
    }
    change.hold(record.id).await?;
    Ok(record.id)
}
