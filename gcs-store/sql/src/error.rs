//! What can go wrong with the database, in terms of what a caller may do next.
//!
//! Drivers report by SQLSTATE, by number or by a broken socket; `classify`
//! turns all of them into a handful of cases. The rule for the two that matter
//! most: an error is [`Error::Unavailable`] (or [`Error::Deadline`]) unless the
//! database said itself that nothing was done.

use std::{error::Error as StdError, time::Duration};

use sqlx::error::DatabaseError;

/// An error below ours.
pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It did not answer, or broke off. Whether a write was done is unknown;
    /// retry what may be done twice.
    #[error("database is not available")]
    Unavailable {
        /// What happened.
        #[source]
        source: Source,
    },
    /// It did not answer in time. Whether a write was done is unknown; retry
    /// what may be done twice.
    #[error("database did not answer within {0:?}")]
    Deadline(Duration),
    /// Another transaction was in the way; nothing was done. Retry.
    #[error("transaction conflicts with another")]
    Conflict {
        /// What the database said.
        #[source]
        source: Source,
    },
    /// A row with this key exists; nothing was done.
    #[error("row with this key exists already")]
    Duplicate {
        /// What the database said, which names the key.
        #[source]
        source: Source,
    },
    /// A newer holder has taken over: stop writing.
    #[error("{name} was taken over: held at epoch {held}, now at {current}")]
    Stale {
        /// What was held.
        name: String,
        /// The epoch it was held at.
        held: i64,
        /// The epoch that holds now.
        current: i64,
    },
    /// The disk is full or the database read-only; nothing was done. Retry
    /// later, and say so loudly.
    #[error("database takes no writes")]
    Full {
        /// What the database said.
        #[source]
        source: Source,
    },
    /// What was asked for is older than what is kept. Start from the present.
    #[error("history before revision {oldest} is gone")]
    Compacted {
        /// The oldest revision that is kept.
        oldest: i64,
    },
    /// The lease ran out by the database's clock, or was revoked. Get another.
    #[error("lease {lease} has lapsed")]
    LeaseLapsed {
        /// Which.
        lease: i64,
    },
    /// Something is over its bound; nothing was done. Do not retry.
    #[error("{what} has a size of {size}, at most {limit} is allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A wrong address, wrong SQL, a value that does not fit. Do not retry.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What the driver or the database said.
        #[source]
        source: Option<Source>,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody's doing.
    ///
    /// Says nothing about whether it was done already: see the variants.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Deadline(_)
            | Self::Conflict { .. }
            | Self::Full { .. } => true,
            Self::Duplicate { .. }
            | Self::Stale { .. }
            | Self::Compacted { .. }
            | Self::LeaseLapsed { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// Whether a write may have been done in spite of the error.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Deadline(_))
    }

    /// An [`Error::Invalid`] without a source.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable {
            source: source.into(),
        }
    }

    /// Whether the connection may not be used again: its state is unknown, or
    /// it leads to a server that cannot be written to (a replica, mostly).
    pub(crate) fn spoils_connection(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Deadline(_) | Self::Full { .. }
        )
    }
}

/// What an error of the driver means. `deadline` is what a statement had.
pub(crate) fn classify(error: sqlx::Error, deadline: Duration) -> Error {
    let case = match &error {
        sqlx::Error::Database(said) => case(said.as_ref()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Case::Unavailable,
        _ => Case::Invalid,
    };
    let source = error.into();
    match case {
        Case::Unavailable => Error::Unavailable { source },
        Case::Deadline => Error::Deadline(deadline),
        Case::Conflict => Error::Conflict { source },
        Case::Duplicate => Error::Duplicate { source },
        Case::Full => Error::Full { source },
        Case::Invalid => Error::Invalid {
            what: "database refused the statement".into(),
            source: Some(source),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Unavailable,
    Deadline,
    Conflict,
    Duplicate,
    Full,
    Invalid,
}

fn case(said: &dyn DatabaseError) -> Case {
    let code = said.code().unwrap_or_default();
    if said
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .is_some()
    {
        postgres(&code)
    } else if let Some(said) = said.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        mysql(said.number())
    } else {
        sqlite(code.parse().unwrap_or_default())
    }
}

/// Source: PostgreSQL documentation, appendix A.
fn postgres(sqlstate: &str) -> Case {
    match sqlstate {
        "23505" => Case::Duplicate,
        // serialization failure, deadlock, lock not available
        "40001" | "40P01" | "55P03" => Case::Conflict,
        // statement_timeout
        "57014" => Case::Deadline,
        // disk full, read-only transaction
        "53100" | "25006" => Case::Full,
        // idle-in-transaction timeout; the server broke the connection
        "25P03" => Case::Unavailable,
        // connection, insufficient resources, operator intervention, system
        _ if ["08", "53", "57", "58"].contains(&sqlstate.get(..2).unwrap_or_default()) => {
            Case::Unavailable
        }
        _ => Case::Invalid,
    }
}

/// Source: the error references of MySQL 8 and MariaDB.
fn mysql(number: u16) -> Case {
    match number {
        1022 | 1062 | 1169 | 1586 | 1859 => Case::Duplicate,
        // record has changed, lock wait timeout, deadlock, to be prepared
        // again, NOWAIT
        1020 | 1205 | 1213 | 1615 | 3572 => Case::Conflict,
        // interrupted, max_statement_time, max_execution_time
        1317 | 1969 | 3024 => Case::Deadline,
        // disk full, table full, --read-only, read-only transaction and mode
        1021 | 1114 | 1290 | 1792 | 1836 => Case::Full,
        // too many connections, shutdown, network, resources, killed, idle
        1040 | 1053 | 1077..=1080 | 1129 | 1152..=1161 | 1203 | 1226 | 1927 | 4031 => {
            Case::Unavailable
        }
        _ => Case::Invalid,
    }
}

/// Source: <https://www.sqlite.org/rescode.html>. The low byte is the primary
/// code.
fn sqlite(code: i32) -> Case {
    match (code, code & 0xff) {
        // primary key, unique, rowid
        (1555 | 2067 | 2579, _) => Case::Duplicate,
        // busy, locked, protocol (a race for the write-ahead log)
        (_, 5 | 6 | 15) => Case::Conflict,
        (_, 9) => Case::Deadline,
        // read-only, full
        (_, 8 | 13) => Case::Full,
        // out of memory, input or output error, cannot open
        (_, 7 | 10 | 14) => Case::Unavailable,
        _ => Case::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_breaks_off_leaves_the_outcome_open() {
        for error in [
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            sqlx::Error::WorkerCrashed,
        ] {
            let error = classify(error, Duration::from_secs(1));
            assert!(error.is_unknown() && error.is_transient(), "{error:?}");
        }
    }

    #[test]
    fn codes_of_all_databases_mean_the_same() {
        for (case, sqlstate, number, code) in [
            (Case::Duplicate, "23505", 1062, 1555),
            (Case::Conflict, "40P01", 1213, 517),
            (Case::Full, "53100", 1021, 13),
            (Case::Deadline, "57014", 1969, 9),
            (Case::Unavailable, "57P01", 1053, 10),
            (Case::Invalid, "42601", 1064, 1),
        ] {
            assert_eq!(
                (postgres(sqlstate), mysql(number), sqlite(code)),
                (case, case, case)
            );
        }
    }
}
