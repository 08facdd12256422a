//! One core of the data plane: a thread, an event loop, and everything a
//! request needs without asking another core.

use std::{
    net::TcpListener as StdListener,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use discovery_client::Site;
use http::HeaderValue;
use tokio::{net::TcpListener, runtime::LocalRuntime};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    config::Config,
    deadline::LimitBook,
    dialect::Routes,
    dispatch::Dispatch,
    entry::Entry,
    fleet::{Clock, Fleet},
    listen,
    pool::Pool,
    record::Scribe,
    route::{Route, Router},
    span::Tracing,
    stack::stack,
    sweep::Sweep,
    tally::{Tallies, Tally},
    upload::ReplayMemory,
};

/// How often a core hands on its access lines and looks through idle
/// connections. Seldom: either delays the request that comes at that moment.
const TIDY_EVERY: Duration = Duration::from_millis(500);

/// What all cores share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) here: Site,
    pub(crate) fleet: Arc<ArcSwap<Fleet>>,
    pub(crate) clock: Clock,
    pub(crate) replay: ReplayMemory,
    pub(crate) tallies: Tallies,
    pub(crate) in_flight: Arc<AtomicU64>,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) tracing: Option<Tracing>,
}

/// Runs a core on the present thread until `stop` fires and it has drained.
pub(crate) fn run(
    shared: Shared,
    listener: StdListener,
    access: Access,
    most: usize,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        let sweep = Sweep::new();
        let pool = Rc::new(Pool::default());
        let scribe = Rc::new(Scribe {
            here: shared.here.clone(),
            site: HeaderValue::from_str(shared.here.as_str()).map_err(std::io::Error::other)?,
            tally: Tally::new(&shared.tallies, Arc::clone(&shared.in_flight)),
            access,
            tracing: shared.tracing.clone(),
        });
        let route = Route::from(Router {
            fleet: Arc::clone(&shared.fleet),
            clock: shared.clock,
            attempts: shared.config.retry.attempts,
            dispatch: Dispatch::new(
                Rc::clone(&pool),
                Rc::clone(&sweep),
                shared.clock,
                &shared.here,
            ),
            random: fastrand::Rng::new().into(),
            desperate: 0.into(),
        });
        let limits = Rc::new(LimitBook::from(&*shared.config));
        let entry = Rc::new(Entry {
            routes: Rc::new(Routes::from(&*shared.config)),
            config: shared.config,
            fleet: Arc::clone(&shared.fleet),
            sweep: Rc::clone(&sweep),
            scribe: Rc::clone(&scribe),
            replay: shared.replay,
        });
        let serving = listen::serve(
            listener,
            entry,
            stack(limits, route),
            most,
            shared.connections,
            stop,
        );
        tokio::select! {
            () = serving => {}
            () = sweep.run() => {}
            () = tidy(&pool, &shared.fleet, &scribe) => {}
        }
        Ok(())
    })
}

async fn tidy(pool: &Pool, fleet: &ArcSwap<Fleet>, scribe: &Scribe) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    loop {
        ticks.tick().await;
        scribe.access.flush();
        pool.prune(&fleet.load());
    }
}
