//! What can go wrong with the store as a whole.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the store could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be used. While it serves, the store waits for its
    /// database; at the start a wrong address is better told.
    #[error("cannot use the database")]
    Database(#[from] gcs_sql::Error),
    /// A file could not be read: a password, a key, a certificate.
    #[error("cannot read {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificates do not make a TLS server.
    #[error("cannot serve TLS")]
    Tls(#[from] crate::front::tls::TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sockets of the running store could not be taken over; that one goes
    /// on as before.
    #[error("cannot take over from the running store: {reason}")]
    TakeOver {
        /// What it said, or why it could not be asked.
        reason: String,
    },
    /// The same, in the words of the handover.
    #[error("cannot take over from the running store")]
    Handover(#[from] crate::front::HandoverError),
    /// The listener cannot be opened.
    #[error(transparent)]
    Front(#[from] crate::front::FrontError),
    /// The thread that serves ended before it was told to.
    #[error("the store's thread ended: {reason}")]
    Ended {
        /// What is known of it.
        reason: String,
    },
}
