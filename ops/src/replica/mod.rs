//! `tradewind replica`: an OpenAI-compatible server without a model.
//!
//! Stands in for a model server in demonstrations, drills and tests. It says
//! of itself that it is a demo, in every answer. It registers itself and
//! leaves in order:
//!
//! ```text
//!   listen -> register -> serve ... SIGTERM -> draining -> leave -> finish
//! ```
//!
//! Invariants:
//! 1. Equal requests get equal answers (`speech`, `vector`: pure).
//! 2. Each request leaves two lines in the journal: started, and either
//!    finished or aborted (`each_request_leaves_two_lines`).

mod answer;
mod api;
mod ask;
mod journal;
mod refusal;
mod speech;
mod stream;
mod vector;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use discovery_client::{
    Address, Application, Endpoint, EndpointId, Key, Kind, Life, Registrar, Registration,
    RemoteRegistry, Site, State,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use self::{api::Demo, journal::Journal};

/// Flags of `replica`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Any request may carry these headers, or the same in its body under `demo`
(`delay_ms`, `tokens_per_s`, `tokens`):
  x-demo-delay-ms       time to the first token, or to a unary answer
  x-demo-tokens-per-s   tokens a second of a stream
  x-demo-tokens         length of the answer, in tokens

Examples:
  tradewind replica --listen 127.0.0.1:9000
  tradewind replica --register http://127.0.0.1:7722 --site east --id r9 --model demo-chat")]
pub struct Args {
    /// Where it listens; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// A model it offers; may be given several times.
    #[arg(long = "model", value_name = "NAME", default_values = ["demo-chat", "demo-embed"])]
    models: Vec<Application>,
    /// The site it belongs to.
    #[arg(long, default_value = "local")]
    site: Site,
    /// Its name in the site.
    #[arg(long, default_value = "r1")]
    id: EndpointId,
    /// A registry of the site, where it makes itself known. Absent: nowhere.
    #[arg(long, value_name = "URL")]
    register: Option<Address>,
    /// Time to the first token of a stream, or to a unary answer.
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Tokens a second of a stream.
    #[arg(long, default_value_t = 50.0)]
    token_rate: f64,
    /// Where the journal goes: a JSON line when a request starts, finishes or
    /// is aborted. Absent: standard error.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long requests in flight may go on after SIGTERM.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Ends when the process that started it ends.
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

/// How long the registry keeps it without a word.
const LEASE: Duration = Duration::from_secs(3);
/// How long the news that it drains may take to reach the gateways.
const SPREAD: Duration = Duration::from_millis(500);

/// Runs it until SIGTERM or Ctrl-C.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.die_with_parent {
        crate::dev::die_with_parent()?;
    }
    anyhow::ensure!(
        args.token_rate.is_finite() && args.token_rate > 0.0,
        "--token-rate {} is not allowed: more than 0",
        args.token_rate
    );
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = Address::from(listener.local_addr()?);
    let journal = Journal::open(args.log.as_deref())?;
    let demo = Arc::new(Demo {
        site: args.site.clone(),
        id: args.id.clone(),
        models: args.models.clone(),
        pace: ask::Pace {
            delay: args.delay,
            tokens_per_s: args.token_rate,
        },
        journal,
    });
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let registration = register(&args, &address, &stop, &mut tasks)?;
    eprintln!(
        "demo replica {}/{} listens on {address}",
        args.site, args.id
    );

    let drain = CancellationToken::new();
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
    });
    let serve = axum::serve(listener, api::router(demo))
        .with_graceful_shutdown(drain.clone().cancelled_owned());
    let mut server = std::pin::pin!(serve.into_future());
    tokio::select! {
        ended = &mut server => ended.context("the listener failed")?,
        signal = crate::dev::stop_signal() => signal?,
        Some(ended) = tasks.join_next() => {
            ended.context("the registration's task failed")?.context("the registry refused this replica")?;
        }
    }
    // Requests still come, and are served, until the news has spread.
    if let Some(registration) = &registration {
        registration.set_state(State::Draining);
        if timeout(SPREAD, &mut server).await.is_err()
            && let Err(error) = registration.leave(LEASE).await
        {
            tracing::warn!(%error, "left without the registry's word");
        }
    }
    drain.cancel();
    let finished = timeout(args.grace, server).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    match finished {
        Ok(ended) => ended
            .context("the listener failed")
            .map(|()| ExitCode::SUCCESS),
        Err(_) => anyhow::bail!(
            "requests were still in flight after {}",
            humantime::format_duration(args.grace)
        ),
    }
}

type Registering = JoinSet<Result<(), discovery_client::Error>>;

/// Begins to register, if there is a registry.
fn register(
    args: &Args,
    address: &Address,
    stop: &CancellationToken,
    tasks: &mut Registering,
) -> anyhow::Result<Option<Registration>> {
    let Some(registry) = &args.register else {
        return Ok(None);
    };
    let mut applications = args.models.clone();
    applications.sort();
    applications.dedup();
    let endpoint = Endpoint {
        key: Key {
            site: args.site.clone(),
            id: args.id.clone(),
        },
        kind: Kind::Replica,
        address: address.clone(),
        applications,
        state: State::Serving,
        capacity: None,
        life: Life::begin(),
    };
    let name = endpoint.key.to_string();
    let registry = RemoteRegistry::new(name, registry.clone()).context("cannot use --register")?;
    let (registrar, registration) = Registrar::new(Arc::new(registry), endpoint, LEASE);
    tasks.spawn(registrar.run(stop.clone()));
    Ok(Some(registration))
}
