//! Servers that die with the test, whatever kills the test.
//!
//! A guard's `Drop` does not run for a `static` (one server for all tests of a
//! binary) nor after SIGKILL. So a shell stands over the server and holds the
//! other end of a pipe that nobody writes to: when the test's process ends, the
//! pipe closes, and the shell kills the server with all it started and empties
//! its folder. It stops the server before, so that none is started meanwhile;
//! and it waits for the server, so that no zombie is left whose id PostgreSQL
//! would take for a rival.

use std::{ffi::OsStr, process::Command};

/// `$0` of the shell, by which it is told from the server.
const NAME: &str = "test-leash";

const SCRIPT: &str = r#"
tree() {
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
    tree "$child"
    echo "$child"
  done
}
exec 3<&0
"$@" 3<&- </dev/null & server=$!
# Sent to a group that has stopped members when its parent dies.
trap '' HUP
{
  read -r _ <&3
  trap '' TERM
  kill -STOP "$server"
  kill -KILL $(tree "$server") "$server"
  find . -mindepth 1 -delete
} & watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
wait "$watcher"
exit "$status"
"#;

/// A command that runs `program`, to which arguments may be added, for
/// [`Process::start_leashed`](crate::process::Process::start_leashed).
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, NAME]).arg(program);
    command
}

/// Whether a command line is the leash's and not the server's.
pub(crate) fn holds(title: &str) -> bool {
    title.starts_with("sh -c") && title.contains(NAME)
}
