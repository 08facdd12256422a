//! What can be wrong with a federation.

use std::time::Duration;

use discovery_client::Site;

/// Why the links to the peers cannot be set up. All are mistakes of the
/// configuration; do not retry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lease is out of bounds.
    #[error("`lease` is {lease:?}, allowed is 2s to 1min")]
    Lease {
        /// What was set.
        lease: Duration,
    },
    /// A site is no peer of itself.
    #[error("`peers` names {site}, which is this site")]
    OwnSite {
        /// Which.
        site: Site,
    },
    /// One entry a site: its addresses stand in one list.
    #[error("`peers` names {site} more than once")]
    Twice {
        /// Which.
        site: Site,
    },
    /// A peer cannot be followed without an address.
    #[error("peer {site} has no registry address")]
    NoAddress {
        /// Which.
        site: Site,
    },
    /// A peer's address is of no use.
    #[error("peer {site} cannot be followed")]
    Address {
        /// Which.
        site: Site,
        /// Why.
        #[source]
        source: discovery_client::Error,
    },
}
