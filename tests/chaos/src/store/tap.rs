//! Stands between a head and its store and writes down what is said.
//!
//! ```text
//!   gcs_server ----> tap ----> store
//!              <----     <----
//! ```
//!
//! A command is noted before it goes on, a reply when it has come, so what was
//! sent after another's reply had come was sent after that one had been done.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use super::wire::Reply;

/// One command and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it went to the store.
    pub sent: Instant,
    /// Its words.
    pub words: Vec<Vec<u8>>,
    /// The reply and when it came.
    pub reply: Option<(Instant, Reply)>,
}

type Record = Arc<Mutex<Vec<Exchange>>>;
/// Places in the record of the commands of one connection without a reply yet.
type Open = Arc<Mutex<VecDeque<usize>>>;

/// A listener that passes everything on. Ends with its guard.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    record: Record,
    task: JoinHandle<()>,
}

impl Tap {
    /// Listens on a free port, in front of `store`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(store: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let record = Record::default();
        let shared = Arc::clone(&record);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, store, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            record,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was said so far, in the order in which it was sent.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, store: SocketAddr, record: Record) -> Result<()> {
    let store = TcpStream::connect(store).await?;
    client.set_nodelay(true)?;
    store.set_nodelay(true)?;
    let ((from_client, to_client), (from_store, to_store)) =
        (client.into_split(), store.into_split());
    let open = Open::default();
    // Whoever closes first, both ends are closed.
    tokio::select! {
        done = requests(from_client, to_store, Arc::clone(&record), Arc::clone(&open)) => done,
        done = replies(from_store, to_client, record, open) => done,
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    record: Record,
    open: Open,
) -> Result<()> {
    let mut held = Vec::new();
    while from.read_buf(&mut held).await? > 0 {
        let mut taken = 0;
        while taken < held.len()
            && let Some((request, length)) = Reply::parse(&held[taken..])?
        {
            taken += length;
            note(request, &record, &open);
        }
        to.write_all(&held[..taken]).await?;
        held.drain(..taken);
    }
    Ok(())
}

fn note(request: Reply, record: &Record, open: &Open) {
    let words = match request {
        Reply::Array(words) => words
            .into_iter()
            .map(|word| match word {
                Reply::Bulk(bytes) => bytes,
                other => format!("{other:?}").into_bytes(),
            })
            .collect(),
        other => vec![format!("{other:?}").into_bytes()],
    };
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    record.push(Exchange {
        sent: Instant::now(),
        words,
        reply: None,
    });
    open.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push_back(record.len() - 1);
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    record: Record,
    open: Open,
) -> Result<()> {
    let mut held = Vec::new();
    while from.read_buf(&mut held).await? > 0 {
        let mut taken = 0;
        while taken < held.len()
            && let Some((reply, length)) = Reply::parse(&held[taken..])?
        {
            taken += length;
            let place = open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            if let Some(place) = place {
                record.lock().unwrap_or_else(PoisonError::into_inner)[place].reply =
                    Some((Instant::now(), reply));
            }
        }
        to.write_all(&held[..taken]).await?;
        held.drain(..taken);
    }
    Ok(())
}

impl Exchange {
    /// Whether it changes something, the question a head asks at its start
    /// aside.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let verb = self.words.first().map(Vec::as_slice).unwrap_or_default();
        let dummy = self.words.get(1).is_some_and(|word| word == b"DUMMY");
        matches!(
            verb,
            b"HSET" | b"HSETNX" | b"HDEL" | b"INCRBY" | b"DEL" | b"UNLINK"
        ) && !dummy
    }

    /// When it was answered as done, if it was.
    #[must_use]
    pub fn done(&self) -> Option<Instant> {
        match &self.reply {
            Some((at, Reply::Number(_))) => Some(*at),
            _ => None,
        }
    }
}

/// The writes of the older head that were sent after the newer one's first was
/// done, and done all the same. None if the newer one wrote nothing.
#[must_use]
pub fn late_writes(older: &[Exchange], newer: &[Exchange]) -> Option<Vec<Exchange>> {
    let writes = newer.iter().filter(|one| one.is_write());
    let first = writes.filter_map(Exchange::done).min()?;
    let late = older
        .iter()
        .filter(|one| one.is_write() && one.sent > first && one.done().is_some());
    Some(late.cloned().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(base: Instant, sent: u64, done: Option<u64>) -> Exchange {
        let at = |ms| base + Duration::from_millis(ms);
        Exchange {
            sent: at(sent),
            words: ["HSET", "RAYx@KV", "f", "v"].map(Into::into).into(),
            reply: done.map(|ms| (at(ms), Reply::Number(1))),
        }
    }

    #[test]
    fn a_write_after_the_newer_heads_first_is_seen() {
        let base = Instant::now();
        let newer = [write(base, 10, Some(12)), write(base, 20, Some(22))];
        let fine = [
            write(base, 1, Some(2)),
            write(base, 11, Some(13)),
            write(base, 15, None),
        ];
        assert!(late_writes(&fine, &newer).unwrap().is_empty());
        assert_eq!(
            late_writes(&[write(base, 13, Some(14))], &newer)
                .unwrap()
                .len(),
            1
        );
        assert!(late_writes(&fine, &[write(base, 1, None)]).is_none());
    }
}
