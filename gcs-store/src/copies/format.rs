//! The file a backup is: lines of JSON.
//!
//! ```text
//!   {"format":"tradewind-store-backup","version":1,"namespace":"prod",...}
//!   {"table":"KV","field":"Zg==","value":"AAE=","updated_ms":1}
//!   {"table":"KV","field":"Zw==","size":700000,"blake3":"...",...}   a large value,
//!   {"chunk":"..."}                                                  its pieces
//!   {"chunk":"..."}                                                  in order
//!   {"rows":2,"bytes":700002,"blake3":"..."}
//! ```
//!
//! Fields and values are Base64, because they are bytes. Lines, so that any
//! tool can count and pick rows, and so that neither end ever holds more than
//! one piece of a value. The hash finds accidents, not forgers: who can change
//! the file can change the hash in it. Pure: who calls moves the bytes.
//!
//! Invariants:
//! 1. No line is longer than [`LINE_MAX`] (`no_line_is_longer_than_the_bound`).
//! 2. Rows come in the order of table and field, so none comes twice.
//! 3. Whatever was changed or cut off is noticed: the last line holds the
//!    BLAKE3 hash of all lines before it (`a_changed_byte_is_noticed`,
//!    `a_file_cut_anywhere_is_noticed`).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use ray_tables::{NamespaceName, TableName};
use serde::{Deserialize, Serialize};

use super::picture::Fingerprint;

/// What the first line calls the format.
pub const FORMAT: &str = "tradewind-store-backup";

/// The newest version of the format; the only one so far.
pub const VERSION: u32 = 1;

/// Bytes of a value in one line, at most.
pub const PIECE_MAX: usize = 512 * 1024;

/// Bytes of a line, at most, its end included.
pub const LINE_MAX: usize = 1024 * 1024;

/// Why a file is not a backup to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line is not what has to stand there.
    #[error("line {line} of the backup is {what}")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It was written by a newer version.
    #[error("the backup has version {version} of the format, known is {VERSION}")]
    Version {
        /// What it says.
        version: u32,
    },
    /// A line is longer than any line of a backup.
    #[error("backup has a line longer than {LINE_MAX} bytes")]
    Long,
    /// It ends before its last line.
    #[error("the backup is cut off after line {line}")]
    Truncated {
        /// How many lines there are.
        line: u64,
    },
    /// Its content is not what was written.
    #[error("the backup was changed after it was written: its hash does not match")]
    Changed,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`FORMAT`].
    pub format: String,
    /// Of the format.
    pub version: u32,
    /// What was copied.
    pub namespace: NamespaceName,
    /// The moment the rows are of, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The same for people, in UTC.
    pub at: String,
    /// What it was copied from, such as `sqlite`.
    pub source: String,
    /// Ray's id of the cluster, in Base64.
    pub cluster_id: Option<String>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// How many rows.
    pub rows: u64,
    /// Bytes of all fields and values.
    pub bytes: u64,
    /// BLAKE3 of all lines before this one, in hexadecimal.
    pub blake3: String,
}

#[derive(Serialize, Deserialize)]
struct RowLine<'a> {
    table: TableName,
    field: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    updated_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct ChunkLine {
    chunk: String,
}

/// One row but for its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Of which table.
    pub table: TableName,
    /// Its field; empty for the counter.
    pub field: Bytes,
    /// When it was written, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A row with its value.
    Row(Key, Bytes),
    /// A row with a value like this, whose pieces follow.
    Large(Key, Fingerprint),
    /// The next piece of the last [`Item::Large`].
    Chunk(Bytes),
    /// The end: all is well.
    End(Trailer),
}

/// Makes the lines.
#[derive(Debug, Default)]
pub struct Encoder {
    hash: blake3::Hasher,
    rows: u64,
    bytes: u64,
}

impl Encoder {
    /// The first line, and what makes those after it.
    #[must_use]
    pub fn begin(header: &Header) -> (Self, Bytes) {
        let mut this = Self::default();
        let line = this.line(header);
        (this, line)
    }

    /// A row whose value is at most [`PIECE_MAX`] bytes.
    pub fn row(&mut self, key: &Key, value: &[u8]) -> Bytes {
        self.count(key, value.len() as u64);
        self.line(&RowLine {
            table: key.table.clone(),
            field: BASE64.encode(&key.field).into(),
            value: Some(BASE64.encode(value)),
            size: None,
            blake3: None,
            updated_ms: key.updated_ms,
        })
    }

    /// A row whose value, not an empty one, follows by [`Self::chunk`].
    pub fn large(&mut self, key: &Key, value: Fingerprint) -> Bytes {
        self.count(key, value.size);
        self.line(&RowLine {
            table: key.table.clone(),
            field: BASE64.encode(&key.field).into(),
            value: None,
            size: Some(value.size),
            blake3: Some(value.hash().to_hex().to_string()),
            updated_ms: key.updated_ms,
        })
    }

    /// The next piece of the last large value, at most [`PIECE_MAX`] bytes.
    pub fn chunk(&mut self, piece: &[u8]) -> Bytes {
        self.line(&ChunkLine {
            chunk: BASE64.encode(piece),
        })
    }

    /// The last line, and what it says.
    #[must_use]
    pub fn end(mut self) -> (Trailer, Bytes) {
        let trailer = Trailer {
            rows: self.rows,
            bytes: self.bytes,
            blake3: self.hash.finalize().to_hex().to_string(),
        };
        let line = self.line(&trailer);
        (trailer, line)
    }

    fn count(&mut self, key: &Key, size: u64) {
        self.rows += 1;
        self.bytes += key.field.len() as u64 + size;
    }

    fn line(&mut self, line: &impl Serialize) -> Bytes {
        let mut text =
            serde_json::to_vec(line).expect("text, numbers and nothing else are always JSON");
        text.push(b'\n');
        self.hash.update(&text);
        text.into()
    }
}

/// A large value that is being read.
#[derive(Debug)]
struct Large {
    /// Bytes still to come.
    owed: u64,
    /// Of those that came.
    hash: blake3::Hasher,
    expected: blake3::Hash,
}

/// Reads the lines, and believes none before the last.
#[derive(Debug)]
pub struct Decoder {
    hash: blake3::Hasher,
    line: u64,
    rows: u64,
    bytes: u64,
    large: Option<Large>,
    last: Option<(TableName, Bytes)>,
    ended: bool,
}

impl Decoder {
    /// Reads the first line, its end included.
    ///
    /// # Errors
    /// [`Broken`] if it is not the first line of a backup of a known version.
    pub fn begin(line: &[u8]) -> Result<(Self, Header), Broken> {
        let mut this = Self {
            hash: blake3::Hasher::new(),
            line: 1,
            rows: 0,
            bytes: 0,
            large: None,
            last: None,
            ended: false,
        };
        let header: Header = this.parse(line, "not the first line of a backup")?;
        if header.format != FORMAT {
            return Err(this.wrong("not the first line of a backup"));
        }
        if header.version != VERSION {
            return Err(Broken::Version {
                version: header.version,
            });
        }
        this.hash.update(line);
        Ok((this, header))
    }

    /// Reads the next line, its end included; nothing says the file has ended.
    ///
    /// # Errors
    /// [`Broken`]; nothing read before may be kept then.
    pub fn next(&mut self, line: Option<&[u8]>) -> Result<Option<Item>, Broken> {
        let Some(line) = line.filter(|line| !line.is_empty()) else {
            return if self.ended {
                Ok(None)
            } else {
                Err(Broken::Truncated { line: self.line })
            };
        };
        self.line += 1;
        if self.ended {
            return Err(self.wrong("behind the end"));
        }
        if line.last() != Some(&b'\n') {
            return Err(Broken::Truncated {
                line: self.line - 1,
            });
        }
        let item = if line.starts_with(b"{\"table\"") {
            self.row(line)?
        } else if line.starts_with(b"{\"chunk\"") {
            self.chunk(line)?
        } else {
            self.end(line)?
        };
        self.hash.update(line);
        Ok(Some(item))
    }

    fn row(&mut self, line: &[u8]) -> Result<Item, Broken> {
        if self.large.is_some() {
            return Err(self.wrong("a row where a piece of a value is due"));
        }
        let row: RowLine<'_> = self.parse(line, "not a row")?;
        let key = Key {
            table: row.table,
            field: self.decode(&row.field)?,
            updated_ms: row.updated_ms,
        };
        let place = (key.table.clone(), key.field.clone());
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(self.wrong("a row out of order"));
        }
        self.last = Some(place);
        self.rows += 1;
        self.bytes += key.field.len() as u64;
        let expected = row.blake3.and_then(|it| blake3::Hash::from_hex(it).ok());
        match (row.value, row.size, expected) {
            (Some(value), None, None) => {
                let value = self.decode(&value)?;
                self.bytes += value.len() as u64;
                Ok(Item::Row(key, value))
            }
            (None, Some(size), Some(expected)) if size > 0 => {
                self.large = Some(Large {
                    owed: size,
                    hash: blake3::Hasher::new(),
                    expected,
                });
                self.bytes = self.bytes.saturating_add(size);
                let blake3 = *expected.as_bytes();
                Ok(Item::Large(key, Fingerprint { size, blake3 }))
            }
            _ => Err(self.wrong("a row without a value")),
        }
    }

    fn chunk(&mut self, line: &[u8]) -> Result<Item, Broken> {
        let chunk: ChunkLine = self.parse(line, "not a piece of a value")?;
        let piece = self.decode(&chunk.chunk)?;
        let no_value = self.wrong("a piece of no value");
        let Some(large) = self
            .large
            .as_mut()
            .filter(|large| !piece.is_empty() && piece.len() as u64 <= large.owed)
        else {
            return Err(no_value);
        };
        large.owed -= piece.len() as u64;
        large.hash.update(&piece);
        if large.owed == 0 {
            if large.hash.finalize() != large.expected {
                return Err(Broken::Changed);
            }
            self.large = None;
        }
        Ok(Item::Chunk(piece))
    }

    fn end(&mut self, line: &[u8]) -> Result<Item, Broken> {
        let trailer: Trailer = self.parse(line, "neither a row nor the end")?;
        if self.large.is_some() {
            return Err(self.wrong("the end where a piece of a value is due"));
        }
        let hash = self.hash.finalize().to_hex();
        if *hash.as_str() != *trailer.blake3
            || (self.rows, self.bytes) != (trailer.rows, trailer.bytes)
        {
            return Err(Broken::Changed);
        }
        self.ended = true;
        Ok(Item::End(trailer))
    }

    fn parse<'a, T: Deserialize<'a>>(
        &self,
        line: &'a [u8],
        what: &'static str,
    ) -> Result<T, Broken> {
        serde_json::from_slice(line).map_err(|_| self.wrong(what))
    }

    fn decode(&self, text: &str) -> Result<Bytes, Broken> {
        BASE64
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| self.wrong("not Base64"))
    }

    fn wrong(&self, what: &'static str) -> Broken {
        Broken::Line {
            line: self.line,
            what,
        }
    }
}

#[cfg(test)]
mod tests;
