//! Slow commands, and log lines that do not flood.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Slow commands that are remembered.
const REMEMBERED: usize = 128;

/// A command that took long. Values are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slow {
    /// When it was answered, Unix time.
    pub at_ms: i64,
    /// Its verb.
    pub verb: &'static str,
    /// The key of the table, if it has one.
    pub key: Option<String>,
    /// From its arrival to its answer.
    pub took_ms: u64,
    /// Whose it was.
    pub peer: String,
}

/// The last slow commands.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    commands: VecDeque<Slow>,
    line: Sparing,
}

impl SlowLog {
    pub(crate) fn add(&mut self, slow: Slow) {
        if let Some(kept_back) = self.line.allows(Instant::now()) {
            tracing::warn!(
                command.verb = slow.verb,
                command.key = slow.key,
                command.took_ms = slow.took_ms,
                client.address = slow.peer,
                kept_back,
                "a command was slow"
            );
        }
        if self.commands.len() >= REMEMBERED {
            self.commands.pop_front();
        }
        self.commands.push_back(slow);
    }

    /// The oldest first.
    pub(crate) fn all(&self) -> Vec<Slow> {
        self.commands.iter().cloned().collect()
    }
}

/// Lets a few log lines pass each second, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Sparing {
    began: Option<Instant>,
    passed: u32,
    kept_back: u64,
}

impl Sparing {
    const A_SECOND: u32 = 5;

    /// Whether a line may pass; then, how many did not since the last one.
    pub(crate) fn allows(&mut self, now: Instant) -> Option<u64> {
        let fresh = self
            .began
            .is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1));
        if fresh {
            self.began = Some(now);
            self.passed = 0;
        }
        if self.passed < Self::A_SECOND {
            self.passed += 1;
            Some(std::mem::take(&mut self.kept_back))
        } else {
            self.kept_back += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_a_few_a_second_are_counted() {
        let mut line = Sparing::default();
        let now = Instant::now();
        let passed = (0..100).filter(|_| line.allows(now).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(line.allows(now + Duration::from_secs(1)), Some(95));
        assert_eq!(line.allows(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn only_the_last_slow_commands_are_remembered() {
        let mut log = SlowLog::default();
        for took_ms in 0..1000 {
            log.add(Slow {
                at_ms: 0,
                verb: "hset",
                key: None,
                took_ms,
                peer: String::new(),
            });
        }
        let all = log.all();
        assert_eq!(all.len(), REMEMBERED);
        assert_eq!(all.last().unwrap().took_ms, 999);
    }
}
