//! What a command is about, and what its answer may cost.

use ray_tables::StorageKey;

use super::translate::Action;
use crate::gcs::command::Command;

/// The key an action is about, or the first of several.
pub(super) fn key_of_action(action: &Action) -> Option<&StorageKey> {
    match action {
        Action::Run(command) => key_of(command),
        Action::RunAll(commands) => commands.first().and_then(key_of),
        _ => None,
    }
}

/// The key a command is about, or the first of several.
pub(super) fn key_of(command: &Command) -> Option<&StorageKey> {
    keys_of(command).first()
}

/// The keys a command is about.
pub(super) fn keys_of(command: &Command) -> &[StorageKey] {
    match command {
        Command::Hset { key, .. }
        | Command::Hsetnx { key, .. }
        | Command::Hget { key, .. }
        | Command::Hmget { key, .. }
        | Command::Hexists { key, .. }
        | Command::Hdel { key, .. }
        | Command::Hlen { key }
        | Command::Hscan { key, .. }
        | Command::Incrby { key, .. }
        | Command::Get { key } => std::slice::from_ref(key),
        Command::Del { keys } => keys,
        Command::Scan { .. } => &[],
    }
}

/// What an answer may take in memory, besides values that are there anyway.
pub(super) fn cost(command: &Command) -> u64 {
    const EACH: u64 = 128;
    match command {
        Command::Hmget { fields, .. } => fields.len() as u64 * EACH,
        Command::Hscan { count, .. } | Command::Scan { count, .. } => {
            u64::from(*count).min(10_000) * EACH
        }
        _ => 0,
    }
}
