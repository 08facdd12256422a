//! What a process and its children cost: CPU time and resident memory, from
//! `/proc`.
//!
//! `/proc/<pid>/stat` counts user and system time of all threads of the
//! process, also of those that ended; time of children that ended and were
//! waited for stands beside it. Living children are added one by one, so a
//! master with workers is counted like one process with threads. Memory is the
//! sum of resident sets: pages that a master shares with its workers count for
//! each of them, as an operator's process list shows them.
//!
//! Invariants:
//! 1. The time of a family never shrinks while its members live.
//! 2. Text that is not of the expected form is an error and never a zero.

use std::{collections::BTreeMap, fs, io, time::Duration};

/// Ticks a second in `/proc/<pid>/stat`: `USER_HZ`, which Linux fixes at 100
/// towards programs on x86-64 and on ARM, whatever its own timer does.
const TICKS_PER_SECOND: u64 = 100;

/// A process and all that descend from it.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    root: u32,
}

/// The fields of `/proc/<pid>/stat` that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of the process and of its ended, waited-for
    /// children.
    ticks: u64,
}

impl Family {
    /// The family of process `root`.
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// User and system time spent so far, in steps of 10 ms a process.
    ///
    /// # Errors
    /// If the root is gone or `/proc` does not read as expected.
    pub fn cpu(self) -> io::Result<Duration> {
        let ticks: u64 = self.members()?.values().map(|stat| stat.ticks).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// Resident memory in bytes, all members together.
    ///
    /// # Errors
    /// If the root is gone or `/proc` does not read as expected.
    pub fn resident_bytes(self) -> io::Result<u64> {
        let mut sum = 0;
        for pid in self.members()?.into_keys() {
            match fs::read_to_string(format!("/proc/{pid}/status")) {
                Ok(text) => sum += resident(&text).ok_or_else(|| odd(pid, "status"))?,
                // A child may end between the listing and this.
                Err(error) if error.kind() == io::ErrorKind::NotFound && pid != self.root => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    fn members(self) -> io::Result<BTreeMap<u32, Stat>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // Processes end while the list is read; only the root must be there.
            if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) {
                all.insert(pid, stat(&text).ok_or_else(|| odd(pid, "stat"))?);
            }
        }
        if !all.contains_key(&self.root) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} is gone", self.root),
            ));
        }
        Ok(descent(self.root, &all))
    }
}

fn odd(pid: u32, file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc/{pid}/{file} reads unexpectedly"),
    )
}

/// Those of `all` that are `root` or descend from it.
fn descent(root: u32, all: &BTreeMap<u32, Stat>) -> BTreeMap<u32, Stat> {
    all.iter()
        .filter(|&(&pid, _)| {
            let mut at = pid;
            // A chain is never longer than the list; a loop cannot be.
            for _ in 0..all.len() {
                if at == root {
                    return true;
                }
                match all.get(&at) {
                    Some(stat) => at = stat.parent,
                    None => return false,
                }
            }
            false
        })
        .map(|(&pid, &stat)| (pid, stat))
        .collect()
}

/// Reads `/proc/<pid>/stat`. The second field, the command, may hold blanks
/// and brackets, so fields are counted from the last closing one.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?; // field 4
    let mut ticks = 0;
    let mut at = fields.skip(9); // fields 5 to 13
    for _ in 0..4 {
        ticks += at.next()?.parse::<u64>().ok()?; // utime, stime, cutime, cstime
    }
    Some(Stat { parent, ticks })
}

/// Reads `VmRSS` of `/proc/<pid>/status`, in bytes. A process that has ended
/// and was not waited for has no such line and no memory.
fn resident(text: &str) -> Option<u64> {
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmRSS:")) else {
        return text.contains("State:\tZ").then_some(0);
    };
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::{process, time::Instant};

    use super::*;

    const STAT: &str = "13226 (a (b) c) R 13223 13223 7540 0 -1 4194304 102 0 0 0 70 30 5 1 20 0 \
                        1 0 118044 3133440 390 18446744073709551615 0 0";

    #[test]
    fn times_are_found_behind_a_command_with_brackets() {
        assert_eq!(
            stat(STAT),
            Some(Stat {
                parent: 13223,
                ticks: 106
            })
        );
    }

    #[test]
    fn text_of_another_form_is_refused() {
        assert_eq!(stat(""), None);
        assert_eq!(stat("1 (x) S 1 2 3"), None);
        assert_eq!(stat("1 (x) S 1 1 1 0 -1 0 0 0 0 0 a b c d"), None);
        assert_eq!(resident("Name:\tx\nState:\tS (sleeping)\n"), None);
        assert_eq!(resident("VmRSS:\tlots kB\n"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            resident("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\nVmData: 1 kB"),
            Some(2_097_152)
        );
        assert_eq!(resident("Name:\tx\nState:\tZ (zombie)\n"), Some(0));
    }

    #[test]
    fn a_family_is_the_root_and_all_below_it() {
        let of = |parent| Stat { parent, ticks: 1 };
        let all = BTreeMap::from([(1, of(0)), (5, of(1)), (6, of(5)), (7, of(6)), (8, of(1))]);
        assert_eq!(descent(5, &all).into_keys().collect::<Vec<_>>(), [5, 6, 7]);
    }

    #[test]
    fn time_spent_by_this_process_is_seen() {
        let family = Family::of(process::id());
        let before = family.cpu().unwrap();
        let began = Instant::now();
        while family.cpu().unwrap() < before + Duration::from_millis(30) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "no time was counted"
            );
        }
        assert!(family.resident_bytes().unwrap() > 500_000);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(
            Family::of(child.id()).cpu().unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
