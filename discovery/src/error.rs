//! What can go wrong with the registry as a service.

use std::net::SocketAddr;

use discovery_client::Site;

/// Why the registry cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the configuration is out of bounds. Mend it.
    #[error("`{key}` is {value}, allowed is {allowed}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// The address cannot be listened on, mostly because it is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The listener failed while serving.
    #[error("the registry's listener failed")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another registry of the site keeps its records in the same database
    /// since. Do not start again before it is known which one is wanted.
    #[error("another registry has taken over the records of {site}")]
    TakenOver {
        /// The site.
        site: Site,
    },
    /// The database refuses for good. Mend its settings.
    #[error("the registry's database cannot be used")]
    Store(#[from] gcs_sql::Error),
}
