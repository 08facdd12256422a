//! Concurrent clients that write down what they ask and what they are told.
//!
//! Each sends bursts of up to four commands back to back, a PING among them now
//! and then, and reads the replies one by one. Within a burst the keys differ:
//! Ray too has one command at a time under way per field. All draws come from
//! one seed per client; how the clients interleave is up to the machine.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    history::{Act, Answer, FIELDS, History, Id},
    wire::{Reply, Wire},
};

/// The keys: three tables and the counter, which is the last.
pub const KEYS: [&str; 4] = [
    "RAYchaos@KV",
    "RAYchaos@ACTOR",
    "RAYchaos@NODE",
    "RAYchaos@JobCounter",
];
const COUNTER: u8 = 3;

/// A little of everything that fields may hold.
fn field(nth: u8) -> Vec<u8> {
    match nth {
        0 => b"@namespace_chaos:plain".to_vec(),
        1 => b"\0\xff\r\n@*[a]\\".to_vec(),
        2 => vec![b'l'; 1_000],
        _ => vec![b'x', nth],
    }
}

/// The value that the operation `id` writes: it says where it belongs, and how
/// it goes on is known, so that a torn or misplaced one shows.
fn value(key: u8, field: u8, id: Id) -> Vec<u8> {
    let length = match id {
        id if id.is_multiple_of(499) => 700_000,
        id if id.is_multiple_of(31) => 20_000,
        id => 30 + usize::try_from(id % 300).unwrap_or_default(),
    };
    let mut value = format!("{key}/{field}/{id}/").into_bytes();
    let mut byte = id.to_le_bytes()[0];
    while value.len() < length {
        byte = byte.wrapping_mul(31).wrapping_add(7);
        value.push(byte);
    }
    value
}

/// Who wrote `value`, if it is whole and stands where it was written to.
fn writer(key: u8, nth: u8, held: &[u8]) -> Option<Id> {
    let slashes = held.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (end, _) = slashes.take(3).last()?;
    let text = std::str::from_utf8(&held[..end]).ok()?;
    let id = text.split('/').nth(2)?.parse().ok()?;
    (value(key, nth, id) == held).then_some(id)
}

/// The words of a command.
fn words(key: u8, act: &Act) -> Vec<Vec<u8>> {
    let fields = |all: &[u8]| all.iter().map(|nth| field(*nth)).collect::<Vec<_>>();
    let (verb, rest): (&str, Vec<Vec<u8>>) = match act {
        Act::Set(nth, id) => ("HSET", vec![field(*nth), value(key, *nth, *id)]),
        Act::SetNew(nth, id) => ("HSETNX", vec![field(*nth), value(key, *nth, *id)]),
        Act::Get(nth) => ("HGET", vec![field(*nth)]),
        Act::GetMany(all) => ("HMGET", fields(all)),
        Act::Exists(nth) => ("HEXISTS", vec![field(*nth)]),
        Act::Delete(all) => ("HDEL", fields(all)),
        Act::Drop => ("DEL", vec![]),
        Act::Increase(by) => ("INCRBY", vec![by.to_string().into_bytes()]),
    };
    let key = KEYS[usize::from(key)].as_bytes().to_vec();
    [verb.as_bytes().to_vec(), key]
        .into_iter()
        .chain(rest)
        .collect()
}

/// What a reply says, or why it cannot be the reply to that.
fn answer(key: u8, act: &Act, reply: &Reply) -> Result<Answer> {
    let held = |nth: u8, reply: &Reply| match reply {
        Reply::Null => Ok(None),
        Reply::Bulk(bytes) => match writer(key, nth, bytes) {
            Some(id) => Ok(Some(id)),
            None => bail!("a value torn or from elsewhere"),
        },
        _ => bail!("no value"),
    };
    Ok(match (act, reply) {
        (Act::Get(nth), reply) => Answer::Values(vec![held(*nth, reply)?]),
        (Act::GetMany(all), Reply::Array(replies)) if all.len() == replies.len() => {
            let pairs = all.iter().zip(replies);
            let values = pairs.map(|(nth, reply)| held(*nth, reply));
            Answer::Values(values.collect::<Result<_>>()?)
        }
        (Act::GetMany(_), _) => bail!("not as many values as fields"),
        (_, Reply::Number(number)) => Answer::Number(*number),
        _ => bail!("no number"),
    })
}

/// Draws what clients do.
#[derive(Debug)]
struct Dice(fastrand::Rng);

impl Dice {
    fn field(&mut self) -> u8 {
        self.0.u8(..u8::try_from(FIELDS).unwrap_or(u8::MAX))
    }

    fn fields(&mut self) -> Vec<u8> {
        let mut all: Vec<u8> = (0..self.0.u8(1..=3)).map(|_| self.field()).collect();
        all.dedup();
        all
    }

    fn act(&mut self, key: u8, history: &History) -> Act {
        if key == COUNTER {
            return Act::Increase(1);
        }
        match self.0.u8(..16) {
            0..=4 => Act::Set(self.field(), history.id()),
            5..=8 => Act::SetNew(self.field(), history.id()),
            9..=10 => Act::Get(self.field()),
            11..=12 => Act::GetMany(self.fields()),
            13 => Act::Exists(self.field()),
            14 if self.0.u8(..4) == 0 => Act::Drop,
            _ => Act::Delete(self.fields()),
        }
    }
}

/// How hard the clients work.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Connections.
    pub clients: u32,
    /// Between two bursts of one client.
    pub pause: Duration,
}

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Clients {
    /// Starts them. Each works until its connection breaks or [`Clients::stop`].
    #[must_use]
    pub fn start(history: &Arc<History>, address: SocketAddr, seed: u64, work: Work) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for client in 0..work.clients {
            let (history, stop) = (Arc::clone(history), stop.clone());
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(client.into());
            let dice = Dice(fastrand::Rng::with_seed(seed));
            tasks.spawn(async move {
                // How it ends shows in the history: what was not answered.
                let _broken = work_on(&history, address, client, dice, work.pause, &stop).await;
            });
        }
        Self { tasks, stop }
    }

    /// How many still work: those whose connection is not broken.
    #[must_use]
    pub fn count(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Lets each finish its burst, and waits for that.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn work_on(
    history: &History,
    address: SocketAddr,
    client: u32,
    mut dice: Dice,
    pause: Duration,
    stop: &CancellationToken,
) -> Result<()> {
    let mut wire = Wire::connect(address).await?;
    while !stop.is_cancelled() {
        let mut keys: Vec<u8> = (0..=COUNTER).collect();
        dice.0.shuffle(&mut keys);
        keys.truncate(dice.0.usize(1..=4));
        let acts = keys.into_iter().map(|key| (key, dice.act(key, history)));
        let mut burst: Vec<Option<(u8, Act)>> = acts.map(Some).collect();
        if dice.0.u8(..3) == 0 {
            burst.insert(dice.0.usize(..=burst.len()), None);
        }
        exchange(history, &mut wire, client, &burst).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Sends commands (None: PING) and writes down the answers.
async fn exchange(
    history: &History,
    wire: &mut Wire,
    client: u32,
    burst: &[Option<(u8, Act)>],
) -> Result<()> {
    let mut commands = Vec::with_capacity(burst.len());
    let mut places = Vec::with_capacity(burst.len());
    for one in burst {
        commands.push(match one {
            Some((key, act)) => words(*key, act),
            None => vec![b"PING".to_vec()],
        });
        places.push(
            one.as_ref()
                .map(|(key, act)| history.begin(client, *key, act.clone())),
        );
    }
    wire.send(&commands).await?;
    for (one, place) in burst.iter().zip(places) {
        let reply = wire.reply().await?;
        match (one, place) {
            (Some((key, act)), Some(place)) => match answer(*key, act, &reply) {
                Ok(answer) => history.end(place, answer),
                Err(why) => history.fault(format!(
                    "client {client}, key {key}, {act:?} was answered {reply:?}: {why}"
                )),
            },
            _ if reply == Reply::Status("PONG".to_owned()) => {}
            _ => history.fault(format!("client {client}: PING was answered {reply:?}")),
        }
    }
    Ok(())
}

/// Reads everything, by `HMGET` and by `HSCAN`, and increases the counter once
/// more: what the history has to explain in the end.
///
/// # Errors
/// If the connection breaks.
pub async fn read_all(history: &History, address: SocketAddr) -> Result<()> {
    const READER: u32 = u32::MAX;
    let mut wire = Wire::connect(address).await?;
    let all: Vec<u8> = (0..u8::try_from(FIELDS)?).collect();
    for key in 0..COUNTER {
        let act = Act::GetMany(all.clone());
        exchange(history, &mut wire, READER, &[Some((key, act.clone()))]).await?;
        let place = history.begin(READER, key, act.clone());
        let scan: [&[u8]; 5] = [
            b"HSCAN",
            KEYS[usize::from(key)].as_bytes(),
            b"0",
            b"COUNT",
            b"1000",
        ];
        let scanned = wire.call(&scan).await?;
        match in_order(&scanned, &all).map(|reply| answer(key, &act, &reply)) {
            Some(Ok(answer)) => history.end(place, answer),
            _ => history.fault(format!("HSCAN of key {key} was answered {scanned:?}")),
        }
    }
    exchange(
        history,
        &mut wire,
        READER,
        &[Some((COUNTER, Act::Increase(1)))],
    )
    .await
}

/// The values of a whole scan, as `HMGET` of `fields` would give them.
fn in_order(scanned: &Reply, fields: &[u8]) -> Option<Reply> {
    let Reply::Array(parts) = scanned else {
        return None;
    };
    let [Reply::Bulk(cursor), Reply::Array(flat)] = parts.as_slice() else {
        return None;
    };
    if cursor != b"0" || !flat.len().is_multiple_of(2) {
        return None;
    }
    let mut found = 0;
    let values = fields.iter().map(|nth| {
        let name = Reply::Bulk(field(*nth));
        let pair = flat.chunks_exact(2).find(|pair| pair[0] == name);
        found += usize::from(pair.is_some());
        pair.map_or(Reply::Null, |pair| pair[1].clone())
    });
    let values = Reply::Array(values.collect());
    (found * 2 == flat.len()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_writer_and_a_torn_or_misplaced_one_is_not() {
        for id in [1, 7, 31, 255, 499, 998] {
            let whole = value(1, 2, id);
            assert_eq!(writer(1, 2, &whole), Some(id));
            assert_eq!(writer(1, 3, &whole), None, "another field");
            assert_eq!(writer(0, 2, &whole), None, "another key");
            assert_eq!(writer(1, 2, &whole[..whole.len() - 1]), None, "cut");
            let mut torn = whole;
            let last = torn.len() - 1;
            torn[last] ^= 1;
            assert_eq!(writer(1, 2, &torn), None, "torn");
        }
        assert_eq!(writer(0, 0, b""), None);
    }

    #[test]
    fn a_reply_of_another_command_is_refused() {
        let values = Reply::Array(vec![Reply::Null]);
        assert!(answer(0, &Act::Get(0), &Reply::Number(1)).is_err());
        assert!(answer(0, &Act::Set(0, 1), &Reply::Null).is_err());
        assert!(answer(0, &Act::GetMany(vec![0, 1]), &values).is_err());
        let elsewhere = Reply::Bulk(value(0, 1, 5));
        assert!(answer(0, &Act::Get(0), &elsewhere).is_err());
    }
}
