//! The recording, read and completed; and what it says a reply must be.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use resp::Reply;
use serde_json::Value;

use super::{Seen, reply_of};

/// How many `@namespace_cov:many:*` there were.
const MANY: usize = 2500;

/// One command of the recording, complete.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Its place.
    pub(crate) seq: u64,
    /// Of which recording: drill, coverage, cleanup, cleanup_unlink, auth.
    pub(crate) part: String,
    /// On which connection.
    pub(crate) connection: u64,
    /// The verb and its arguments.
    pub(crate) arguments: Vec<Bytes>,
    /// How often in a row.
    pub(crate) count: usize,
    /// What Redis answered; null for what was thinned out.
    reply: Value,
    /// Items of all pages, for a scan.
    items: u64,
}

impl Command {
    /// The verb.
    pub(crate) fn verb(&self) -> &str {
        std::str::from_utf8(&self.arguments[0]).expect("verbs of the recording are text")
    }

    /// Whether it is the beginning of a scan.
    pub(crate) fn scans(&self) -> bool {
        matches!(self.verb(), "SCAN" | "HSCAN")
    }

    fn new(part: &str, seq: u64, arguments: &[&[u8]]) -> Self {
        Self {
            seq,
            part: part.to_owned(),
            connection: u64::MAX,
            arguments: arguments
                .iter()
                .map(|it| Bytes::copy_from_slice(it))
                .collect(),
            count: 1,
            reply: Value::Null,
            items: 0,
        }
    }

    /// Compares what a server said with what Redis said when it was recorded.
    pub(crate) fn agrees(&self, seen: &Seen) -> Result<()> {
        let recorded = &self.reply;
        match (recorded["type"].as_str(), seen) {
            (None, _) => Ok(()),
            (Some("scan"), Seen::Keys(keys)) => self.has_items(keys.len() as u64),
            (Some("scan"), Seen::Fields(fields)) => {
                self.has_items(2 * fields.len() as u64)?;
                for pair in recorded["first"]
                    .as_array()
                    .context("items")?
                    .chunks_exact(2)
                {
                    let field = fields.get(&bytes(&pair[0])?);
                    same(&pair[1], field.context("a field is missing")?)?;
                }
                Ok(())
            }
            (Some(kind), Seen::Frame(frame)) => {
                if self.count > 1 {
                    ensure!(*frame == "+PONG\r\n".repeat(self.count), "not only PONG");
                    return Ok(());
                }
                let size = self.reply_size()?;
                ensure!(
                    frame.len() as u64 == size,
                    "{} bytes instead of {size}",
                    frame.len()
                );
                let reply = reply_of(frame).context("no reply")?;
                same_reply(kind, recorded, &reply)
            }
            (Some(kind), _) => bail!("{kind} expected"),
        }
    }

    fn has_items(&self, seen: u64) -> Result<()> {
        ensure!(seen == self.items, "{seen} items instead of {}", self.items);
        Ok(())
    }

    fn reply_size(&self) -> Result<u64> {
        self.reply["resp_bytes"].as_u64().context("resp_bytes")
    }
}

/// The commands of `parts`, with what they need in front of them.
pub(crate) fn recorded(parts: &[&str]) -> Result<Vec<Command>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/redis-trace.jsonl");
    let text = std::fs::read_to_string(file).context(file)?;
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let mut free = unlisted(&lines)?;
    let mut commands: Vec<Command> = Vec::new();
    for mut line in lines {
        let part = line["part"].as_str().context("part")?.to_owned();
        if !parts.contains(&&*part) {
            continue;
        }
        let seq = line["seq"].as_u64().context("seq")?;
        if commands.last().is_none_or(|last| last.part != part) {
            commands.extend(prepared(&part));
        }
        let cmd = line["cmd"].as_str().context("cmd")?.to_owned();
        let listed = line["args"].as_array().context("args")?;
        let mut arguments = vec![Bytes::from(cmd.clone())];
        for argument in listed {
            arguments.push(bytes(argument)?);
        }
        if let Some(whole) = line["nargs"].as_u64() {
            complete(&mut arguments, usize::try_from(whole)?, &mut free)?;
        }
        let request = wire_size(&arguments);
        ensure!(
            Some(request) == line["req_bytes"].as_u64(),
            "command {seq}: {request} bytes"
        );
        let items = line["reply"]["items"].as_u64().unwrap_or(0);
        // A later page belongs to the scan that began before it.
        if cmd == "HSCAN" && arguments[2] != "0" {
            let first = commands
                .last_mut()
                .context("a scan without its beginning")?;
            first.items += items;
            continue;
        }
        let mut reply = line["reply"].take();
        reply["resp_bytes"] = line["resp_bytes"].take();
        commands.push(Command {
            seq,
            part,
            connection: line["conn"].as_u64().context("conn")?,
            arguments,
            count: usize::try_from(line["count"].as_u64().unwrap_or(1))?,
            reply,
            items,
        });
    }
    ensure!(!commands.is_empty(), "no such parts: {parts:?}");
    Ok(commands)
}

/// What a part reads and the recording does not show being written.
fn prepared(part: &str) -> Vec<Command> {
    // Behind all numbers of the recording, and each part's behind the others'.
    let mut seq = 1_000_000 * part.len() as u64;
    let mut command = |arguments: &[&[u8]]| {
        seq += 1;
        Command::new(part, seq, arguments)
    };
    match part {
        "coverage" => (5..MANY)
            .map(|number| command(&[b"HSET", b"RAYexpA@KV", many(number).as_bytes(), &[b'x'; 50]]))
            .collect(),
        "cleanup" => {
            let mut commands = vec![command(&[b"INCRBY", b"RAYexpA@JobCounter", b"1"])];
            for table in [
                "PLACEMENT_GROUP",
                "ACTOR_TASK_SPEC",
                "JOB",
                "ACTOR",
                "KV",
                "WORKERS",
                "NODE",
            ] {
                let key = format!("RAYexpA@{table}");
                commands.push(command(&[b"HSET", key.as_bytes(), b"field", b"value"]));
            }
            commands
        }
        "cleanup_unlink" => vec![command(&[b"HSET", b"RAYexpB@KV", b"field", b"value"])],
        _ => Vec::new(),
    }
}

fn many(number: usize) -> String {
    format!("@namespace_cov:many:{number:05}")
}

/// Fills up a batch of which only the first fields are listed. `HMGET` asked in
/// order; `HDEL` in Redis' own order, for which any will do that leaves nothing.
fn complete(arguments: &mut Vec<Bytes>, whole: usize, free: &mut Vec<usize>) -> Result<()> {
    let lacking = whole + 1 - arguments.len();
    let numbers: Vec<usize> = if arguments[0] == "HMGET" {
        let next = number(arguments.last().context("no field")?)? + 1;
        (next..next + lacking).collect()
    } else {
        free.drain(..lacking.min(free.len())).collect()
    };
    arguments.extend(numbers.into_iter().map(many).map(Bytes::from));
    Ok(())
}

/// Those of the 2500 fields that no batch of `HDEL` lists.
fn unlisted(lines: &[Value]) -> Result<Vec<usize>> {
    let mut listed = BTreeSet::new();
    let batches = lines
        .iter()
        .filter(|line| line["cmd"] == "HDEL" && !line["nargs"].is_null());
    for field in batches
        .flat_map(|line| line["args"].as_array())
        .flat_map(|args| &args[1..])
    {
        listed.insert(number(&bytes(field)?)?);
    }
    Ok((0..MANY)
        .filter(|number| !listed.contains(number))
        .collect())
}

fn number(field: &Bytes) -> Result<usize> {
    let text = std::str::from_utf8(field)?;
    Ok(text.rsplit(':').next().context("no number")?.parse()?)
}

/// A string of the recording; one that was cut is filled up to its length.
fn bytes(value: &Value) -> Result<Bytes> {
    let (start, length) = start(value)?;
    let mut whole = start;
    let mut state = 0x9e37_79b9_u32;
    while whole.len() < length {
        // Bytes that do not compress, the same for every value of this length.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        whole.push(state.to_be_bytes()[0]);
    }
    Ok(whole.into())
}

/// What is there of a string of the recording, and its length.
fn start(value: &Value) -> Result<(Vec<u8>, usize)> {
    if let Some(text) = value.as_str() {
        return Ok((text.into(), text.len()));
    }
    let there = match value["b64"].as_str() {
        Some(text) => BASE64_STANDARD.decode(text)?,
        None => value["text"]
            .as_str()
            .context("neither text nor base64")?
            .into(),
    };
    let length = value["len"].as_u64().context("len")?;
    Ok((there, usize::try_from(length)?))
}

fn same(recorded: &Value, seen: &Bytes) -> Result<()> {
    let (start, length) = start(recorded)?;
    ensure!(
        seen.len() == length,
        "{} bytes instead of {length}",
        seen.len()
    );
    ensure!(seen.starts_with(&start), "other bytes");
    Ok(())
}

fn same_reply(kind: &str, recorded: &Value, seen: &Reply) -> Result<()> {
    let value = &recorded["value"];
    match (kind, seen) {
        ("null", Reply::Null) => Ok(()),
        ("int", Reply::Int(number)) if value.as_i64() == Some(*number) => Ok(()),
        ("bulk", Reply::Bulk(bytes)) => same(value, bytes),
        ("status", Reply::Status(text)) if value.as_str() == Some(text) => Ok(()),
        ("error", Reply::Error(text)) if value.as_str() == Some(text) => Ok(()),
        ("array", Reply::Array(items)) => {
            ensure!(
                recorded["items"].as_u64() == Some(items.len() as u64),
                "other length"
            );
            for (value, item) in recorded["first"]
                .as_array()
                .context("items")?
                .iter()
                .zip(items)
            {
                match item {
                    Reply::Null if value.is_null() => {}
                    Reply::Bulk(bytes) => same(value, bytes)?,
                    other => bail!("{other:?} among the items"),
                }
            }
            Ok(())
        }
        _ => bail!("{seen:?} instead of {kind} {value}"),
    }
}

fn wire_size(arguments: &[Bytes]) -> u64 {
    let mut out = bytes::BytesMut::new();
    resp::write_command(&mut out, arguments);
    out.len() as u64
}
