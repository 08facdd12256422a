//! The admin listener of a process, which may have to wait for its address.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Facts},
    config::{Config, Presence, Role},
};

/// The admin listener of a process.
pub enum AdminListener {
    /// None is wanted.
    Off,
    /// Its address is bound.
    Bound(Admin),
    /// A predecessor still has the address.
    Awaited(SocketAddr, Presence),
}

impl AdminListener {
    /// Binds it, unless a predecessor still has the address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let address = config.admin.listen;
        Ok(match config.admin.presence {
            Presence::Off => Self::Off,
            // A service is taken over before its numbers are.
            _ if config.plays(Role::Store) && config.store.take_over => {
                Self::Awaited(address, config.admin.presence)
            }
            Presence::There => Self::Bound(Admin::bind(address).await?),
            Presence::Anywhere => Self::Bound(Admin::bind_anywhere(address).await?),
        })
    }

    /// Where it listens, if that is known.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Bound(admin) => Some(admin.local_addr()),
            Self::Off | Self::Awaited(..) => None,
        }
    }

    /// Answers until `stop` fires.
    pub async fn run(self, facts: Arc<Facts>, stop: CancellationToken) {
        let admin = match self {
            Self::Off => None,
            Self::Bound(admin) => Some(admin),
            Self::Awaited(address, presence) => {
                let awaited = Admin::bind_when_free(address, presence);
                stop.run_until_cancelled(awaited).await.flatten()
            }
        };
        match admin {
            Some(admin) => admin.run(facts, stop).await,
            None => stop.cancelled().await,
        }
    }
}
