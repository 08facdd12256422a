//! A namespace in a Redis, or in another store: read and written over RESP.
//!
//! ```text
//!   SCAN MATCH RAY<namespace>@*  -> the tables
//!   HSCAN each, GET JobCounter   -> the rows
//! ```
//!
//! A scan is no snapshot: what a head writes meanwhile may or may not be seen.
//! Who reads twice and compares knows.

use std::collections::BTreeSet;

use bytes::Bytes;
use ray_tables::TableName;
use resp::{Client, Reply, client};

use super::address::Address;
use super::picture::{Fingerprint, Picture, readable};

/// Commands that are under way at once, and bytes in them, at most.
const PIPELINE: (usize, usize) = (512, 4 * 1024 * 1024);

/// Why a namespace could not be read or written over RESP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none, or what it names cannot be used.
    #[error("{what}; an address is redis://[user:password@]host[:port] or rediss://...")]
    Address {
        /// What is wrong with it.
        what: String,
    },
    /// The server cannot be reached or does not answer.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The server refused a command.
    #[error("the server answered {command} with: {text}")]
    Refused {
        /// Which.
        command: &'static str,
        /// Its words.
        text: String,
    },
    /// The server answered with something that is no answer to the question.
    #[error("the answer to {command} is not what Redis answers")]
    Answer {
        /// Which.
        command: &'static str,
    },
    /// A key that begins like Ray's and is not one.
    #[error("key {key} is not one of Ray's tables")]
    Key {
        /// For people.
        key: String,
    },
}

/// A connection, and the namespace it is about.
pub struct Remote {
    client: Client,
    prefix: String,
}

impl Remote {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn connect(address: &Address, namespace: &str) -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect(&address.0).await?,
            prefix: format!("RAY{namespace}@"),
        })
    }

    /// The tables that are there, by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tables(&mut self) -> Result<Vec<TableName>, Error> {
        let mut tables = BTreeSet::new();
        let pattern = format!("{}*", escaped(&self.prefix));
        let mut cursor = Bytes::from_static(b"0");
        loop {
            let command: [&[u8]; 6] = [
                b"SCAN",
                &cursor,
                b"MATCH",
                pattern.as_bytes(),
                b"COUNT",
                b"1000",
            ];
            let (next, keys) = page("SCAN", self.client.call(&command).await?)?;
            for key in keys {
                let table = std::str::from_utf8(&key)
                    .ok()
                    .and_then(|key| key.strip_prefix(&self.prefix))
                    .and_then(|table| TableName::new(table).ok());
                tables.insert(table.ok_or_else(|| Error::Key {
                    key: readable(&key),
                })?);
            }
            if next == "0" {
                return Ok(tables.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// One page of a table, and where the next begins; `None`: nowhere.
    ///
    /// A row may come more than once; the first counts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page(
        &mut self,
        table: &TableName,
        cursor: Bytes,
    ) -> Result<(Vec<(Bytes, Bytes)>, Option<Bytes>), Error> {
        let key = format!("{}{table}", self.prefix);
        if *table == TableName::JOB_COUNTER {
            let reply = self.client.call(&["GET", &key]).await?;
            return match said("GET", reply)? {
                Reply::Bulk(value) => Ok((vec![(Bytes::new(), value)], None)),
                Reply::Null => Ok((Vec::new(), None)),
                _ => Err(Error::Answer { command: "GET" }),
            };
        }
        let command: [&[u8]; 5] = [b"HSCAN", key.as_bytes(), &cursor, b"COUNT", b"1000"];
        let (next, items) = page("HSCAN", self.client.call(&command).await?)?;
        if items.len() % 2 != 0 {
            return Err(Error::Answer { command: "HSCAN" });
        }
        let mut items = items.into_iter();
        let mut rows = Vec::with_capacity(items.len() / 2);
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            rows.push((field, value));
        }
        Ok((rows, (next != "0").then_some(next)))
    }

    /// The fingerprints of all rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn picture(&mut self, mut seen: impl FnMut(u64)) -> Result<Picture, Error> {
        let mut picture = Picture::default();
        for table in self.tables().await? {
            let mut next = Some(Bytes::from_static(b"0"));
            while let Some(cursor) = next {
                let rows;
                (rows, next) = self.page(&table, cursor).await?;
                for (field, value) in rows {
                    picture.add(table.clone(), field, Fingerprint::of(&value));
                }
                seen(picture.rows());
            }
        }
        Ok(picture)
    }

    /// Writes rows, many under way at once. The counter is added to, so it must
    /// not be there.
    ///
    /// # Errors
    /// See [`Error`]; what was written stays.
    pub async fn write(&mut self, rows: &[(TableName, Bytes, Bytes)]) -> Result<(), Error> {
        let commands: Vec<Vec<Bytes>> = rows
            .iter()
            .map(|(table, field, value)| {
                let key = Bytes::from(format!("{}{table}", self.prefix));
                if *table == TableName::JOB_COUNTER {
                    vec![Bytes::from_static(b"INCRBY"), key, value.clone()]
                } else {
                    let verb = Bytes::from_static(b"HSET");
                    vec![verb, key, field.clone(), value.clone()]
                }
            })
            .collect();
        for reply in self.client.pipeline(&commands).await? {
            match said("HSET", reply)? {
                Reply::Int(_) => {}
                _ => return Err(Error::Answer { command: "HSET" }),
            }
        }
        Ok(())
    }
}

/// Whether so many rows of so many bytes are enough for one [`Remote::write`].
#[must_use]
pub(crate) fn is_full(rows: usize, bytes: usize) -> bool {
    rows >= PIPELINE.0 || bytes >= PIPELINE.1
}

/// `text` as a pattern that matches just it, escaped the way Ray does.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if matches!(char, '[' | ']' | '-' | '?' | '*' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

fn said(command: &'static str, reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Error(text) => Err(Error::Refused {
            command,
            text: text.into_owned(),
        }),
        reply => Ok(reply),
    }
}

/// What SCAN and HSCAN answer: the next cursor, and items.
fn page(command: &'static str, reply: Reply) -> Result<(Bytes, Vec<Bytes>), Error> {
    let wrong = || Error::Answer { command };
    let Reply::Array(parts) = said(command, reply)? else {
        return Err(wrong());
    };
    let [Reply::Bulk(cursor), Reply::Array(items)] =
        <[Reply; 2]>::try_from(parts).map_err(|_| wrong())?
    else {
        return Err(wrong());
    };
    let items = items
        .into_iter()
        .map(|item| match item {
            Reply::Bulk(bytes) => Ok(bytes),
            _ => Err(wrong()),
        })
        .collect::<Result<_, _>>()?;
    Ok((cursor, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_no_pattern() {
        assert_eq!(escaped("RAYa-b*[c]@"), r"RAYa\-b\*\[c\]@");
        let pattern = resp::Pattern::parse(format!("{}*", escaped("RAYa-b*[c]@")).as_bytes());
        assert!(pattern.matches(b"RAYa-b*[c]@KV"));
        assert!(!pattern.matches(b"RAYa-bx[c]@KV"));
    }
}
