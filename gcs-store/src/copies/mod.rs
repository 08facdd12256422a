//! Copies of a namespace: backup, restore, clone, difference, import, export;
//! and its history.
//!
//! ```text
//!   a Redis --import--.                    .--export--> a Redis
//!                      v                  |
//!   backup file -----> Fill --> gcs_row --+--backup---> backup file
//!                      ^                  |
//!   history -----------'   <---clone------'--diff, history--> people
//! ```
//!
//! Every copy reads the rows of one moment and fills a namespace that nobody
//! can use before all of it is there and was read again. Nothing is ever copied
//! over rows that exist.

mod address;
mod backup;
mod clone;
mod counter;
mod diff;
mod error;
pub mod file;
mod fill;
pub mod format;
mod history;
mod moving;
pub mod picture;
mod pieces;
mod progress;
pub mod remote;
mod settled;
mod source;

use std::time::{Duration, UNIX_EPOCH};

pub use address::Address;
pub use backup::{Restored, backup, restore};
pub use clone::{Cloned, clone, rebuild};
pub use diff::{Side, diff};
pub use error::Error;
pub use file::{Verified, verify};
pub use history::{Filter, Version, history};
pub use moving::{Exported, Imported, export, import};
pub use picture::{Change, Counts, Difference};
pub use progress::Progress;

/// A moment for people, such as `2026-01-31T12:00:00.000Z`.
#[must_use]
pub fn utc(at_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let at = UNIX_EPOCH.checked_add(since).unwrap_or(last).min(last);
    humantime::format_rfc3339_millis(at).to_string()
}
