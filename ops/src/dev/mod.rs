//! `tradewind dev`: the whole demonstration on one machine.
//!
//! ```text
//!                         supervisor, control API
//!            starts, watches, restarts  |  and takes away, for a drill
//!       .------------------.------------+--------.
//!       v                  v                     v
//!     front              east                  west          ...
//!     gateway+registry   gateway+registry      gateway+registry
//!     (no replicas)      r1 r2 ...             r1 r2 ...
//! ```
//!
//! Every box is a process of its own, so that killing one is real, and dies
//! with the supervisor, even by `kill -9`. `front` is an edge: it follows every
//! site and nobody depends on it; its address survives the loss of any site.

pub mod child;
mod control;
pub mod fault;
pub mod http;
mod news;
pub mod plan;
mod process;
mod site;
pub mod state;
mod supervisor;
mod voice;

use std::{
    fs::{self, File, TryLockError},
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use process::{die_with_parent, stop_signal};

use self::{
    child::Recipe,
    plan::{MAX_REPLICAS, MAX_SITES, MODELS, Plan, SitePlan, local, ports_needed},
    site::{Process, SiteProcesses},
    state::{SiteState, State},
    supervisor::Supervisor,
    voice::Voice,
};
use crate::cli::Output;

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many sites, 1 to 8.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_SITES)))]
    sites: u8,
    /// How many replicas in each, 1 to 16.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS)))]
    replicas: u8,
    /// The first port; 0 takes free ones.
    #[arg(long, default_value_t = 7700)]
    base_port: u16,
    /// Where configurations, logs and `dev.json` go.
    #[arg(long, default_value = ".tradewind/dev", value_name = "FOLDER")]
    state_dir: PathBuf,
    /// When a process that died is started again: a time, or `never`.
    #[arg(long, default_value = "5s", value_name = "TIME")]
    restart_after: Pause,
    /// Time to a demo replica's first token, or to its unary answer.
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Tokens a second of a demo replica's streams.
    #[arg(long, default_value_t = 50.0)]
    token_rate: f64,
    #[command(flatten)]
    output: Output,
}

/// A time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause(Option<Duration>);

impl FromStr for Pause {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self(None));
        }
        let time = humantime::parse_duration(text);
        time.map(|time| Self(Some(time)))
            .map_err(|error| format!("{error}; write a time such as 5s, or never"))
    }
}

/// Everything is up within this, or the start has failed.
const START: Duration = Duration::from_secs(60);
/// Commands on their way to the supervisor.
const COMMANDS: usize = 64;

/// Runs it until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    fs::create_dir_all(&args.state_dir)
        .with_context(|| format!("cannot make {}", args.state_dir.display()))?;
    let folder = args
        .state_dir
        .canonicalize()
        .context("cannot find the state folder")?;
    let _lock = lock(&folder)?;
    let plan = plan(&args)?;
    let control = tokio::net::TcpListener::bind(("127.0.0.1", plan.control))
        .await
        .context("the control API's port")?;
    let voice = Voice {
        json: args.output.json(),
    };
    let program = std::env::current_exe().context("cannot find this program")?;
    let sites = plan
        .sites
        .iter()
        .map(|site| prepare(&args, &plan, site, &folder))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let about = State {
        version: 1,
        ready: false,
        program: program.clone(),
        pid: std::process::id(),
        front: local(plan.sites[0].gateway),
        control: local(plan.control),
        state_dir: folder,
        models: MODELS.map(str::to_owned).to_vec(),
        sites: Vec::new(),
        fault: None,
    };

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (line, mut commands) = mpsc::channel(COMMANDS);
    let server = axum::serve(control, control::router(line))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::warn!(%error, "the control API ended");
        }
    });
    let mut supervisor = Supervisor::new(about, sites, args.restart_after.0, voice);
    let views = news::follow(&plan, &stop, &mut tasks)?;
    let work = async {
        supervisor.start()?;
        let ready = news::ready(plan.clone(), views.clone(), START);
        tokio::pin!(ready);
        loop {
            tokio::select! {
                ready = &mut ready => break ready?,
                step = supervisor.step(&mut commands) => step?,
            }
        }
        voice.ready(&supervisor.ready(), began.elapsed());
        for (site, view) in plan.sites.iter().zip(views) {
            tasks.spawn(news::tell(site.clone(), view, voice, stop.clone()));
        }
        loop {
            supervisor.step(&mut commands).await?;
        }
    };
    let outcome: anyhow::Result<()> = tokio::select! {
        outcome = work => outcome,
        signal = stop_signal() => signal,
    };
    voice.note("", "", "stopping", "everything");
    stop.cancel();
    supervisor.stop().await;
    // What still holds a connection to the control API is cut off.
    tasks.shutdown().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Held for as long as the file lives; a second demonstration finds it taken.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another `tradewind dev` runs on {}: stop it, or choose another folder with --state-dir",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The ports, each of them free at this moment.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    let (sites, replicas) = (args.sites, args.replicas);
    if args.base_port == 0 {
        // All are held until the last one is found, so that no two are equal.
        let held = (0..ports_needed(sites, replicas)).map(|_| TcpListener::bind(("127.0.0.1", 0)));
        let held = held
            .collect::<Result<Vec<_>, _>>()
            .context("cannot find free ports")?;
        let ports = held
            .iter()
            .map(|it| it.local_addr().map(|it| it.port()))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(Plan::on(&ports, sites, replicas));
    }
    let plan = Plan::at(args.base_port, sites, replicas).with_context(|| {
        format!(
            "--base-port {} leaves no room for {sites} sites below port 65536",
            args.base_port
        )
    })?;
    for plan::Use { port, by } in plan.uses() {
        TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!("port {port}, for {by}, cannot be used; choose others with --base-port, or 0 for free ones")
        })?;
    }
    Ok(plan)
}

/// Makes sure that there is no such file.
fn gone(path: PathBuf) -> anyhow::Result<PathBuf> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// Writes a site's configuration and says how to start its processes.
fn prepare(
    args: &Args,
    plan: &Plan,
    site: &SitePlan,
    folder: &Path,
) -> anyhow::Result<SiteProcesses> {
    let name = &site.name;
    let file = |what: &str| folder.join(format!("{name}{what}"));
    let fresh = |path: PathBuf| -> anyhow::Result<PathBuf> {
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let (config, access) = (file(".yaml"), fresh(file("-access.jsonl"))?);
    // A restart within this demonstration knows its records again; a new
    // demonstration has other processes.
    let database = gone(file("-registry.db"))?;
    gone(file("-registry.db-wal"))?;
    gone(file("-registry.db-shm"))?;
    let text = plan.config(site, &access.to_string_lossy(), &database.to_string_lossy());
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    let gateway = Recipe {
        name: "gateway".to_owned(),
        args: vec![
            "serve".into(),
            "-c".into(),
            config.into(),
            "--die-with-parent".into(),
        ],
        address: local(site.gateway),
        log: fresh(file("-gateway.log"))?,
        journal: access,
    };
    let mut processes = vec![Process::new(gateway)];
    for (nth, port) in (1..).zip(&site.replicas) {
        let journal = fresh(file(&format!("-r{nth}.jsonl")))?;
        let mut arguments: Vec<std::ffi::OsString> =
            vec!["replica".into(), "--die-with-parent".into()];
        let flags = [
            ("--listen", format!("127.0.0.1:{port}")),
            ("--site", name.to_string()),
            ("--id", format!("r{nth}")),
            ("--register", local(site.registry).to_string()),
            (
                "--delay",
                humantime::format_duration(args.delay).to_string(),
            ),
            ("--token-rate", args.token_rate.to_string()),
            ("--grace", "3s".to_owned()),
        ];
        let models = MODELS.map(|model| ("--model", model.to_owned()));
        for (flag, value) in flags.into_iter().chain(models) {
            arguments.extend([flag.into(), value.into()]);
        }
        arguments.extend(["--log".into(), journal.clone().into()]);
        processes.push(Process::new(Recipe {
            name: format!("r{nth}"),
            args: arguments,
            address: local(*port),
            log: fresh(file(&format!("-r{nth}.log")))?,
            journal,
        }));
    }
    let about = SiteState {
        name: name.clone(),
        edge: site.replicas.is_empty(),
        gateway: local(site.gateway),
        admin: local(site.admin),
        registry: local(site.registry),
        processes: Vec::new(),
    };
    Ok(SiteProcesses { about, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demonstration_on_one_folder_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let error = lock(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("another `tradewind dev` runs on") && error.contains("--state-dir"),
            "{error}"
        );
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }

    #[test]
    fn a_pause_is_a_time_or_never() {
        assert_eq!("never".parse(), Ok(Pause(None)));
        assert_eq!("250ms".parse(), Ok(Pause(Some(Duration::from_millis(250)))));
        assert!("soon".parse::<Pause>().unwrap_err().contains("or never"));
    }
}
