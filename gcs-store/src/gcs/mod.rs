//! The engine: one image, one journal, one writer.

pub mod command;
