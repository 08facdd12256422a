//! The store of one process: its thread, and what others hold of it.
//!
//! ```text
//!   open:  database, migrations  -->  a predecessor's offer, if one is to be
//!          taken over  -->  listener  -->  engine  -->  front
//!   run:   until a stop, or until a successor has everything
//! ```
//!
//! Front and engine share one thread and one event loop of their own, as Redis
//! does: no lock, no wake of another core, and nothing of the control runtime
//! can delay a command.
//!
//! Invariants:
//! 1. A predecessor is asked to stand still only when the database answers and
//!    its tables are there, so that the silence is short.
//! 2. What a predecessor gave is accepted only once the engine knows whether it
//!    is active; until then the predecessor goes on if this process fails.

use std::{fs, net::SocketAddr, path::PathBuf, pin::pin, thread, time::Duration};

use gcs_sql::Database;
use prometheus_client::collector::Collector;
use tokio::{
    runtime, select,
    sync::{mpsc, oneshot, watch},
    task::LocalSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    Config, Error, Report, Standing, Status,
    config::Namespaces,
    front::{Door, EngineKeeper, Front, Passwords, handover::Offer},
    gcs::{engine, patience::Patience, status::Board},
    metrics::Metrics,
    schema::MIGRATIONS,
};

/// How long the engine of a successor may take to know its standing; the
/// predecessor waits for a little longer.
const STANDING: Duration = Duration::from_secs(25);

/// How long a database may take to start.
const STARTS: Duration = Duration::from_secs(60);

/// How long a report may take to be made.
const REPORT: Duration = Duration::from_secs(1);

/// A store that is open: it has a listener, and is not served yet.
#[derive(Debug)]
pub struct Store {
    handle: Handle,
    go: oneshot::Sender<CancellationToken>,
    ended: oneshot::Receiver<()>,
}

/// What others hold of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    address: SocketAddr,
    metrics: Metrics,
    board: Board,
    standings: watch::Receiver<Standing>,
    reports: mpsc::Sender<oneshot::Sender<Report>>,
    succeeded: CancellationToken,
}

impl Store {
    /// Opens the database, binds the listener (or takes a predecessor's place)
    /// and starts the engine.
    ///
    /// # Errors
    /// [`Error`]; a predecessor then goes on as before.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let (opened, opening) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("tw-store".to_owned());
        let body = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    let local = LocalSet::new();
                    local.block_on(&runtime, live(config, opened, gone));
                }
                Err(error) => {
                    let reason = error.to_string();
                    // Nobody waits any more: there is nobody to tell.
                    let _unheard = opened.send(Err(Error::Ended { reason }));
                }
            }
            let _unheard = end.send(());
        };
        thread.spawn(body).map_err(|error| Error::Ended {
            reason: error.to_string(),
        })?;
        let handle = opening.await.map_err(|_| fell())??;
        Ok(Self { handle, go, ended })
    }

    /// What others hold of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `stop` fires, or until a successor serves and no connection
    /// is relayed to it any more.
    ///
    /// # Errors
    /// [`Error::Ended`] if its thread fell.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        self.go.send(stop).map_err(|_| fell())?;
        self.ended.await.map_err(|_| fell())
    }
}

fn fell() -> Error {
    Error::Ended {
        reason: "it panicked; its last words are in the log".to_owned(),
    }
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether it answers for the database.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standings.borrow().clone()
    }

    /// Waits until that is known.
    pub async fn settled(&self) {
        let mut standings = self.standings.clone();
        // The sender goes when the store ends: then nothing settles any more.
        if settled(&mut standings).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The engine as it was a moment ago.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// The front as it is now; none if its thread is busy or has ended.
    pub async fn report(&self) -> Option<Report> {
        let (ask, answer) = oneshot::channel();
        self.reports.try_send(ask).ok()?;
        timeout(REPORT, answer).await.ok()?.ok()
    }

    /// The numbers, for the registry of the process.
    #[must_use]
    pub fn collector(&self) -> Box<dyn Collector> {
        self.metrics.collector()
    }

    /// Fires when a successor has the connections and the database.
    #[must_use]
    pub fn succeeded(&self) -> CancellationToken {
        self.succeeded.clone()
    }
}

async fn settled(standings: &mut watch::Receiver<Standing>) -> Option<()> {
    let known = standings.wait_for(|it| *it != Standing::Starting).await;
    known.ok().map(drop)
}

/// The whole life of the thread.
async fn live(
    config: Config,
    opened: oneshot::Sender<Result<Handle, Error>>,
    go: oneshot::Receiver<CancellationToken>,
) {
    let (reports, mut asked) = mpsc::channel(16);
    let (keeper, front, handle) = match begin(&config, reports).await {
        Ok(begun) => begun,
        Err(error) => {
            // Nobody waits any more: there is nobody to tell.
            let _unheard = opened.send(Err(error));
            return;
        }
    };
    if opened.send(Ok(handle)).is_err() {
        return;
    }
    let Ok(stop) = go.await else {
        return keeper.stop().await;
    };
    let reporter = front.reporter();
    let answering = async {
        while let Some(ask) = asked.recv().await {
            let _unheard = ask.send(reporter());
        }
        std::future::pending::<()>().await;
    };
    {
        let mut serving = pin!(front.run(&keeper, stop));
        let mut answering = pin!(answering);
        select! {
            _ended = &mut serving => {}
            () = &mut answering => {}
        }
    }
    keeper.stop().await;
}

async fn begin(
    config: &Config,
    reports: mpsc::Sender<oneshot::Sender<Report>>,
) -> Result<(EngineKeeper, Front, Handle), Error> {
    let database = open(config).await?;

    let (metrics, board) = (Metrics::new(), Board::default());
    let (offer, inherited) = match &config.handover_socket {
        Some(socket) if config.take_over => match Offer::ask(socket).await? {
            Some((offer, inherited)) => (Some(offer), inherited),
            None => {
                tracing::info!("nobody to take over from");
                (None, engine::EngineState::default())
            }
        },
        _ => (None, engine::EngineState::default()),
    };
    let door = Door::open(config, offer.as_ref()).await?;
    let address = door.local_addr();
    let passwords = Passwords::default();
    let heard = passwords.clone();
    let advertised = config
        .advertise
        .clone()
        .unwrap_or_else(|| address.to_string());
    let settings = engine::Settings {
        place: format!("{} {advertised}", host()),
        address: advertised,
        open: config.namespaces == Namespaces::Open,
        fold: engine::FOLD,
        history: config.history,
        blob_grace: config.blob_grace,
        image_limit: config.image_limit.as_u64(),
        lock: lock(&config.database),
        metrics: metrics.clone(),
        board: board.clone(),
        passwords: Box::new(move |all| heard.replace(all)),
    };
    let keeper = EngineKeeper::start(database, settings, inherited);
    let mut standings = keeper.engine().standings();
    let inheritance = match offer {
        None => None,
        Some(offer) => {
            let known = timeout(STANDING, settled(&mut standings)).await;
            if known.ok().flatten().is_none() {
                let reason = "the database could not be taken in time".to_owned();
                return Err(Error::TakeOver { reason });
            }
            Some(offer.accept().await?)
        }
    };
    let front = Front::start(
        door,
        keeper.engine(),
        passwords,
        metrics.clone(),
        inheritance,
    )?;
    let handle = Handle {
        address,
        metrics,
        board,
        standings,
        reports,
        succeeded: keeper.succeeded(),
    };
    Ok((keeper, front, handle))
}

fn settings(config: &Config) -> Result<gcs_sql::Settings, Error> {
    let mut settings = gcs_sql::Settings::new(&config.database);
    settings.connections = config.database_connections.get();
    settings.deadline = config.statement_deadline;
    if let Some(path) = &config.database_password_file {
        let read = fs::read_to_string(path).map(Zeroizing::new);
        let text = read.map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        settings.password = Some(password.to_owned().into());
    }
    Ok(settings)
}

/// The database with its tables. One that is starting is waited for, unless a
/// predecessor serves meanwhile; a wrong address is told at once.
async fn open(config: &Config) -> Result<Database, Error> {
    let settings = settings(config)?;
    let (began, mut patience) = (Instant::now(), Patience::new("opening the database"));
    loop {
        let opened = async {
            let database = Database::open(&settings).await?;
            database.migrate(&MIGRATIONS).await?;
            Ok(database)
        };
        match opened.await {
            Err(error) if waits(&error) && !config.take_over && began.elapsed() < STARTS => {
                patience.wait(&error).await;
            }
            opened => return opened.map_err(Error::Database),
        }
    }
}

fn waits(error: &gcs_sql::Error) -> bool {
    error.is_transient() && !matches!(error, gcs_sql::Error::Full { .. })
}

/// The file whose lock says that a process has the SQLite database.
fn lock(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or(path);
    // One file has one lock, whatever way leads to it. It is there: it was
    // opened before.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    Some(format!("{}.lock", path.display()).into())
}

/// The name of this machine.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
