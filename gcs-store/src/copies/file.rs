//! Backups as files: written, verified, read line by line.
//!
//! Memory is bounded by one line, whatever the file claims.

use std::collections::BTreeMap;

use ray_tables::TableName;
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt};

use super::{
    Error,
    format::{Broken, Decoder, Encoder, Header, Item, Key, LINE_MAX, PIECE_MAX, Trailer},
    picture::{Fingerprint, Picture},
};

/// Reads a backup.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    decoder: Decoder,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`Broken`]; what the system says.
    pub(crate) async fn begin(mut from: R) -> Result<(Self, Header), Error> {
        let mut line = Vec::new();
        read_line(&mut from, &mut line).await?;
        let (decoder, header) = Decoder::begin(&line)?;
        let reader = Self {
            from,
            decoder,
            line,
        };
        Ok((reader, header))
    }

    /// The next item; nothing behind the last line.
    ///
    /// # Errors
    /// [`Broken`]; what the system says. Nothing read before may be kept then.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Error> {
        read_line(&mut self.from, &mut self.line).await?;
        Ok(self.decoder.next(Some(&self.line))?)
    }
}

/// Reads a line with its end, or what there is of one.
async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<(), Error> {
    line.clear();
    let most = LINE_MAX as u64 + 1;
    from.take(most).read_until(b'\n', line).await?;
    if line.len() > LINE_MAX {
        return Err(Broken::Long.into());
    }
    Ok(())
}

/// Writes a backup.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    to: W,
    encoder: Encoder,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes the first line.
    pub(crate) async fn begin(mut to: W, header: &Header) -> Result<Self, Error> {
        let (encoder, line) = Encoder::begin(header);
        to.write_all(&line).await?;
        Ok(Self { to, encoder })
    }

    /// Writes a row with its value.
    pub(crate) async fn row(&mut self, key: &Key, value: &[u8]) -> Result<(), Error> {
        let line = self.encoder.row(key, value);
        Ok(self.to.write_all(&line).await?)
    }

    /// Writes a row whose value follows in pieces.
    pub(crate) async fn large(&mut self, key: &Key, value: Fingerprint) -> Result<(), Error> {
        let line = self.encoder.large(key, value);
        Ok(self.to.write_all(&line).await?)
    }

    /// Writes a piece of a value.
    pub(crate) async fn piece(&mut self, piece: &[u8]) -> Result<(), Error> {
        for piece in piece.chunks(PIECE_MAX) {
            let line = self.encoder.chunk(piece);
            self.to.write_all(&line).await?;
        }
        Ok(())
    }

    /// Writes the last line.
    pub(crate) async fn end(mut self) -> Result<Trailer, Error> {
        let (trailer, line) = self.encoder.end();
        self.to.write_all(&line).await?;
        self.to.flush().await?;
        Ok(trailer)
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its first line.
    pub header: Header,
    /// Its last line.
    pub trailer: Trailer,
    /// Rows by table.
    pub tables: BTreeMap<TableName, u64>,
}

/// Reads a whole backup and checks it.
///
/// # Errors
/// [`Broken`] if it was cut off or changed; what the system says.
pub async fn verify(from: impl AsyncBufRead + Unpin) -> Result<Verified, Error> {
    let mut tables: BTreeMap<TableName, u64> = BTreeMap::new();
    let (header, trailer) = read(from, |key, _| *tables.entry(key.table).or_default() += 1).await?;
    Ok(Verified {
        header,
        trailer,
        tables,
    })
}

/// The fingerprints of all rows of a backup, and its first line.
///
/// # Errors
/// As [`verify`].
pub async fn picture(from: impl AsyncBufRead + Unpin) -> Result<(Header, Picture), Error> {
    let mut picture = Picture::default();
    let (header, _) = read(from, |key, value| {
        picture.add(key.table, key.field, value);
    })
    .await?;
    Ok((header, picture))
}

async fn read(
    from: impl AsyncBufRead + Unpin,
    mut row: impl FnMut(Key, Fingerprint),
) -> Result<(Header, Trailer), Error> {
    let (mut reader, header) = Reader::begin(from).await?;
    let mut end = None;
    while let Some(item) = reader.next().await? {
        match item {
            Item::Row(key, value) => row(key, Fingerprint::of(&value)),
            Item::Large(key, value) => row(key, value),
            Item::Chunk(_) => {}
            Item::End(trailer) => end = Some(trailer),
        }
    }
    let trailer = end.ok_or(Broken::Truncated { line: 1 })?;
    Ok((header, trailer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endless_line_is_refused_in_bounded_memory() {
        let endless = tokio::io::BufReader::new(tokio::io::repeat(b'x'));
        let error = verify(endless).await.unwrap_err();
        assert!(matches!(error, Error::Broken(Broken::Long)), "{error}");
    }

    #[tokio::test]
    async fn an_empty_file_is_no_backup() {
        assert!(verify(&b""[..]).await.is_err());
    }
}
