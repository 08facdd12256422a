//! One line a request, written apart from the requests.
//!
//! Each core fills a buffer; a thread of its own writes buffers out. When the
//! log does not keep up, lines are dropped and counted rather than requests
//! delayed.

use std::{
    cell::RefCell,
    fmt,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::{Error, config::AccessLog};

/// Buffers under way to the writer.
const QUEUE: usize = 64;
/// A buffer goes out when it has this many bytes, or when the core tidies up,
/// twice a second.
const BUFFER: usize = 32 * 1024;

/// Counts lines that were dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost(Arc<AtomicU64>);

impl Lost {
    /// Lines dropped so far.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One core's end of the log.
pub(crate) struct Access {
    out: Option<SyncSender<Vec<u8>>>,
    buffer: RefCell<Vec<u8>>,
    lines: std::cell::Cell<u64>,
    lost: Lost,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("on", &self.out.is_some())
            .finish_non_exhaustive()
    }
}

/// The thread that writes, and the way to it.
pub(crate) struct Writer {
    out: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    lost: Lost,
}

impl Writer {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// [`Error::AccessLog`] if the file cannot be opened.
    pub(crate) fn open(config: &AccessLog) -> Result<Self, Error> {
        let lost = Lost::default();
        let target: Box<dyn Write + Send> = match config {
            AccessLog::Off => {
                return Ok(Self {
                    out: None,
                    thread: None,
                    lost,
                });
            }
            AccessLog::Stdout => Box::new(std::io::stdout()),
            AccessLog::File(path) => {
                let file = std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(path);
                Box::new(file.map_err(|source| Error::AccessLog {
                    path: path.clone(),
                    source,
                })?)
            }
        };
        let (out, buffers) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(target, &buffers))
            .map_err(|error| Error::Core(error.to_string()))?;
        Ok(Self {
            out: Some(out),
            thread: Some(thread),
            lost,
        })
    }

    /// A core's end.
    #[must_use]
    pub(crate) fn access(&self) -> Access {
        Access {
            out: self.out.clone(),
            buffer: RefCell::default(),
            lines: std::cell::Cell::new(0),
            lost: self.lost.clone(),
        }
    }

    /// The count of dropped lines.
    #[must_use]
    pub(crate) fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Waits until everything is written. Every [`Access`] must be gone.
    pub(crate) fn close(mut self) {
        self.out = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's thread panicked");
        }
    }
}

fn write(mut target: Box<dyn Write + Send>, buffers: &Receiver<Vec<u8>>) {
    let mut failing = false;
    for buffer in buffers {
        let written = target.write_all(&buffer).and_then(|()| target.flush());
        match written {
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the access log cannot be written; lines are lost until it can");
            }
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the access log is written again");
            }
            _ => {}
        }
    }
}

impl Access {
    /// Adds a line, which `write` puts into the buffer without its end.
    pub(crate) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.out.is_none() {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        write(&mut buffer);
        buffer.push(b'\n');
        self.lines.set(self.lines.get() + 1);
        if buffer.len() >= BUFFER {
            drop(buffer);
            self.flush();
        }
    }

    /// Hands what is buffered to the writer.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.is_empty() {
            return;
        }
        let full = std::mem::take(&mut *buffer);
        let lines = self.lines.take();
        if self
            .out
            .as_ref()
            .is_none_or(|out| out.try_send(full).is_err())
        {
            self.lost.0.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.flush();
    }
}
