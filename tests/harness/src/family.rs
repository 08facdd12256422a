//! A process and all it started, whatever became of them.
//!
//! `ray start`, `tradewind dev` and databases start processes that leave their
//! group or outlive their parent. All inherit the environment, so each family
//! carries a mark there; nobody else has it, hence signalling by the mark can
//! only hit what we started. A process that overwrites its environment (some retitle
//! themselves) is found as the child of one that did not.

use std::{
    collections::HashSet,
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};

const VARIABLE: &str = "TRADEWIND_TEST_FAMILY";

/// How long a family may take to disappear after SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// The mark of one family.
#[derive(Debug, Clone)]
pub struct Family {
    entry: Vec<u8>,
    value: String,
}

/// One process of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub pid: Pid,
    /// Its command line, or the title it gave itself.
    pub title: String,
}

impl Default for Family {
    fn default() -> Self {
        Self::new()
    }
}

impl Family {
    /// A mark that nobody has.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (own, nth) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let value = format!("{own}-{nth}-{}", since.as_nanos());
        Self {
            entry: format!("{VARIABLE}={value}").into_bytes(),
            value,
        }
    }

    /// Marks what `command` will start.
    pub fn mark(&self, command: &mut Command) {
        command.env(VARIABLE, &self.value);
    }

    /// Everybody who is alive now.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let alive: Vec<Seen> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Seen::read(entry.file_name().to_str()?.parse().ok()?))
            .collect();
        let mut found: HashSet<i32> = alive
            .iter()
            .filter(|one| self.has_mark(one.pid))
            .map(|one| one.pid)
            .collect();
        loop {
            let more: Vec<i32> = alive
                .iter()
                .filter(|one| found.contains(&one.parent) && !found.contains(&one.pid))
                .map(|one| one.pid)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        found
            .into_iter()
            .filter_map(|pid| {
                Some(Member {
                    pid: Pid::from_raw(pid)?,
                    title: title(pid).unwrap_or_default(),
                })
            })
            .collect()
    }

    fn has_mark(&self, pid: i32) -> bool {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == self.entry)
        })
    }

    /// Sends SIGKILL to all until nobody is left, so that none who is being
    /// started meanwhile slips through. Returns how many were alive.
    pub fn kill(&self) -> usize {
        let (mut killed, end) = (HashSet::new(), Instant::now() + DEATH);
        loop {
            let members = self.members();
            if members.is_empty() || Instant::now() >= end {
                return killed.len();
            }
            for member in members {
                // An error means that it has gone by itself.
                if kill_process(member.pid, Signal::KILL).is_ok() {
                    killed.insert(member.pid);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process that is neither a zombie nor gone.
struct Seen {
    pid: i32,
    parent: i32,
}

impl Seen {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // pid (name, which may hold anything) state parent …
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, parent })
    }
}

fn title(pid: i32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(
        String::from_utf8_lossy(&words)
            .replace('\0', " ")
            .trim()
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_grandchild_in_a_session_of_its_own_is_found_and_nobody_else_is_hit() {
        let (family, other) = (Family::new(), Family::new());
        let start = |family: &Family| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "setsid sleep 600 & setsid sleep 600 & wait"])
                .stdout(Stdio::null());
            family.mark(&mut command);
            command.spawn().unwrap()
        };
        let (mut mine, mut theirs) = (start(&family), start(&other));
        let three = |family: &Family| {
            let end = Instant::now() + Duration::from_secs(5);
            while family.members().len() != 3 {
                assert!(Instant::now() < end, "{:?}", family.members());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        three(&family);
        three(&other);

        assert_eq!(family.kill(), 3);

        assert_eq!(family.members(), []);
        three(&other);
        assert_eq!(other.kill(), 3);
        mine.wait().unwrap();
        theirs.wait().unwrap();
    }
}
