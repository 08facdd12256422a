//! The engine: namespaces in memory, one journal, one writer.
//!
//! ```text
//!   sessions --> queue --> term: execute on images --> journal --> replies
//!                            |                            |
//!                            '-- every 2 s -- fold --> gcs_row, gcs_history
//! ```
//!
//! Pure: `execute`, `heads`, `image`, `space`, `cursor`, `key`, `journal`. SQL:
//! `writer`, `fold`, `load`, `blob`, `sweep`. The one task: `engine`, `term`,
//! `steps`, `chores`. What others hold: `session`, `status`.

pub mod blob;
mod chores;
pub(crate) mod clock;
pub(crate) mod command;
mod cursor;
pub(crate) mod engine;
mod execute;
mod fold;
pub(crate) mod heads;
pub(crate) mod image;
pub(crate) mod journal;
pub mod key;
pub(crate) mod load;
pub(crate) mod patience;
pub(crate) mod session;
mod space;
pub(crate) mod status;
mod steps;
mod sweep;
mod term;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
