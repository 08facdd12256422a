//! The demonstration as a user starts it: `tradewind dev`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use discovery_client::Address;
use serde_json::Value;

use crate::{binary::tradewind, http, process::Process, wait};

/// Two sites and their replicas are ready within this: debug builds on two
/// busy cores.
const READY: Duration = Duration::from_secs(60);

/// A running `tradewind dev` on free ports.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    file: PathBuf,
    front: Address,
    model: String,
}
