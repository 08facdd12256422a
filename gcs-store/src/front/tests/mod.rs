//! The front over real sockets, with the engine on SQLite behind it.

mod access;
mod bounds;
mod handover;
mod stage;
mod wire;
