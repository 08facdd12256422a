//! Copies of a namespace: backup, restore, difference, import, export.

pub mod format;
pub mod picture;
pub mod remote;
