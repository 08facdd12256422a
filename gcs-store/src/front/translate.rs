//! Turns the words of a request into a command, or into the answer itself.
//!
//! Pure: no I/O, no clock, no state. What can be answered without the engine,
//! a wrong arity above all, is answered here in the words of Redis, since the
//! logs of its clients are full of them and people search for them.
//!
//! Keys that Ray would not make (`RAY<namespace>@<TABLE>`) hold nothing: reads
//! find nothing there, deletions delete nothing, writes are refused.
//!
//! `HSET` with several fields becomes as many commands, since Ray never sends
//! more than one: each is atomic, the whole is not.

use std::borrow::Cow;

use bytes::Bytes;
use ray_tables::{StorageKey, TableName};
use resp::{Pattern, Reply};

use super::verb::Verb;
use crate::gcs::command::{Command, Stored};

/// Longest name of a field.
pub(crate) const FIELD_MAX: usize = 64 * 1024;

/// The key of the last question of Ray's handshake.
const DUMMY: &[u8] = b"DUMMY";

const NOT_INTEGER: Reply =
    Reply::Error(Cow::Borrowed("ERR value is not an integer or out of range"));
const SYNTAX: Reply = Reply::Error(Cow::Borrowed("ERR syntax error"));
const CURSOR: Reply = Reply::Error(Cow::Borrowed("ERR invalid cursor"));
const WRONG_TYPE: Reply = Reply::Error(Cow::Borrowed(
    "WRONGTYPE Operation against a key holding the wrong kind of value",
));
const FOREIGN_KEY: Reply = Reply::Error(Cow::Borrowed(
    "ERR this store keeps Ray's tables only: a key is RAY<namespace>@<TABLE>",
));

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) enum Action {
    /// The answer.
    Say(Reply),
    /// The engine's work. Values are inline, however large they are.
    Run(Command),
    /// The engine's work, answered by the sum of the numbers.
    RunAll(Vec<Command>),
    /// `+PONG`, or the same word back.
    Ping(Option<Bytes>),
    /// `DEL DUMMY`: is this the active store?
    Probe,
    /// Says who the caller is.
    Login {
        /// None: a password alone.
        user: Option<Bytes>,
        /// As it was sent.
        password: Bytes,
    },
    /// `+OK`, and the end.
    Quit,
}

/// Reads a request: its verb, if it is one, and what to do. `words` holds at
/// least the verb.
pub(crate) fn translate(words: &[Bytes]) -> (Option<Verb>, Action) {
    let Some(verb) = Verb::parse(&words[0]) else {
        return (None, Action::Say(unknown(words)));
    };
    if !verb.takes(words.len()) {
        return (Some(verb), Action::Say(wrong_arity(verb)));
    }
    let action = match act(verb, &words[1..]) {
        Ok(action) => action,
        Err(reply) => Action::Say(reply),
    };
    (Some(verb), action)
}

fn act(verb: Verb, rest: &[Bytes]) -> Result<Action, Reply> {
    Ok(match verb {
        Verb::Ping if rest.len() > 1 => return Err(wrong_arity(verb)),
        Verb::Ping => Action::Ping(rest.first().cloned()),
        Verb::Hset => return hset(rest),
        Verb::Hsetnx => {
            let key = hash_to_write(&rest[0])?;
            let (field, value) = pair(&rest[1], &rest[2])?;
            Action::Run(Command::Hsetnx { key, field, value })
        }
        Verb::Hget => read(&rest[0], Reply::Null, |key| Command::Hget {
            key,
            field: rest[1].clone(),
        })?,
        Verb::Hmget => {
            let nothing = Reply::Array(vec![Reply::Null; rest.len() - 1]);
            read(&rest[0], nothing, |key| Command::Hmget {
                key,
                fields: rest[1..].to_vec(),
            })?
        }
        Verb::Hexists => read(&rest[0], Reply::Int(0), |key| Command::Hexists {
            key,
            field: rest[1].clone(),
        })?,
        Verb::Hdel => read(&rest[0], Reply::Int(0), |key| Command::Hdel {
            key,
            fields: rest[1..].to_vec(),
        })?,
        Verb::Hlen => read(&rest[0], Reply::Int(0), |key| Command::Hlen { key })?,
        Verb::Hscan => {
            let page = page(&rest[1..])?;
            read(&rest[0], empty_page(), |key| Command::Hscan {
                key,
                cursor: page.cursor,
                pattern: page.pattern,
                count: page.count,
            })?
        }
        Verb::Scan => {
            let Page {
                cursor,
                pattern,
                count,
            } = page(rest)?;
            Action::Run(Command::Scan {
                cursor,
                pattern,
                count,
            })
        }
        Verb::Incrby => {
            let by = number(&rest[1]).ok_or(NOT_INTEGER)?;
            let key = StorageKey::parse(&rest[0]).ok_or(FOREIGN_KEY)?;
            if !is_counter(&key) {
                return Err(WRONG_TYPE);
            }
            Action::Run(Command::Incrby { key, by })
        }
        Verb::Get => match StorageKey::parse(&rest[0]) {
            None => Action::Say(Reply::Null),
            Some(key) if is_counter(&key) => Action::Run(Command::Get { key }),
            Some(_) => return Err(WRONG_TYPE),
        },
        Verb::Del if rest.len() == 1 && &*rest[0] == DUMMY => Action::Probe,
        Verb::Del | Verb::Unlink => {
            let keys: Vec<_> = rest.iter().filter_map(|it| StorageKey::parse(it)).collect();
            if keys.is_empty() {
                Action::Say(Reply::Int(0))
            } else {
                Action::Run(Command::Del { keys })
            }
        }
        Verb::Info => Action::Say(info(rest)),
        Verb::Auth => match rest {
            [password] => Action::Login {
                user: None,
                password: password.clone(),
            },
            [user, password] => Action::Login {
                user: Some(user.clone()),
                password: password.clone(),
            },
            _ => return Err(SYNTAX),
        },
        Verb::Select => match number(&rest[0]) {
            None => return Err(NOT_INTEGER),
            Some(0) => Action::Say(Reply::OK),
            Some(_) => return Err(Reply::Error("ERR DB index is out of range".into())),
        },
        Verb::Command => Action::Say(Reply::Array(Vec::new())),
        Verb::Quit => Action::Quit,
    })
}

fn hset(rest: &[Bytes]) -> Result<Action, Reply> {
    let (pairs, []) = rest[1..].as_chunks::<2>() else {
        return Err(wrong_arity(Verb::Hset));
    };
    let key = hash_to_write(&rest[0])?;
    let mut commands = Vec::with_capacity(pairs.len());
    for [field, value] in pairs {
        let (field, value) = pair(field, value)?;
        let key = key.clone();
        commands.push(Command::Hset { key, field, value });
    }
    Ok(match commands.len() {
        1 => Action::Run(commands.remove(0)),
        _ => Action::RunAll(commands),
    })
}

fn is_counter(key: &StorageKey) -> bool {
    key.table == TableName::JOB_COUNTER
}

/// The key of a hash that is to be written.
fn hash_to_write(key: &[u8]) -> Result<StorageKey, Reply> {
    match StorageKey::parse(key) {
        None => Err(FOREIGN_KEY),
        Some(key) if is_counter(&key) => Err(WRONG_TYPE),
        Some(key) => Ok(key),
    }
}

/// A field and its value. They are copied: an argument is a slice of all that
/// was read with it, and the engine would keep the whole for the part.
fn pair(field: &Bytes, value: &Bytes) -> Result<(Bytes, Stored), Reply> {
    if field.len() > FIELD_MAX {
        let text = format!(
            "ERR the field has {} bytes, at most {FIELD_MAX} are kept",
            field.len()
        );
        return Err(Reply::Error(text.into()));
    }
    let field = Bytes::copy_from_slice(field);
    let value = if value.len() > crate::gcs::command::INLINE_MAX {
        // Stays in memory only until it is staged.
        value.clone()
    } else {
        Bytes::copy_from_slice(value)
    };
    Ok((field, Stored::Inline(value)))
}

/// A command on a hash which finds `nothing` if the key cannot be one.
fn read(
    key: &[u8],
    nothing: Reply,
    command: impl FnOnce(StorageKey) -> Command,
) -> Result<Action, Reply> {
    match StorageKey::parse(key) {
        None => Ok(Action::Say(nothing)),
        Some(key) if is_counter(&key) => Err(WRONG_TYPE),
        Some(key) => Ok(Action::Run(command(key))),
    }
}

struct Page {
    cursor: u64,
    pattern: Option<Pattern>,
    count: u32,
}

/// `cursor [MATCH pattern] [COUNT count]`, in any order, the last one counts.
fn page(words: &[Bytes]) -> Result<Page, Reply> {
    let (cursor, mut options) = words.split_first().ok_or(SYNTAX)?;
    let mut page = Page {
        cursor: text(cursor).and_then(|it| it.parse().ok()).ok_or(CURSOR)?,
        pattern: None,
        count: 10,
    };
    while let [option, value, rest @ ..] = options {
        options = rest;
        if option.eq_ignore_ascii_case(b"MATCH") {
            page.pattern = Some(Pattern::parse(value));
        } else if option.eq_ignore_ascii_case(b"COUNT") {
            let count = number(value).ok_or(NOT_INTEGER)?;
            if count < 1 {
                return Err(SYNTAX);
            }
            page.count = u32::try_from(count).unwrap_or(u32::MAX);
        } else {
            return Err(SYNTAX);
        }
    }
    if options.is_empty() {
        Ok(page)
    } else {
        Err(SYNTAX)
    }
}

fn empty_page() -> Reply {
    Reply::Array(vec![
        Reply::Bulk(Bytes::from_static(b"0")),
        Reply::Array(Vec::new()),
    ])
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// A whole number as Redis reads it: no plus sign, no leading zeros.
fn number(word: &[u8]) -> Option<i64> {
    let number = text(word)?.parse::<i64>().ok()?;
    let mut canonical = itoa::Buffer::new();
    (canonical.format(number).as_bytes() == word).then_some(number)
}

/// The sections asked for. Ray asks for two and reads them strictly: a line is
/// empty, a title, or a name and a value around one colon.
fn info(sections: &[Bytes]) -> Reply {
    let wants = |name: &str| {
        let named = |word: &str| {
            sections
                .iter()
                .any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
        };
        let whole = ["all", "everything", "default"].iter().any(|it| named(it));
        sections.is_empty() || whole || named(name)
    };
    let mut text = String::new();
    if wants("server") {
        text.push_str(concat!(
            "# Server\r\ntradewind_version:",
            env!("CARGO_PKG_VERSION"),
            "\r\nredis_mode:standalone\r\n"
        ));
        text.push_str(&format!("process_id:{}\r\n", std::process::id()));
    }
    if wants("cluster") {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# Cluster\r\ncluster_enabled:0\r\n");
    }
    Reply::Bulk(text.into())
}

fn wrong_arity(verb: Verb) -> Reply {
    let text = format!(
        "ERR wrong number of arguments for '{}' command",
        verb.name()
    );
    Reply::Error(text.into())
}

/// How much of an unknown request is quoted back.
const QUOTED: usize = 128;

fn unknown(words: &[Bytes]) -> Reply {
    let quoted = |word: &[u8]| {
        let end = word.len().min(QUOTED);
        String::from_utf8_lossy(&word[..end]).into_owned()
    };
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        quoted(&words[0])
    );
    let start = text.len();
    for word in &words[1..] {
        if text.len() - start >= QUOTED {
            break;
        }
        text.push_str(&format!("'{}' ", quoted(word)));
    }
    Reply::Error(text.into())
}

/// An unknown request as a log may show it: the verb, then the first words cut
/// short; none at all where a password might be among them.
pub(crate) fn for_log(words: &[Bytes]) -> String {
    const SECRETIVE: &[&str] = &["auth", "hello", "acl", "config", "migrate"];
    let short = |word: &Bytes| {
        let end = word.len().min(24);
        let cut = if end < word.len() { "..." } else { "" };
        format!("{}{cut}", word[..end].escape_ascii())
    };
    let secretive = words.iter().any(|word| {
        SECRETIVE
            .iter()
            .any(|it| word.eq_ignore_ascii_case(it.as_bytes()))
    });
    let shown = if secretive { 1 } else { 4 };
    let words: Vec<_> = words.iter().take(shown).map(short).collect();
    words.join(" ")
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
