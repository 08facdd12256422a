//! Runs the engine beside the front, ends it for a successor, and starts it
//! again if the successor fails.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use gcs_sql::Database;
use tokio::{
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::handover::Keeper;
use crate::gcs::{
    engine::{self, EngineState, Settings},
    session::Engine,
};

/// How long the engine may take to end for a successor. It takes longer only
/// while the database is away.
const RETIRES: Duration = Duration::from_secs(5);

/// The engine's task.
pub(crate) struct EngineKeeper {
    engine: Engine,
    settings: Rc<Settings>,
    stop: CancellationToken,
    succeeded: CancellationToken,
    task: RefCell<Option<JoinHandle<EngineState>>>,
}

impl EngineKeeper {
    /// Starts it, with what a predecessor gave. Must be called within a
    /// `LocalSet`.
    pub(crate) fn start(database: Database, settings: Settings, inherited: EngineState) -> Self {
        let keeper = Self {
            engine: Engine::new(database),
            settings: Rc::new(settings),
            stop: CancellationToken::new(),
            succeeded: CancellationToken::new(),
            task: RefCell::default(),
        };
        keeper.resume(inherited);
        keeper
    }

    /// Its handle.
    pub(crate) fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// Fires when a successor has everything.
    pub(crate) fn succeeded(&self) -> CancellationToken {
        self.succeeded.clone()
    }

    /// Lets the task commit what it works on and end.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits for the task's end; what it gives then.
    async fn ended(&self) -> EngineState {
        let task = self.task.take();
        match task {
            None => EngineState::default(),
            Some(task) => given(task.await),
        }
    }
}

/// What the engine's task gave at its end.
fn given(ended: Result<EngineState, JoinError>) -> EngineState {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "the engine's task failed");
        EngineState::default()
    })
}

impl Keeper for EngineKeeper {
    fn retire(&self) -> LocalBoxFuture<'_, Option<EngineState>> {
        Box::pin(async {
            self.engine.retire();
            let mut task = self.task.take()?;
            match timeout(RETIRES, &mut task).await {
                Ok(state) => Some(given(state)),
                Err(_) if self.engine.stay() => {
                    *self.task.borrow_mut() = Some(task);
                    None
                }
                // It is on its way, and that does not take long.
                Err(_) => Some(given(task.await)),
            }
        })
    }

    fn resume(&self, state: EngineState) {
        let (engine, settings) = (self.engine.clone(), Rc::clone(&self.settings));
        let task = engine::run(engine, settings, state, self.stop.clone());
        *self.task.borrow_mut() = Some(tokio::task::spawn_local(task));
    }

    fn handed_over(&self) {
        self.succeeded.cancel();
    }
}
