//! The three databases a store may stand on.

use anyhow::{Result, bail};
use harness::{Setup, mariadb::Mariadb, postgres::Postgres};
use tempfile::TempDir;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, which stands for MySQL too.
    Mariadb,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Mariadb];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
        }
    }
}

/// A database server, or a folder for files.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    server: Server,
    /// Dropped after the server, whose data is in there.
    folder: TempDir,
}

#[derive(Debug)]
enum Server {
    None,
    Postgres(Box<Postgres>),
    Mariadb(Box<Mariadb>),
}

impl Database {
    /// Starts one; it syncs to the disk what it commits only if it is to be
    /// `durable`, which is needed where the server itself is killed.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub async fn start(kind: Kind, durable: bool) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = temporary.path();
        let setup = Setup {
            durable,
            ..Setup::default()
        };
        let server = match kind {
            Kind::Sqlite => Server::None,
            Kind::Postgres => {
                Server::Postgres(Box::new(Postgres::start_with(folder, setup).await?))
            }
            Kind::Mariadb => Server::Mariadb(Box::new(Mariadb::start_with(folder, setup).await?)),
        };
        Ok(Self {
            kind,
            server,
            folder: temporary,
        })
    }

    /// Which it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The URL of an empty database.
    ///
    /// # Errors
    /// If there is one of that name already.
    pub async fn empty(&self, name: &str) -> Result<String> {
        match &self.server {
            Server::None => {
                let file = self.folder.path().join(format!("{name}.db"));
                if file.exists() {
                    bail!("{} is there already", file.display());
                }
                Ok(format!("sqlite://{}", file.display()))
            }
            Server::Postgres(server) => server.database(name).await,
            Server::Mariadb(server) => server.database(name).await,
        }
    }

    /// SIGKILL to the server; a file has none.
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::None => {}
            Server::Postgres(server) => server.kill(),
            Server::Mariadb(server) => server.kill(),
        }
    }

    /// Starts the server again on the same port and data.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart(&mut self) -> Result<()> {
        match &mut self.server {
            Server::None => Ok(()),
            Server::Postgres(server) => server.restart().await,
            Server::Mariadb(server) => server.restart().await,
        }
    }

    /// SIGSTOP to all its processes.
    pub fn pause(&self) {
        match &self.server {
            Server::None => {}
            Server::Postgres(server) => server.pause(),
            Server::Mariadb(server) => server.pause(),
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        match &self.server {
            Server::None => {}
            Server::Postgres(server) => server.resume(),
            Server::Mariadb(server) => server.resume(),
        }
    }
}
