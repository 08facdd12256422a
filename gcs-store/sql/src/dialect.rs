//! The few words the databases say differently.
//!
//! Everything else is written once, in the SQL they share, with `?` for
//! parameters and `"` around names that need it.

use std::{fmt::Write, ops::Range};

/// Which SQL the database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3, in the process.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

/// Rows in one statement at most.
const ROWS: usize = 256;
/// Parameters in one statement at most: SQLite's bound, the smallest.
const PARAMETERS: usize = 32_766;

impl Dialect {
    /// Inserts `rows` rows, or gives those whose key exists the new values.
    ///
    /// Parameters are row after row, key columns first. Keys of one statement
    /// must differ, or PostgreSQL refuses it. What `execute` returns for it is
    /// not portable: MySQL counts a changed row twice.
    #[must_use]
    pub fn upsert(
        self,
        table: &str,
        key_columns: &[&str],
        other_columns: &[&str],
        rows: usize,
    ) -> String {
        let columns = [key_columns, other_columns].concat();
        let row = format!("({})", placeholders(columns.len()));
        let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
        for nth in 0..rows {
            sql.push_str(if nth == 0 { "" } else { ", " });
            sql.push_str(&row);
        }
        sql.push_str(&match (self, other_columns) {
            (Self::Mysql, []) => {
                let key = key_columns.first().copied().unwrap_or_default();
                format!(" ON DUPLICATE KEY UPDATE {key} = {key}")
            }
            (Self::Mysql, _) => format!(
                " ON DUPLICATE KEY UPDATE {}",
                assignments(other_columns, |column| format!("VALUES({column})"))
            ),
            (_, []) => format!(" ON CONFLICT ({}) DO NOTHING", key_columns.join(", ")),
            _ => format!(
                " ON CONFLICT ({}) DO UPDATE SET {}",
                key_columns.join(", "),
                assignments(other_columns, |column| format!("excluded.{column}"))
            ),
        });
        sql
    }

    /// Cuts `rows` rows of `columns` parameters each into ranges for one
    /// statement each.
    ///
    /// Their lengths are powers of two, so that few different statements are
    /// ever prepared.
    pub fn batches(self, rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
        let most = floor_power_of_two((PARAMETERS / columns.max(1)).clamp(1, ROWS));
        let mut next = 0;
        std::iter::from_fn(move || {
            let left = rows - next;
            (left > 0).then(|| {
                let start = next;
                next += floor_power_of_two(left.min(most));
                start..next
            })
        })
    }

    /// Ends a `SELECT` that locks what it finds until the transaction ends.
    /// SQLite's write transaction holds everything already.
    #[must_use]
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::Mysql => " FOR UPDATE",
        }
    }

    /// As [`Dialect::for_update`], but others may lock the same way.
    #[must_use]
    pub fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR SHARE",
            // MariaDB does not know MySQL's newer FOR SHARE; both know this.
            Self::Mysql => " LOCK IN SHARE MODE",
        }
    }

    /// The greater of two expressions.
    #[must_use]
    pub fn greatest(self, a: &str, b: &str) -> String {
        match self {
            Self::Sqlite => format!("MAX({a}, {b})"),
            Self::Postgres | Self::Mysql => format!("GREATEST({a}, {b})"),
        }
    }

    /// A sum of integers as an integer; NULL over no rows.
    #[must_use]
    pub fn sum(self, expression: &str) -> String {
        match self {
            Self::Sqlite => format!("SUM({expression})"),
            Self::Postgres => format!("CAST(SUM({expression}) AS BIGINT)"),
            Self::Mysql => format!("CAST(SUM({expression}) AS SIGNED)"),
        }
    }

    /// The database's clock, in unix milliseconds.
    #[must_use]
    pub fn now_ms(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
            Self::Mysql => "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
        }
    }
}

/// `n` question marks with commas between them, for `VALUES` and `IN`.
#[must_use]
pub fn placeholders(n: usize) -> String {
    let mut marks = String::with_capacity(2 * n);
    for nth in 0..n {
        marks.push_str(if nth == 0 { "?" } else { ",?" });
    }
    marks
}

fn assignments(columns: &[&str], value: impl Fn(&str) -> String) -> String {
    let mut all = String::new();
    for (nth, column) in columns.iter().enumerate() {
        let comma = if nth == 0 { "" } else { ", " };
        write!(all, "{comma}{column} = {}", value(column)).expect("strings take everything");
    }
    all
}

/// `n` must not be 0.
fn floor_power_of_two(n: usize) -> usize {
    1 << n.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsert_reads_as_each_database_wants_it() {
        let upsert = |dialect: Dialect| dialect.upsert("t", &["a", "b"], &["c"], 2);
        let insert = "INSERT INTO t (a, b, c) VALUES (?,?,?), (?,?,?)";
        assert_eq!(
            upsert(Dialect::Postgres),
            format!("{insert} ON CONFLICT (a, b) DO UPDATE SET c = excluded.c")
        );
        assert_eq!(upsert(Dialect::Sqlite), upsert(Dialect::Postgres));
        assert_eq!(
            upsert(Dialect::Mysql),
            format!("{insert} ON DUPLICATE KEY UPDATE c = VALUES(c)")
        );
        assert_eq!(
            Dialect::Sqlite.upsert("t", &["a"], &[], 1),
            "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO NOTHING"
        );
    }

    #[test]
    fn batches_cover_all_rows_in_powers_of_two() {
        for (rows, columns) in [(0, 3), (1, 3), (7, 3), (1000, 5), (100, 1000)] {
            let ranges: Vec<_> = Dialect::Sqlite.batches(rows, columns).collect();
            assert_eq!(
                ranges.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..rows).collect::<Vec<_>>()
            );
            for range in ranges {
                assert!(range.len().is_power_of_two() && range.len() * columns <= PARAMETERS);
            }
        }
    }
}
