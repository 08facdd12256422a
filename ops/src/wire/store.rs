//! The role `store`: when it takes part, and when a successor has its place.
//!
//! ```text
//!   open ---> starting ---> active or standby ---> stopped
//!                            | greeting, systemd       ^
//!                            '--> succeeded -----------'  at once, or when the
//!                                                         last TLS client left
//! ```

use std::net::SocketAddr;

use anyhow::Context;
use gcs_store::{Config, Handle, Store, config::without_password};
use tokio_util::sync::CancellationToken;

use super::roles::Roles;
use crate::store::{notify, successor::Demand};

/// What is said once a store takes part: by its settings, where it listens and
/// where the admin listener is.
pub type Greet = fn(&Config, SocketAddr, Option<SocketAddr>) -> anyhow::Result<()>;

/// The name of the role.
pub const STORE: &str = "store";

/// A store that is bound and not yet served.
pub struct Keeper {
    store: Store,
    settings: Config,
    greet: Greet,
    demand: Demand,
}

impl Keeper {
    /// Opens the database and binds the listener.
    ///
    /// # Errors
    /// If either cannot be had.
    pub async fn open(settings: &Config, greet: Greet) -> anyhow::Result<Self> {
        let demand = Demand::hear().context("SIGUSR2")?;
        let store = Store::open(settings.clone()).await.context("store")?;
        Ok(Self {
            store,
            settings: settings.clone(),
            greet,
            demand,
        })
    }

    /// What the admin listener tells of it: its database, and the rest.
    pub fn facts(&self) -> (String, Handle) {
        let database = without_password(&self.settings.database);
        (database, self.store.handle())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.store.handle().local_addr()
    }

    /// Fires when a successor has its place.
    pub fn succeeded(&self) -> CancellationToken {
        self.store.handle().succeeded()
    }

    /// Starts it until `stop` fires, says so once it takes part, and lets it be
    /// succeeded.
    pub fn start(self, roles: &mut Roles, admin: Option<SocketAddr>, stop: &CancellationToken) {
        let Self {
            store,
            settings,
            greet,
            demand,
        } = self;
        let handle = store.handle();
        let stopped = stop.clone();
        roles.start(STORE, async move { Ok(store.run(stopped).await?) });

        let stopped = stop.clone();
        let succession = demand.serve(settings.handover_socket.clone(), handle.succeeded());
        roles.start("succession", async move {
            stopped.run_until_cancelled(succession).await;
            // With a successor there is nothing more to do.
            stopped.cancelled().await;
            Ok(())
        });

        let stopped = stop.clone();
        roles.start("greeting", async move {
            if stopped
                .run_until_cancelled(handle.settled())
                .await
                .is_some()
            {
                greet(&settings, handle.local_addr(), admin)?;
                if let Err(error) = notify::ready() {
                    tracing::warn!(%error, "systemd could not be told that this process is ready");
                }
                stopped.cancelled().await;
            }
            Ok(())
        });
    }
}

/// Ends when a successor has the place of the store; never if there is none.
pub async fn success(succeeded: Option<CancellationToken>) {
    match succeeded {
        Some(succeeded) => succeeded.cancelled().await,
        None => std::future::pending().await,
    }
}
