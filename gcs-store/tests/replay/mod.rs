//! Replays what a real Ray head said to its Redis, against any RESP address.
//!
//! ```text
//!   redis-trace.jsonl -> Command -> replay(address) -> Seen, one per command
//!                          |                             |
//!                          +-- recorded reply -- agrees -+
//! ```
//!
//! The recording is not whole, so it is completed, the same way for everybody:
//! a value that was cut is filled up to its length, the fields that were thinned
//! out are written before the part that reads them, and a scan is always run to
//! its end (pages and order are the server's own business).

mod recording;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use resp::{Client, Reply, ReplyParser, Target};

pub(crate) use recording::{Command, recorded};

/// What a server answered to one command of the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The bytes of the reply; of a run of PING all of them.
    Frame(Bytes),
    /// A whole hash, or what matched of it.
    Fields(BTreeMap<Bytes, Bytes>),
    /// The keys that matched.
    Keys(BTreeSet<Bytes>),
}

/// How commands travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On as many connections as were recorded, each waiting for its reply.
    AsRecorded,
    /// All on one connection, as many as possible (all but scans, whose next
    /// page hangs on the last) without waiting.
    OnePipeline,
}

/// Replays `commands` in their order; the replies by `seq`.
pub(crate) async fn replay(
    target: &Target,
    commands: &[Command],
    mode: Mode,
) -> Result<BTreeMap<u64, Seen>> {
    match mode {
        Mode::AsRecorded => as_recorded(target, commands).await,
        Mode::OnePipeline => one_pipeline(target, commands).await,
    }
}

/// A connection is opened for its first command and closed after its last, as a
/// head's are that dies.
async fn as_recorded(target: &Target, commands: &[Command]) -> Result<BTreeMap<u64, Seen>> {
    let name = |command: &Command| (command.part.clone(), command.connection);
    let last: BTreeMap<_, u64> = commands.iter().map(|it| (name(it), it.seq)).collect();
    let mut connections: BTreeMap<_, Client> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for command in commands {
        let name = name(command);
        let mut client = match connections.remove(&name) {
            Some(client) => client,
            None => Client::connect(target).await?,
        };
        let answer = answer(&mut client, command).await;
        seen.insert(
            command.seq,
            answer.with_context(|| format!("command {}", command.seq))?,
        );
        if last.get(&name) != Some(&command.seq) {
            connections.insert(name, client);
        }
    }
    Ok(seen)
}

async fn answer(client: &mut Client, command: &Command) -> Result<Seen> {
    if command.scans() {
        return scan(client, command).await;
    }
    if command.count == 1 {
        return Ok(Seen::Frame(client.call_raw(&command.arguments).await?));
    }
    let run = vec![command.arguments.clone(); command.count];
    let mut frames = BytesMut::new();
    for reply in client.pipeline(&run).await? {
        reply.encode(&mut frames);
    }
    Ok(Seen::Frame(frames.freeze()))
}

async fn one_pipeline(target: &Target, commands: &[Command]) -> Result<BTreeMap<u64, Seen>> {
    let mut client = Client::connect(target).await?;
    let mut seen = BTreeMap::new();
    for run in commands.chunk_by(|one, next| one.scans() == next.scans()) {
        if run[0].scans() {
            for command in run {
                seen.insert(command.seq, scan(&mut client, command).await?);
            }
            continue;
        }
        let whole: Vec<_> = run
            .iter()
            .flat_map(|command| std::iter::repeat_n(command.arguments.clone(), command.count))
            .collect();
        let mut replies = client.pipeline(&whole).await?.into_iter();
        for command in run {
            let mut frames = BytesMut::new();
            for reply in replies.by_ref().take(command.count) {
                reply.encode(&mut frames);
            }
            seen.insert(command.seq, Seen::Frame(frames.freeze()));
        }
    }
    Ok(seen)
}

/// Runs a scan to its end.
async fn scan(client: &mut Client, command: &Command) -> Result<Seen> {
    let mut arguments = command.arguments.clone();
    let cursor = if command.verb() == "SCAN" { 1 } else { 2 };
    let mut items = Vec::new();
    loop {
        let (next, page) = page(client.call(&arguments).await?)?;
        items.extend(page);
        if next == "0" {
            break;
        }
        arguments[cursor] = next;
    }
    if command.verb() == "SCAN" {
        return Ok(Seen::Keys(items.into_iter().collect()));
    }
    ensure!(
        items.len() % 2 == 0,
        "an odd number of items in a scan of a hash"
    );
    let pairs = items
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()));
    Ok(Seen::Fields(pairs.collect()))
}

/// Cursor and items of one page.
fn page(reply: Reply) -> Result<(Bytes, Vec<Bytes>)> {
    let said = format!("{reply:?}");
    let bulk = |reply| match reply {
        Reply::Bulk(bytes) => Some(bytes),
        _ => None,
    };
    let parts = match reply {
        Reply::Array(parts) => <[Reply; 2]>::try_from(parts).ok(),
        _ => None,
    };
    parts
        .and_then(|[cursor, items]| match items {
            Reply::Array(items) => Some((
                bulk(cursor)?,
                items.into_iter().map(bulk).collect::<Option<_>>()?,
            )),
            _ => None,
        })
        .with_context(|| format!("no page of a scan: {said:.200}"))
}

/// The reply in a frame; `None` for more or less than one.
pub(crate) fn reply_of(frame: &Bytes) -> Option<Reply> {
    let mut buffer = BytesMut::from(&frame[..]);
    let reply = ReplyParser::default().parse(&mut buffer).ok()??;
    buffer.is_empty().then_some(reply)
}

/// Replays `commands` on both; fails at the first that is not answered alike.
pub(crate) async fn compare(
    ours: &Target,
    theirs: &Target,
    commands: &[Command],
    mode: Mode,
) -> Result<()> {
    let (our_replies, their_replies) =
        tokio::try_join!(replay(ours, commands, mode), replay(theirs, commands, mode))?;
    for command in commands {
        let (one, other) = (
            our_replies.get(&command.seq),
            their_replies.get(&command.seq),
        );
        ensure!(
            one == other && one.is_some(),
            "command {}, {}, {mode:?}: {} instead of {}",
            command.seq,
            command.verb(),
            shown(one),
            shown(other)
        );
    }
    Ok(())
}

fn shown(seen: Option<&Seen>) -> String {
    format!("{:.300}", format!("{seen:?}"))
}
