//! A store of its own for each test, in the test's thread.

use std::{net::SocketAddr, num::NonZeroUsize, rc::Rc, time::Duration};

use bytesize::ByteSize;
use gcs_sql::Database;
use resp::{Client, Reply, Target};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Standing,
    front::{
        Door, Ended, EngineKeeper, Front, FrontError, HandoverError, Passwords,
        handover::{Keeper as _, Offer},
        shared::Shared,
    },
    gcs::{
        engine::{EngineState, Settings},
        status::Board,
    },
    metrics::Metrics,
    schema::MIGRATIONS,
};

/// Longest wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test that spawns tasks of its thread.
pub(super) async fn locally<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

/// A folder for a database, and how its store is to be.
pub(super) struct Stage {
    pub(super) folder: Rc<TempDir>,
    pub(super) config: Config,
    pub(super) quiesce: Duration,
}

/// A running store.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) shared: Rc<Shared>,
    pub(super) metrics: Metrics,
    pub(super) passwords: Passwords,
    pub(super) keeper: Rc<EngineKeeper>,
    stop: CancellationToken,
    task: JoinHandle<Ended>,
    _folder: Rc<TempDir>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            database: format!("sqlite://{}", folder.path().join("store.db").display()),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            handover_socket: Some(folder.path().join("handover")),
            slow: Duration::from_secs(3600),
            ..Config::default()
        };
        Self {
            folder: Rc::new(folder),
            config,
            quiesce: PATIENCE,
        }
    }

    pub(super) fn bounded(commands: usize, memory: ByteSize) -> Self {
        let mut stage = Self::new();
        stage.config.waiting_per_connection = NonZeroUsize::new(commands).unwrap();
        stage.config.waiting_memory = memory;
        stage
    }

    pub(super) fn password(mut self, password: &str) -> Self {
        let path = self.folder.path().join("password");
        std::fs::write(&path, password).unwrap();
        self.config.password_file = Some(path);
        self
    }

    pub(super) async fn start(&self) -> Running {
        let door = Door::open(&self.config, None).await.unwrap();
        let keeper = self.engine(&door, EngineState::default()).await;
        self.run(door, keeper, None).unwrap()
    }

    /// A successor of the one that runs.
    pub(super) async fn take_over(&self) -> Result<Running, HandoverError> {
        let path = self.config.handover_socket.as_ref().unwrap();
        let (offer, state) = Offer::ask(path).await?.unwrap();
        let door = Door::open(&self.config, Some(&offer)).await.unwrap();
        let keeper = self.engine(&door, state).await;
        let inheritance = offer.accept().await?;
        Ok(self.run(door, keeper, Some(inheritance)).unwrap())
    }

    async fn engine(
        &self,
        door: &Door,
        state: EngineState,
    ) -> (Rc<EngineKeeper>, Metrics, Passwords) {
        let settings = gcs_sql::Settings::new(&*self.config.database);
        let database = Database::open(&settings).await.unwrap();
        database.migrate(&MIGRATIONS).await.unwrap();
        let (metrics, passwords) = (Metrics::new(), Passwords::default());
        let settings = Settings {
            place: "here".to_owned(),
            address: door.local_addr().to_string(),
            open: true,
            fold: crate::gcs::engine::FOLD,
            history: self.config.history,
            blob_grace: self.config.blob_grace,
            image_limit: self.config.image_limit.as_u64(),
            lock: Some(self.folder.path().join("store.db.lock")),
            metrics: metrics.clone(),
            board: Board::default(),
            passwords: {
                let passwords = passwords.clone();
                Box::new(move |all| passwords.replace(all))
            },
        };
        let keeper = Rc::new(EngineKeeper::start(database, settings, state));
        let engine = keeper.engine();
        let standing = tokio::time::timeout(PATIENCE, engine.settled());
        assert!(matches!(standing.await.unwrap(), Standing::Active { .. }));
        (keeper, metrics, passwords)
    }

    fn run(
        &self,
        door: Door,
        (keeper, metrics, passwords): (Rc<EngineKeeper>, Metrics, Passwords),
        inheritance: Option<crate::front::handover::Inheritance>,
    ) -> Result<Running, FrontError> {
        let address = door.local_addr();
        let mut door = door;
        door.limits.quiesce = self.quiesce;
        let front = Front::start(
            door,
            keeper.engine(),
            passwords.clone(),
            metrics.clone(),
            inheritance,
        )?;
        let shared = front.shared.clone();
        let stop = CancellationToken::new();
        let task = {
            let (keeper, stop) = (keeper.clone(), stop.clone());
            tokio::task::spawn_local(async move { front.run(&*keeper, stop).await })
        };
        Ok(Running {
            address,
            shared,
            metrics,
            passwords,
            keeper,
            stop,
            task,
            _folder: self.folder.clone(),
        })
    }
}

impl Running {
    pub(super) fn target(&self) -> Target {
        Target::new(self.address.to_string())
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.target()).await.unwrap()
    }

    /// Nothing is committed and answered any more, as when the database is away.
    pub(super) async fn freeze(&self) -> EngineState {
        self.keeper.retire().await.unwrap()
    }

    pub(super) fn thaw(&self, state: EngineState) {
        self.keeper.resume(state);
    }

    /// How it ended.
    pub(super) async fn ended(self) -> Ended {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.keeper.stop().await;
    }
}

/// Waits until `is` holds.
pub(super) async fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A command as its words.
pub(super) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

pub(super) async fn call(client: &mut Client, line: &str) -> Reply {
    client.call(&words(line)).await.unwrap()
}

/// The error that a command is answered with.
pub(super) async fn refused(client: &mut Client, line: &str) -> String {
    let reply = call(client, line).await;
    reply.as_error().expect(line).to_owned()
}
