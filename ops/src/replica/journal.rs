//! One JSON line when a request starts and one when it ends, so that a test can
//! see what reached the replica and what was cancelled, and when.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

#[derive(serde::Serialize)]
struct Line<'a> {
    at_ms: u64,
    event: &'static str,
    request_id: &'a str,
    model: &'a str,
    tokens: u64,
}

/// Where the lines go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Journal(Arc<Mutex<Box<dyn Write + Send>>>);

impl Journal {
    /// Appends to `path`, or writes to standard error.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let sink: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot write the journal to {}", path.display()))?,
            ),
            None => Box::new(std::io::stderr()),
        };
        Ok(Self(Arc::new(Mutex::new(sink))))
    }

    /// Notes that a request started. The entry notes its end.
    pub(super) fn begin(&self, request_id: &str, model: &str) -> Entry {
        let entry = Entry {
            journal: self.clone(),
            request_id: request_id.to_owned(),
            model: model.to_owned(),
            tokens: 0,
            finished: false,
        };
        entry.write("started");
        entry
    }
}

/// One request. Dropped before [`Entry::finish`], it counts as aborted.
pub(super) struct Entry {
    journal: Journal,
    request_id: String,
    model: String,
    /// Tokens made so far.
    pub(super) tokens: u64,
    finished: bool,
}

impl Entry {
    pub(super) fn finish(mut self) {
        self.finished = true;
    }

    fn write(&self, event: &'static str) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let line = Line {
            at_ms,
            event,
            request_id: &self.request_id,
            model: &self.model,
            tokens: self.tokens,
        };
        let written = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                // One write a line: lines of several processes do not mix.
                self.journal
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .write_all(&line)
            });
        if let Err(error) = written {
            tracing::warn!(%error, "a journal line was lost");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.write(if self.finished { "finished" } else { "aborted" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_leaves_two_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(Some(&path)).unwrap();
        journal.begin("a", "m").finish();
        drop(journal.begin("b", "m"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let events: Vec<_> = lines
            .iter()
            .map(|line| (line["request_id"].as_str(), line["event"].as_str()))
            .collect();
        let both = |id, event| (Some(id), Some(event));
        assert_eq!(
            events,
            [
                both("a", "started"),
                both("a", "finished"),
                both("b", "started"),
                both("b", "aborted")
            ]
        );
    }
}
