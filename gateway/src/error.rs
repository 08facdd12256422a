//! What can keep a gateway from serving at all.

use std::net::SocketAddr;

/// Why the gateway did not start or had to stop. What goes wrong with one
/// request is answered to its caller instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be.
    #[error("gateway configuration")]
    Config(#[from] crate::config::Invalid),
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The access log's file could not be opened.
    #[error("cannot write the access log to {path}")]
    AccessLog {
        /// The configured file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread of the data plane could not be started, or died.
    #[error("the data plane stopped: {0}")]
    Core(String),
}
