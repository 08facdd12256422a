//! Reads: one entry, or a range of them page by page.
//!
//! A page is read in one snapshot and says of which revision it is; the pages
//! after it are read as of that same revision, however much is written in
//! between. That works because a version is kept until compaction passes the
//! revision that ended it.

use bytes::Bytes;

use super::{
    Tables,
    entry::{ENTRY, Entry, Keys, Revision, TableName, check_key, entry},
    head::{Head, IN_FORCE, STANDING, to_i64},
};
use crate::{Error, Transaction, Value};

/// Most entries of a page.
const PAGE_MAX_ENTRIES: usize = 1000;

/// Most bytes of values in a page, unless one value alone has more.
const PAGE_MAX_BYTES: i64 = 8 << 20;

/// Which entries to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    table: TableName,
    keys: Keys,
    limit: usize,
    at: Option<Revision>,
}

/// Entries in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revision they are all of.
    pub at: Revision,
    /// The entries.
    pub entries: Vec<Entry>,
    /// What to ask for next, at the same revision. Absent: there is no more.
    pub more: Option<Range>,
}

impl Range {
    /// Every entry of `table`.
    #[must_use]
    pub fn all(table: &TableName) -> Self {
        Self::of(table, Keys::all())
    }

    /// The entries whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(table: &TableName, prefix: impl Into<Bytes>) -> Self {
        Self::of(table, Keys::prefixed(prefix.into()))
    }

    /// The entries with keys from `from` up to, but without, `to`.
    #[must_use]
    pub fn between(table: &TableName, from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        let (from, to) = (from.into(), to.into());
        Self::of(table, Keys { from, to })
    }

    fn of(table: &TableName, keys: Keys) -> Self {
        Self {
            table: table.clone(),
            keys,
            limit: PAGE_MAX_ENTRIES,
            at: None,
        }
    }

    /// At most `limit` entries a page: 1 to 1000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, PAGE_MAX_ENTRIES);
        self
    }

    /// As everything stood at `revision`.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }
}

impl Tables {
    /// The entry of `key` in `table`, as last committed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for the key; what the database says.
    pub async fn get(&self, table: &TableName, key: &[u8]) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        let sql =
            format!("SELECT {ENTRY} FROM table_version WHERE name = ? AND k = ? AND {IN_FORCE}");
        let values = [table.as_str().into(), Bytes::copy_from_slice(key).into()];
        let rows = self.database().fetch(&sql, &values).await?;
        rows.first().map(entry).transpose()
    }

    /// One page of `range`: at most its limit, and about 8 MiB.
    ///
    /// # Errors
    /// [`Error::Compacted`] if its revision is no longer kept,
    /// [`Error::Invalid`] if it is yet to come; what the database says.
    pub async fn range(&self, range: &Range) -> Result<Page, Error> {
        let mut read = self.database().read().await?;
        let head = Head::read(&mut read).await?;
        let at = range.at.unwrap_or(head.revision);
        if at < head.compacted {
            return Err(Error::Compacted {
                oldest: head.compacted.0,
            });
        }
        if at > head.revision {
            return Err(Error::invalid(format!(
                "revision {at} is yet to come, the newest is {}",
                head.revision
            )));
        }
        let (standing, as_of) = if at == head.revision {
            (IN_FORCE, Vec::new())
        } else {
            (STANDING, vec![at.0.into(), at.0.into()])
        };
        let cut = cut(&mut read, range, standing, &as_of).await?;
        let Some((last, more)) = cut else {
            read.commit().await?;
            return Ok(Page {
                at,
                entries: Vec::new(),
                more: None,
            });
        };
        let sql = format!(
            "SELECT {ENTRY} FROM table_version \
             WHERE name = ? AND k >= ? AND k <= ? AND {standing} ORDER BY k"
        );
        let mut values = vec![
            range.table.as_str().into(),
            range.keys.from.clone().into(),
            last.clone().into(),
        ];
        values.extend(as_of);
        let rows = read.fetch(&sql, &values).await?;
        read.commit().await?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let more = more.then(|| {
            let mut next = range.clone().at(at);
            next.keys.from = [&last[..], &[0]].concat().into();
            next
        });
        Ok(Page { at, entries, more })
    }
}

/// Where the page ends: its last key, and whether there is more behind it.
async fn cut(
    read: &mut Transaction,
    range: &Range,
    standing: &str,
    as_of: &[Value],
) -> Result<Option<(Bytes, bool)>, Error> {
    let sql = format!(
        "SELECT k, size FROM table_version \
         WHERE name = ? AND k >= ? AND k < ? AND {standing} ORDER BY k LIMIT ?"
    );
    let mut values: Vec<Value> = vec![
        range.table.as_str().into(),
        range.keys.from.clone().into(),
        range.keys.to.clone().into(),
    ];
    values.extend_from_slice(as_of);
    values.push(to_i64(range.limit + 1).into());
    let (mut last, mut bytes) = (None, 0);
    for (n, row) in read.fetch(&sql, &values).await?.iter().enumerate() {
        bytes += row.int(1)?;
        if n == range.limit || (n > 0 && bytes > PAGE_MAX_BYTES) {
            return Ok(last.map(|last| (last, true)));
        }
        last = Some(row.bytes(0)?);
    }
    Ok(last.map(|last| (last, false)))
}
