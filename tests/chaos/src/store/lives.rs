//! Lives of a store: each ends where it was told to, or somewhere else.

use std::{os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::wait;
use rustix::process::Signal;

use super::{
    clients::Work,
    process::{READY, Serve, Standing, Store, standing},
    trial::Trial,
};

/// A point must be reached within this.
pub(super) const REACHED: Duration = Duration::from_secs(60);
/// How hard clients work while stores die.
pub(super) const WORK: Work = Work {
    clients: 6,
    pause: Duration::from_millis(2),
};

/// Starts a store that is told nothing; what was unanswered is decided then.
pub(super) async fn start(serve: &Serve, trial: &Trial) -> Result<Store> {
    let mut store = serve.start()?;
    store.active(READY).await?;
    trial.settle();
    Ok(store)
}

/// It dies at one of the first so many passings of the point.
pub(super) async fn die_at_work(
    serve: &Serve,
    trial: &mut Trial,
    name: &str,
    most: u32,
) -> Result<()> {
    let nth = trial.dice.u32(1..=most);
    let mut store = serve.clone().crash_at(name, nth).start()?;
    // What one life has not folded the next one folds first: it may die of that.
    let active = store.active(READY).await;
    if active.is_err() {
        return died(&mut store, name).await;
    }
    trial.settle();
    let clients = trial.clients(store.address());
    died(&mut store, name).await?;
    clients.stop().await;
    Ok(())
}

/// SIGKILL after some commands.
pub(super) async fn die_at_any_moment(serve: &Serve, trial: &mut Trial) -> Result<()> {
    let mut store = start(serve, trial).await?;
    let clients = trial.clients(store.address());
    let commands = trial.dice.usize(20..200);
    trial.more(commands, REACHED).await?;
    store.kill();
    clients.stop().await;
    Ok(())
}

/// It dies before it serves.
pub(super) async fn die_at_start(serve: &Serve, name: &str, nth: u32) -> Result<()> {
    let mut store = serve.clone().crash_at(name, nth).start()?;
    died(&mut store, name).await
}

/// One of the two dies; the other goes on with the connections, or nobody does.
pub(super) async fn die_at_handover(
    serve: &Serve,
    trial: &mut Trial,
    name: &str,
    survived: bool,
) -> Result<()> {
    let mut store = serve.clone().crash_at(name, 1).start()?;
    store.active(READY).await?;
    trial.settle();
    let mut clients = trial.clients(store.address());
    let commands = trial.dice.usize(20..100);
    trial.more(commands, REACHED).await?;
    let earlier = crashes(&store, name);
    // Whether the command calls it a success is not the point here.
    let mut command = store.handover_command()?;
    let _command = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait::until("the kill point", REACHED, async || {
        let dead = crashes(&store, name) > earlier;
        ensure!(dead, "{name} was not passed\n{}", store.log());
        Ok(())
    })
    .await?;
    let survivor = wait::until("a survivor, or none", READY, async || {
        if store.serving().is_empty() {
            return Ok(false);
        }
        let found = standing(store.address()).await?;
        ensure!(found == Standing::Active, "{found:?}");
        Ok(true)
    })
    .await?;
    ensure!(
        survivor == survived,
        "after {name} somebody should serve: {survived}, does: {survivor}\n{}",
        store.log()
    );
    if survivor {
        trial.more(100, REACHED).await?;
        ensure!(
            clients.count() == WORK.clients as usize,
            "after {name} only {} of {} connections work\n{}",
            clients.count(),
            WORK.clients,
            store.log()
        );
    }
    clients.stop().await;
    store.kill();
    Ok(())
}

fn crashes(store: &Store, name: &str) -> usize {
    let line = format!("crash point {name}: ");
    store.log().matches(&line).count()
}

async fn died(store: &mut Store, name: &str) -> Result<()> {
    let status = store
        .end(REACHED)
        .await
        .with_context(|| format!("kill point {name} was not reached"))?;
    ensure!(
        status.signal() == Some(Signal::ABORT.as_raw()),
        "at {name} the store ended with {status}\n{}",
        store.log()
    );
    Ok(())
}
