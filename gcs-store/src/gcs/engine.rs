//! The one task that writes: waits for the database, serves while it has it.
//!
//! ```text
//!   starting --> free, or its holder gave no sign of life for 8 s --> active
//!      |    ^                                                           |
//!      v    '------------ deposed: connections are closed --------------'
//!   standby (sends heads to the active one)
//! ```
//!
//! An SQLite file is on one machine; there a lock on a file beside it stands
//! for the signs of life, because the system lets go of it when a process dies.

use std::{collections::HashMap, fs::File, path::PathBuf, rc::Rc, time::Duration};

use gcs_sql::{Database, Dialect};
use ray_tables::{NamespaceName, TableName};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    cursor::Cursors,
    heads::Heads,
    key::NamespaceId,
    patience::Patience,
    session::{Engine, Standing},
    status::Board,
    term::{End, SURE, Term},
    writer::{self, Held, Writer},
};
use crate::metrics::Metrics;

/// How long the holder must have given no sign of life before another takes the
/// database: longer than it answers reads from memory, and longer than one
/// statement may keep it from giving any.
fn silence(database: &Database) -> Duration {
    SURE + SURE.max(database.deadline())
}

/// How long a stop waits for the group under way. What is not durable by then
/// has not been answered either.
const LAST_GROUP: Duration = Duration::from_secs(3);

/// Between two looks of a standby.
const LOOK: Duration = Duration::from_millis(500);

/// Between two folds, where nobody asks for another time: long enough for many
/// signs of life to become one row, short enough for views to be of use.
pub(crate) const FOLD: Duration = Duration::from_secs(2);

/// What the engine is told at its start.
pub(crate) struct Settings {
    /// Host and address: two processes with the same place are never up at the
    /// same time, so one takes over from the other at once.
    pub(crate) place: String,
    /// Where heads reach this process, `host:port`.
    pub(crate) address: String,
    /// Whether a first write makes a namespace.
    pub(crate) open: bool,
    /// Between two folds.
    pub(crate) fold: Duration,
    pub(crate) history: Duration,
    pub(crate) blob_grace: Duration,
    pub(crate) image_limit: u64,
    /// The file whose lock stands for an SQLite database.
    pub(crate) lock: Option<PathBuf>,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    /// Hears the namespaces' password hashes when a term begins and whenever
    /// the catalog has changed.
    pub(crate) passwords: Box<dyn Fn(Passwords)>,
}

/// Password hashes (PHC strings) by namespace.
pub(crate) type Passwords = HashMap<NamespaceName, Vec<String>>;

/// What a successor process must know to go on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EngineState {
    heads: Vec<(NamespaceId, Heads)>,
    cursors: Vec<(u64, NamespaceId, TableName, Vec<u8>)>,
}

/// The engine's task behind the handle `engine`. Runs until `stop` fires or a
/// successor is to take over; then it returns what that one must know.
pub(crate) async fn run(
    engine: Engine,
    settings: Rc<Settings>,
    inherited: EngineState,
    stop: CancellationToken,
) -> EngineState {
    let shared = engine.shared();
    let mut heads: HashMap<NamespaceId, Heads> = inherited.heads.into_iter().collect();
    let mut cursors = Cursors::import(inherited.cursors);
    let mut first = true;
    loop {
        let taking = take(&engine, &settings, first);
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = shared.retire.notified() => None,
            taken = taking => Some(taken),
        };
        let Some((epoch, _lock)) = taken else {
            return EngineState {
                heads: heads.into_iter().collect(),
                cursors: cursors.export(),
            };
        };
        first = false;
        gcs_sql::crash::point("startup-taken");
        let writer = Writer::new(shared.database().clone(), epoch);
        let term = Term::begin(
            Rc::clone(shared),
            Rc::clone(&settings),
            writer,
            std::mem::take(&mut heads),
            std::mem::take(&mut cursors),
        );
        let serving = async {
            let mut term = term.await.ok()?;
            let standing = Standing::Active {
                epoch: u64::try_from(epoch).unwrap_or(0),
            };
            tracing::info!(epoch, "active");
            shared.standing.send_replace(standing);
            match term.serve(&stop).await {
                End::Deposed => return None,
                End::Stopped => shared.close_all(),
                End::Retired => {}
            }
            let (heads, cursors) = term.leave().await;
            Some(EngineState {
                heads,
                cursors: cursors.export(),
            })
        };
        let overdue = async {
            stop.cancelled().await;
            sleep(LAST_GROUP).await;
        };
        let left = tokio::select! {
            biased;
            left = serving => left,
            () = overdue => {
                tracing::warn!("the database is away: what waits for it is not answered");
                shared.close_all();
                return EngineState::default();
            }
        };
        if let Some(state) = left {
            return state;
        }
        tracing::warn!("deposed: another process has the database; closing all connections");
        shared.standing.send_replace(Standing::Starting);
        shared.close_all();
    }
}

/// Waits until the database is this process's; the epoch, and the lock to hold.
///
/// On the `first` time its place may be free: whoever had it before is no more.
/// Later, somebody who has this place is alive.
async fn take(engine: &Engine, settings: &Settings, first: bool) -> (i64, Option<File>) {
    let shared = engine.shared();
    let database = shared.database();
    let holder = format!("{}#{:016x}", settings.place, fastrand::u64(..));
    let lock = match &settings.lock {
        Some(path) if database.dialect() == Dialect::Sqlite => Some(lock(path).await),
        _ => None,
    };
    let mut seen: Option<(Held, Instant)> = None;
    let mut patience = Patience::new("asking who has the database");
    loop {
        let held = match writer::read(database).await {
            Ok(held) => held,
            Err(error) => {
                // What was not seen is not silence.
                seen = None;
                patience.wait(&error).await;
                continue;
            }
        };
        if held.holder == holder {
            return (held.epoch, lock);
        }
        let silent = match &seen {
            Some((before, since)) if *before == held => since.elapsed() >= silence(database),
            _ => {
                seen = Some((held.clone(), Instant::now()));
                false
            }
        };
        let place = held.holder.split_once('#').map(|(place, _)| place);
        let own = first && (lock.is_some() || place == Some(&settings.place));
        if held.holder.is_empty() || own || silent {
            // Nobody is sent anywhere from now on.
            shared.standing.send_replace(Standing::Starting);
            match writer::take(database, &held, &holder, &settings.address).await {
                Ok(true) => return (held.epoch + 1, lock),
                Ok(false) => {}
                Err(error) => patience.wait(&error).await,
            }
            continue;
        }
        let standing = Standing::Standby {
            active: held.address.clone(),
        };
        shared.standing.send_if_modified(|now| {
            let news = *now != standing;
            if news {
                tracing::info!(active = held.address, "standing by");
                *now = standing.clone();
            }
            news
        });
        settings.board.standing(&standing);
        sleep(LOOK).await;
    }
}

/// Takes the lock of an SQLite database as soon as its holder lets go.
async fn lock(path: &PathBuf) -> File {
    let mut patience = Patience::new("locking the database file");
    loop {
        let tried = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .and_then(|file| file.try_lock().map_err(std::io::Error::from).map(|()| file));
        match tried {
            Ok(file) => return file,
            Err(error) => patience.wait(&error).await,
        }
    }
}
