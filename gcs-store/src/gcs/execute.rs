//! Runs one command on one namespace in memory.
//!
//! Pure: what must become durable is added to the group, and nobody hears the
//! reply before it has.
//!
//! Invariants:
//! 1. A command either adds its effects and says so, or is refused and changes
//!    nothing (`a_refused_command_changes_nothing`).
//! 2. Replies are those of a hash in a plain map
//!    (`replies_are_those_of_a_plain_map`).

use std::{borrow::Cow, ops::Bound};

use bytes::Bytes;
use ray_tables::{Decode as _, NamespaceName, Node, NodeState, TableName};
use resp::Pattern;

use super::{
    command::{Command, Reply, Stored},
    cursor::Cursors,
    heads::cluster_id_field,
    key::FIELD_MAX,
    space::{Group, Space, State},
};

/// A page of a scan ends at this many bytes of fields and values.
const PAGE_BYTES: u64 = 2 * 1024 * 1024;

/// A page has at most this many fields, or as many as asked for if that is less
/// than [`PAGE_ROWS_MAX`].
const PAGE_ROWS: usize = 4096;
const PAGE_ROWS_MAX: usize = 65_536;

/// A page looks at no more fields than this, whether they match or not.
const PAGE_LOOKS: usize = 65_536;

/// What bounds writes apart from the namespace's own quota.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Whether memory for more is left.
    pub(crate) more: bool,
}

/// Runs `command`, which is of the namespace `space`.
pub(crate) fn execute(
    space: &mut Space,
    command: &Command,
    cursors: &mut Cursors,
    room: Room,
    group: &mut Group,
) -> Reply {
    if let Err(refusal) = admit(space, command, room) {
        return Reply::Error(refusal);
    }
    match command {
        Command::Hset { key, field, value } => {
            let replaced = space.put(&key.table, field, value, group);
            int(!replaced)
        }
        Command::Hsetnx { key, field, value } => {
            let there = space.image.get(&key.table, field).is_some();
            if !there {
                space.put(&key.table, field, value, group);
            }
            int(!there)
        }
        Command::Hget { key, field } => value(space, &key.table, field),
        Command::Hmget { key, fields } => Reply::Array(
            fields
                .iter()
                .map(|field| value(space, &key.table, field))
                .collect(),
        ),
        Command::Hexists { key, field } => int(space.image.get(&key.table, field).is_some()),
        Command::Hdel { key, fields } => {
            let deleted = fields
                .iter()
                .filter(|field| space.delete(&key.table, field, group));
            count(deleted.count())
        }
        Command::Hlen { key } => count(space.image.len(&key.table)),
        Command::Hscan {
            key,
            cursor,
            pattern,
            count,
        } => hscan(
            space,
            &key.table,
            *cursor,
            pattern.as_ref(),
            *count,
            cursors,
        ),
        Command::Del { keys } => {
            let mut dropped = 0;
            for key in keys {
                let own = key.namespace == space.entry.name;
                dropped += usize::from(own && space.drop_table(&key.table, group));
            }
            count(dropped)
        }
        Command::Incrby { key, by } => incrby(space, &key.table, *by, group),
        Command::Get { key } => value(space, &key.table, b""),
        Command::Scan { .. } => {
            unreachable!("a scan of keys is not of one namespace")
        }
    }
}

/// What a read finds in a namespace that is not there.
pub(crate) fn absent(command: &Command) -> Reply {
    match command {
        Command::Hget { .. } | Command::Get { .. } => Reply::Null,
        Command::Hmget { fields, .. } => Reply::Array(vec![Reply::Null; fields.len()]),
        Command::Hscan { .. } | Command::Scan { .. } => page(0, Vec::new()),
        _ => Reply::Int(0),
    }
}

/// Whether the command makes a namespace that is not there.
pub(crate) fn creates(command: &Command) -> bool {
    matches!(
        command,
        Command::Hset { .. } | Command::Hsetnx { .. } | Command::Incrby { .. }
    )
}

/// Whether the command may change anything.
pub(crate) fn writes(command: &Command) -> bool {
    creates(command) || matches!(command, Command::Hdel { .. } | Command::Del { .. })
}

/// A page of a scan, of fields or of keys.
pub(crate) fn page(cursor: u64, items: Vec<Reply>) -> Reply {
    let mut digits = itoa::Buffer::new();
    let cursor = Bytes::copy_from_slice(digits.format(cursor).as_bytes());
    Reply::Array(vec![
        Reply::Bulk(Stored::Inline(cursor)),
        Reply::Array(items),
    ])
}

/// What whoever uses a deleted namespace is told.
pub(crate) fn deleted(name: &NamespaceName) -> Cow<'static, str> {
    format!("ERR namespace {name} is deleted; `tradewind store namespace undelete` brings it back")
        .into()
}

fn admit(space: &Space, command: &Command, room: Room) -> Result<(), Cow<'static, str>> {
    let name = &space.entry.name;
    match space.entry.state {
        State::Active => {}
        State::Frozen if !writes(command) => {}
        State::Frozen => {
            return Err(format!("READONLY namespace {name} is frozen").into());
        }
        State::Deleted => return Err(deleted(name)),
    }
    let (Command::Hset { key, field, value } | Command::Hsetnx { key, field, value }) = command
    else {
        return match command {
            Command::Incrby { .. } if !room.more => Err(Cow::Borrowed(NO_ROOM)),
            _ => Ok(()),
        };
    };
    if field.len() > FIELD_MAX {
        return Err(format!("ERR a field has at most {FIELD_MAX} bytes").into());
    }
    let old = space.image.get(&key.table, field);
    if old.is_some() && matches!(command, Command::Hsetnx { .. }) {
        return Ok(());
    }
    let grows = old.is_none_or(|cell| cell.value.size() < value.size());
    if grows && !room.more {
        return Err(Cow::Borrowed(NO_ROOM));
    }
    let (usage, entry) = (space.image.usage(), &space.entry);
    if old.is_none() && entry.quota_rows.is_some_and(|quota| usage.rows >= quota) {
        return Err(format!(
            "OOM namespace {name} holds {} rows, as many as it may",
            usage.rows
        )
        .into());
    }
    let more = match old {
        None => field.len() as u64 + value.size(),
        Some(cell) => value.size().saturating_sub(cell.value.size()),
    };
    if let Some(quota) = entry
        .quota_bytes
        .filter(|quota| grows && usage.bytes + more > *quota)
    {
        return Err(format!(
            "OOM namespace {name} holds {} of the {quota} bytes it may; {more} more do not fit",
            usage.bytes
        )
        .into());
    }
    if key.table == TableName::KV && *field == cluster_id_field() {
        guard_cluster(space, value)?;
    }
    Ok(())
}

const NO_ROOM: &str = "OOM the store holds as much in memory as it may (store.image_limit)";

/// Longest id of a cluster; Ray's have 28 bytes.
const CLUSTER_ID_MAX: usize = 255;

/// A cluster must not take the place of one whose nodes are alive.
fn guard_cluster(space: &Space, new: &Stored) -> Result<(), Cow<'static, str>> {
    let nodes = space.image.behind(&TableName::NODE, Bound::Unbounded);
    let alive = nodes
        .into_iter()
        .flatten()
        .any(|(field, cell)| match &cell.value {
            Stored::Inline(bytes) => {
                Node::decode(field, bytes).is_ok_and(|node| node.state.is(&NodeState::Alive))
            }
            Stored::Blob { .. } => false,
        });
    let new = match new {
        Stored::Inline(new) if new.len() <= CLUSTER_ID_MAX => new,
        _ => return Err(format!("ERR a cluster's id has at most {CLUSTER_ID_MAX} bytes").into()),
    };
    crate::namespace::cluster_guard(alive, space.entry.cluster_id.as_deref(), new)
        .map_err(|refusal| format!("ERR namespace {}: {refusal}", space.entry.name).into())
}

fn int(yes: bool) -> Reply {
    Reply::Int(i64::from(yes))
}

fn count(count: usize) -> Reply {
    Reply::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn value(space: &Space, table: &TableName, field: &[u8]) -> Reply {
    space
        .image
        .get(table, field)
        .map_or(Reply::Null, |cell| Reply::Bulk(cell.value.clone()))
}

fn incrby(space: &mut Space, table: &TableName, by: i64, group: &mut Group) -> Reply {
    let old = match space.image.get(table, b"").map(|cell| &cell.value) {
        None => 0,
        Some(Stored::Inline(digits)) => {
            match str::from_utf8(digits).ok().and_then(|it| it.parse().ok()) {
                Some(number) => number,
                None => return Reply::Error(Cow::Borrowed(NOT_A_NUMBER)),
            }
        }
        Some(Stored::Blob { .. }) => return Reply::Error(Cow::Borrowed(NOT_A_NUMBER)),
    };
    let Some(new) = i64::checked_add(old, by) else {
        return Reply::Error(Cow::Borrowed("ERR increment or decrement would overflow"));
    };
    let mut digits = itoa::Buffer::new();
    let digits = Bytes::copy_from_slice(digits.format(new).as_bytes());
    space.put(table, &Bytes::new(), &Stored::Inline(digits), group);
    Reply::Int(new)
}

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

fn hscan(
    space: &Space,
    table: &TableName,
    cursor: u64,
    pattern: Option<&Pattern>,
    count: u32,
    cursors: &mut Cursors,
) -> Reply {
    let after = match cursor {
        0 => None,
        cursor => match cursors.get(cursor, space.entry.id, table) {
            Some(field) => Some(field),
            None => return Reply::Error(Cow::Borrowed("ERR invalid cursor")),
        },
    };
    let prefix = pattern.map_or(&[][..], |pattern| pattern.prefix());
    let from = match &after {
        Some(field) => Bound::Excluded(field.as_ref()),
        None => Bound::Included(prefix),
    };
    let rows_max = PAGE_ROWS
        .max(usize::try_from(count).unwrap_or(PAGE_ROWS_MAX))
        .min(PAGE_ROWS_MAX);
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    let fields = space.image.behind(table, from).into_iter().flatten();
    for (looks, (field, cell)) in fields
        .take_while(|(field, _)| field.starts_with(prefix))
        .enumerate()
    {
        if looks >= PAGE_LOOKS || items.len() >= 2 * rows_max || bytes >= PAGE_BYTES {
            // There is more: this page ends at the field before.
            return match last {
                Some(field) => page(cursors.add(space.entry.id, table, field), items),
                None => page(0, items),
            };
        }
        last = Some(field);
        if pattern.is_none_or(|pattern| pattern.matches(field)) {
            bytes += field.len() as u64 + cell.value.size();
            items.push(Reply::Bulk(Stored::Inline(field.clone())));
            items.push(Reply::Bulk(cell.value.clone()));
        }
    }
    page(0, items)
}

#[cfg(test)]
mod tests;
