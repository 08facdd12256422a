//! A table of many rows, read to its end as a head does when it starts.

use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use resp::{Client, Reply, Target};

use super::{Conductor, Load, Outcome};

/// Bytes of a row's value; with its field some 400 a row.
const VALUE_BYTES: usize = 372;

/// Bytes of a row's field, as of a worker.
const FIELD_BYTES: usize = 28;

/// Scans a round.
const TIMES: usize = 3;

/// Rows written without waiting.
const BATCH: usize = 1000;

pub(super) async fn run(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let target = Target::new(load.target.to_string()).deadline(Duration::from_secs(60));
    let mut client = Client::connect(&target).await.map_err(io::Error::other)?;
    let key = format!("RAYscan-{}@WORKERS", load.rows);
    fill(&mut client, &key, load.rows).await?;
    scan(&mut client, &key).await?;

    conductor.ready()?;
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let asked = Instant::now();
        let pages = scan(&mut client, &key).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        let fields: BTreeSet<&Bytes> = pages.iter().flatten().step_by(2).collect();
        let bytes: usize = pages.iter().flatten().map(Bytes::len).sum();
        if fields.len() == load.rows && bytes == load.rows * (FIELD_BYTES + VALUE_BYTES) {
            outcome.done += 1;
        } else {
            outcome.fail(&format!(
                "a scan brought {} rows, {bytes} bytes",
                fields.len()
            ));
        }
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    outcome.keep(times);
    Ok(outcome)
}

/// Writes the rows that are missing.
async fn fill(client: &mut Client, key: &str, rows: usize) -> io::Result<()> {
    let mut random = fastrand::Rng::with_seed(rows as u64);
    let mut batch: Vec<Vec<Bytes>> = Vec::new();
    for row in 0..rows {
        let mut field = [0; FIELD_BYTES];
        random.fill(&mut field);
        let mut value = [0; VALUE_BYTES];
        random.fill(&mut value);
        batch.push(vec![
            Bytes::from_static(b"HSET"),
            Bytes::copy_from_slice(key.as_bytes()),
            Bytes::copy_from_slice(&field),
            Bytes::copy_from_slice(&value),
        ]);
        if batch.len() == BATCH || row + 1 == rows {
            let replies = client.pipeline(&batch).await.map_err(io::Error::other)?;
            if let Some(odd) = replies.iter().find(|it| !matches!(it, Reply::Int(0 | 1))) {
                return Err(io::Error::other(format!("a write was answered {odd:?}")));
            }
            batch.clear();
        }
    }
    Ok(())
}

/// All pages: field, value, field, value.
async fn scan(client: &mut Client, key: &str) -> io::Result<Vec<Vec<Bytes>>> {
    let mut pages = Vec::new();
    let mut cursor = Bytes::from_static(b"0");
    loop {
        let command = [b"HSCAN", key.as_bytes(), &cursor, b"COUNT", b"1000"];
        let reply = client.call(&command).await.map_err(io::Error::other)?;
        let odd = || io::Error::other("a scan was not answered with a page");
        let Reply::Array(mut parts) = reply else {
            return Err(odd());
        };
        let (Some(Reply::Array(items)), Some(Reply::Bulk(next)), None) =
            (parts.pop(), parts.pop(), parts.pop())
        else {
            return Err(odd());
        };
        let page = items.into_iter().map(|item| match item {
            Reply::Bulk(bytes) => Ok(bytes),
            _ => Err(odd()),
        });
        pages.push(page.collect::<io::Result<_>>()?);
        cursor = next;
        if cursor == "0" {
            return Ok(pages);
        }
    }
}
