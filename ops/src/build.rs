//! What this binary is.

use std::env::consts::{ARCH, OS};

use serde::Serialize;

/// How the binary was built.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Build {
    /// Of the package.
    pub version: &'static str,
    /// The processor it runs on.
    pub arch: &'static str,
    /// The operating system it runs on.
    pub os: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
}

/// How this binary was built.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    arch: ARCH,
    os: OS,
    profile: if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    },
};
