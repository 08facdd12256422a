//! Tells on standard error how far a long copy has come.

use std::{
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use gcs_store::copies::Progress;

/// Between two lines; a copy that is shorter tells nothing.
const PERIOD: Duration = Duration::from_secs(2);

/// One copy under way.
pub struct Told(Progress);

impl Told {
    /// `what` as in "1000 of 5000 rows copied".
    pub fn new(what: &'static str) -> Self {
        let next = Mutex::new(Instant::now() + PERIOD);
        let terminal = std::io::stderr().is_terminal();
        Self(Progress::new(move |done, all| {
            let Ok(mut next) = next.lock() else {
                return;
            };
            if Instant::now() < *next {
                return;
            }
            *next = Instant::now() + PERIOD;
            let line = match all {
                Some(all) => format!("{done} of {all} rows {what}"),
                None => format!("{done} rows {what}"),
            };
            if terminal {
                eprint!("\r\u{1b}[2K{line}\r");
            } else {
                eprintln!("{line}");
            }
        }))
    }

    pub fn progress(&self) -> &Progress {
        &self.0
    }
}
