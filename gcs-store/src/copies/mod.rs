//! Copies of a namespace: backup, restore, difference, import, export.
