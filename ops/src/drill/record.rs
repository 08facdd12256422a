//! The ledger of a running drill: shared by all requests, and written line by
//! line to a file if one is wanted.
//!
//! ```text
//!   {"line":"intent","id":1,"at_ms":12,"shape":"unary"}
//!   {"line":"send","id":1,"at_ms":12,"until_ms":840,"proxy":"http://…","cause":"silent"}
//!   {"line":"send","id":1,"at_ms":841,"until_ms":870,"proxy":"http://…","cause":null}
//!   {"line":"outcome","id":1,"at_ms":870,"end":{"ok":{"attempts":2}}}
//!   {"line":"fault","at_ms":5000}    {"line":"restored","at_ms":15000}
//! ```
//!
//! The intent is written before anything is sent; sends become known with the
//! outcome.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;

use super::ledger::{End, Ledger, Send, Shape};

#[derive(Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line<'a> {
    Intent {
        id: u64,
        at_ms: u64,
        shape: Shape,
    },
    Send {
        id: u64,
        #[serde(flatten)]
        send: &'a Send,
    },
    Outcome {
        id: u64,
        at_ms: u64,
        end: &'a End,
    },
    Fault {
        at_ms: u64,
    },
    Restored {
        at_ms: u64,
    },
}

struct Inner {
    ledger: Ledger,
    file: Option<File>,
    lost: Option<std::io::Error>,
}

/// The shared ledger. Cheap to clone.
#[derive(Clone)]
pub struct Record {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Record {
    /// Begins now; appends to `path` if there is one.
    pub fn begin(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write the ledger to {}", path.display()))
        };
        let file = path.map(open).transpose()?;
        let inner = Inner {
            ledger: Ledger::default(),
            file,
            lost: None,
        };
        Ok(Self {
            began: Instant::now(),
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    /// Milliseconds since the drill began.
    pub fn now_ms(&self) -> u64 {
        self.ms(Instant::now())
    }

    /// A moment in milliseconds since the drill began.
    pub fn ms(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.began))
    }

    /// A request is about to be made.
    pub fn intend(&self, shape: Shape) -> u64 {
        let at_ms = self.now_ms();
        let mut inner = self.lock();
        let id = inner.ledger.intend(shape, at_ms);
        inner.write(&Line::Intent { id, at_ms, shape });
        id
    }

    /// A request ended.
    pub fn settle(&self, id: u64, sends: Vec<Send>, end: End) {
        let at_ms = self.now_ms();
        let mut inner = self.lock();
        for send in &sends {
            inner.write(&Line::Send { id, send });
        }
        inner.write(&Line::Outcome {
            id,
            at_ms,
            end: &end,
        });
        if !inner.ledger.settle(id, at_ms, sends, end) {
            tracing::error!(id, "a request ended twice");
        }
    }

    /// The site is about to be taken away; when.
    pub fn fault(&self) -> u64 {
        let at_ms = self.now_ms();
        self.lock().write(&Line::Fault { at_ms });
        at_ms
    }

    /// The site is about to be given back; when.
    pub fn restored(&self) -> u64 {
        let at_ms = self.now_ms();
        self.lock().write(&Line::Restored { at_ms });
        at_ms
    }

    /// The drill itself did not get to run since `from`.
    pub fn stood_still(&self, from: Instant) {
        let (from_ms, to_ms) = (self.ms(from), self.now_ms());
        self.lock().ledger.stood_still(from_ms, to_ms);
    }

    /// Looks at the ledger as it is now.
    pub fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.lock().ledger)
    }

    /// Whether every line was written.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.lock().lost.take() {
            Some(error) => Err(error).context("the ledger's file is not whole"),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, line: &Line<'_>) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_vec(line)
            .map_err(std::io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                file.write_all(&text)
            });
        if let Err(error) = written {
            self.lost.get_or_insert(error);
        }
    }
}

/// Whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_intents_sends_and_outcomes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let record = Record::begin(Some(&path)).unwrap();
        let id = record.intend(Shape::Unary);
        let send = Send {
            at_ms: 1,
            until_ms: 2,
            proxy: "p".to_owned(),
            cause: Some("silent"),
        };
        record.fault();
        record.settle(id, vec![send], End::Ok { attempts: 2 });
        record.restored();
        record.check().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let kinds: Vec<_> = lines
            .iter()
            .map(|line| line["line"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["intent", "fault", "send", "outcome", "restored"]);
        assert_eq!(lines[2]["cause"], "silent");
        assert_eq!(lines[3]["end"]["ok"]["attempts"], 2);
    }
}
