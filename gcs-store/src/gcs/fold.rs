//! Brings the tables up to what the journal says, and keeps what was replaced.
//!
//! ```text
//!   dirty fields --slice--> one transaction: before-images, upserts, deletes
//!                --slice-->      "
//!                --last--->      "         and the journal up to `upto` goes
//! ```
//!
//! Slices are short, so that groups of commands pass between them. A slice
//! writes what memory holds when its turn comes, which may be newer than the
//! journal row that made the field dirty; reading rows and replaying what is
//! left of the journal over them comes to the same.
//!
//! A value that lived less than a minute leaves no before-image: a head's signs
//! of life would otherwise fill the history with nothing.
//!
//! Invariants:
//! 1. Rows and the journal left give the same state after every transaction
//!    (`a_fold_that_stops_anywhere_loses_nothing`).

use gcs_sql::{Error, Value};
use ray_tables::TableName;

use super::{
    key::{self, NamespaceId},
    load,
    space::{Begun, Spaces},
    writer::{Deposed, Writer},
};
use bytes::Bytes;

/// Fields of one transaction.
const SLICE: usize = 256;

/// Bytes of values in one transaction, about: far below any packet limit.
const SLICE_BYTES: usize = 2 * 1024 * 1024;

/// What replaced values must have lived to be remembered, in milliseconds.
pub(crate) const REMEMBERED_MS: i64 = 60_000;

/// Bytes that a short column takes.
const SHORT: usize = 255;

/// A fold under way.
#[derive(Debug)]
pub(crate) struct Fold {
    fields: Vec<(NamespaceId, TableName, Bytes)>,
    incarnations: Vec<Begun>,
    seen: Vec<NamespaceId>,
    upto: i64,
}

/// Rows of one transaction, taken from memory before anything is awaited.
struct Slice {
    puts: Vec<[Value; 8]>,
    deletes: Vec<Value>,
}

impl Fold {
    /// Takes all that is dirty; the journal is settled up to `upto`.
    pub(crate) fn begin(spaces: &mut Spaces, upto: i64) -> Self {
        let mut fold = Self {
            fields: Vec::new(),
            incarnations: Vec::new(),
            seen: Vec::new(),
            upto,
        };
        for space in spaces.used_mut() {
            if space.dirty.is_empty() {
                continue;
            }
            let id = space.entry.id;
            fold.seen.push(id);
            let (fields, incarnations) = space.dirty.take().into_parts();
            fold.fields
                .extend(fields.into_iter().map(|(table, field)| (id, table, field)));
            fold.incarnations.extend(incarnations);
        }
        // Neighbours in the table are neighbours in a transaction.
        fold.fields.sort_unstable_by(|a, b| b.cmp(a));
        fold
    }

    /// Whether a namespace is part of it.
    pub(crate) fn has(&self, namespace: NamespaceId) -> bool {
        self.seen.contains(&namespace)
    }

    /// Does one transaction: how many rows, and whether it was the last. After an
    /// error the same slice is tried again.
    pub(crate) async fn step(
        &mut self,
        writer: &mut Writer,
        spaces: &Spaces,
        at_ms: i64,
        history: bool,
    ) -> Result<Result<(usize, bool), Deposed>, Error> {
        let (slice, taken) = self.slice(spaces);
        let last = taken == self.fields.len();
        let epoch = writer.epoch();
        let dialect_lock = writer.database().dialect().for_update();
        let connection = writer.connection().await?;
        let mut transaction = connection.begin().await?;
        let held = transaction
            .fetch(
                &format!("SELECT epoch FROM gcs_writer WHERE id = 1{dialect_lock}"),
                &[],
            )
            .await?;
        if held.first().map(|row| row.int(0)).transpose()? != Some(epoch) {
            transaction.rollback().await?;
            return Ok(Err(Deposed));
        }
        gcs_sql::crash::point("fold-begin");
        if history {
            let keys: Vec<Value> = slice.puts.iter().map(|row| row[0].clone()).collect();
            remember(
                &mut transaction,
                &keys,
                at_ms,
                self.upto,
                Some(at_ms - REMEMBERED_MS),
            )
            .await?;
            remember(&mut transaction, &slice.deletes, at_ms, self.upto, None).await?;
        }
        upsert(&mut transaction, slice.puts).await?;
        for keys in slice.deletes.chunks(SLICE) {
            let statement = format!("DELETE FROM gcs_row WHERE k IN ({})", marks(keys.len()));
            transaction.execute(&statement, &padded(keys)).await?;
        }
        if last {
            self.settle(&mut transaction, spaces, at_ms).await?;
        }
        gcs_sql::crash::point("fold-before-commit");
        transaction.commit().await?;
        gcs_sql::crash::point("fold-after-commit");
        self.fields.truncate(self.fields.len() - taken);
        Ok(Ok((taken, last)))
    }

    fn slice(&self, spaces: &Spaces) -> (Slice, usize) {
        let mut slice = Slice {
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        let (mut taken, mut bytes) = (0, 0);
        for (namespace, table, field) in self.fields.iter().rev() {
            if taken == SLICE || bytes >= SLICE_BYTES {
                break;
            }
            taken += 1;
            let key = Value::from(key::row(*namespace, table, field));
            let cell = spaces
                .get(*namespace)
                .and_then(|space| space.image.get(table, field));
            match cell {
                None => slice.deletes.push(key),
                Some(cell) => {
                    let [value, hash, size] = load::columns(&cell.value);
                    if let Value::Bytes(value) = &value {
                        bytes += value.len();
                    }
                    slice.puts.push([
                        key,
                        key::long_field(field).into(),
                        value,
                        hash,
                        size,
                        cell.created_ms.into(),
                        cell.updated_ms.into(),
                        signed(cell.epoch).into(),
                    ]);
                }
            }
        }
        (slice, taken)
    }

    /// What goes with the last rows: heads, the catalog, the journal.
    async fn settle(
        &self,
        transaction: &mut gcs_sql::Transaction,
        spaces: &Spaces,
        at_ms: i64,
    ) -> Result<(), Error> {
        for (head, began_ms) in &self.incarnations {
            if head.fences {
                transaction
                    .execute(
                        "UPDATE gcs_incarnation SET fenced_ms = ?, fenced_by = ? \
                         WHERE ns_id = ? AND epoch < ? AND fenced_ms IS NULL",
                        &[
                            (*began_ms).into(),
                            signed(head.epoch).into(),
                            head.namespace.0.into(),
                            signed(head.epoch).into(),
                        ],
                    )
                    .await?;
            }
            let kind = if head.declared { "user" } else { "observed" };
            let row = [
                head.namespace.0.into(),
                signed(head.epoch).into(),
                kind.into(),
                short(&head.peer).into(),
                short(&head.user).into(),
                (*began_ms).into(),
            ];
            // A replayed journal may tell of a head that is known.
            let known = transaction
                .fetch(
                    "SELECT 1 FROM gcs_incarnation WHERE ns_id = ? AND epoch = ?",
                    &row[..2],
                )
                .await?;
            if known.is_empty() {
                transaction
                    .execute(
                        "INSERT INTO gcs_incarnation (ns_id, epoch, kind, peer, user_name, began_ms) \
                         VALUES (?, ?, ?, ?, ?, ?)",
                        &row,
                    )
                    .await?;
            }
        }
        for namespace in &self.seen {
            let Some(space) = spaces.get(*namespace) else {
                continue;
            };
            let cluster_id = space.entry.cluster_id.clone();
            let cluster_id = cluster_id.filter(|id| id.len() <= SHORT);
            transaction
                .execute(
                    "UPDATE gcs_namespace SET seen_ms = ?, epoch = ?, cluster_id = ? WHERE id = ?",
                    &[
                        at_ms.into(),
                        signed(space.entry.epoch).into(),
                        cluster_id.into(),
                        namespace.0.into(),
                    ],
                )
                .await?;
        }
        transaction
            .execute(
                "DELETE FROM gcs_journal WHERE seq <= ?",
                &[self.upto.into()],
            )
            .await?;
        transaction
            .execute(
                "UPDATE gcs_writer SET folded = ? WHERE id = 1",
                &[self.upto.into()],
            )
            .await?;
        Ok(())
    }
}

/// Keeps the rows with these keys as they are, if they are older than `than`.
async fn remember(
    transaction: &mut gcs_sql::Transaction,
    keys: &[Value],
    at_ms: i64,
    seq: i64,
    older_than: Option<i64>,
) -> Result<(), Error> {
    for keys in keys.chunks(SLICE) {
        let statement = format!(
            "INSERT INTO gcs_history \
             (k, valid_to_ms, seq, valid_from_ms, long_field, value, blob_hash, size, epoch) \
             SELECT k, ?, ?, updated_ms, long_field, value, blob_hash, size, epoch \
             FROM gcs_row WHERE updated_ms <= ? AND k IN ({})",
            marks(keys.len())
        );
        let mut arguments = vec![
            at_ms.into(),
            seq.into(),
            older_than.unwrap_or(i64::MAX).into(),
        ];
        arguments.extend(padded(keys));
        transaction.execute(&statement, &arguments).await?;
    }
    Ok(())
}

async fn upsert(
    transaction: &mut gcs_sql::Transaction,
    rows: Vec<[Value; 8]>,
) -> Result<(), Error> {
    let dialect = transaction.dialect();
    let mut rest = &rows[..];
    while !rest.is_empty() {
        // Few lengths, so that the server plans few statements.
        let length = 1 << rest.len().ilog2().min(6);
        let (now, later) = rest.split_at(length);
        let statement = dialect.upsert(
            "gcs_row",
            &["k"],
            &[
                "long_field",
                "value",
                "blob_hash",
                "size",
                "created_ms",
                "updated_ms",
                "epoch",
            ],
            length,
        );
        transaction.execute(&statement, &now.concat()).await?;
        rest = later;
    }
    Ok(())
}

/// Question marks for an `IN` list of at least `length`.
fn marks(length: usize) -> String {
    let mut marks = "?,".repeat(length.next_power_of_two());
    marks.pop();
    marks
}

/// `keys`, the last repeated up to the length of [`marks`].
fn padded(keys: &[Value]) -> Vec<Value> {
    let mut padded = keys.to_vec();
    if let Some(last) = keys.last() {
        padded.resize(keys.len().next_power_of_two(), last.clone());
    }
    padded
}

/// As much of a text as its column takes.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHORT)]
}

fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
