//! Two stores on one PostgreSQL: one serves, the other sends heads to it and
//! takes over when it dies; one that was thought dead and comes back can neither
//! write nor answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::store::{
    databases::{Database, Kind},
    process::{READY, Serve, Standing, Store, standing},
    wire::{Reply, Wire, ask},
};
use harness::wait;
use tokio::time::{Instant, timeout};

/// The standby waits 8 s for a sign of life before it takes over.
const TAKES_OVER: Duration = Duration::from_secs(15);
/// Two answers within this are of one time: no store starts that fast.
const TOGETHER: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(5);

async fn pair(url: &str, folder: &std::path::Path) -> Result<(Store, Store)> {
    let mut first = Serve::new(url, folder)?.start()?;
    first.active(READY).await?;
    let mut second = Serve::new(url, folder)?.start()?;
    let expected = Standing::Standby(first.address().to_string());
    let found = second.ready().await?;
    ensure!(found == expected, "the second one is {found:?}");
    Ok((first, second))
}

async fn set(address: SocketAddr, field: &str, value: &str) -> Result<Reply> {
    let words: [&[u8]; 4] = [
        b"HSET",
        b"RAYstandby@KV",
        field.as_bytes(),
        value.as_bytes(),
    ];
    ask(address, &words, SOON).await
}

async fn get(address: SocketAddr, field: &str) -> Result<Reply> {
    let words: [&[u8]; 3] = [b"HGET", b"RAYstandby@KV", field.as_bytes()];
    ask(address, &words, SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_sends_heads_on_and_takes_over_from_the_dead() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = Database::start(Kind::Postgres, false).await?;
    let url = database.empty("standby").await?;
    let (mut first, mut second) = pair(&url, folder.path()).await?;
    assert_eq!(set(first.address(), "a", "1").await?, Reply::Number(1));

    let killed = Instant::now();
    first.kill();
    second.active(TAKES_OVER).await?;
    println!(
        "SIGKILL to the active store: the standby serves after {:.1?}",
        killed.elapsed()
    );
    assert_eq!(
        get(second.address(), "a").await?,
        Reply::Bulk(b"1".to_vec())
    );

    // The dead one comes back, and stands by.
    let mut third = Serve::new(&url, folder.path())?.start()?;
    let to_second = Standing::Standby(second.address().to_string());
    assert_eq!(third.ready().await?, to_second);

    // One that is asked to stop lets the other one in at once.
    let stopped = Instant::now();
    second.terminate(SOON).await?;
    third.active(TAKES_OVER).await?;
    let took = stopped.elapsed();
    println!("SIGTERM to the active store: the standby serves after {took:.1?}");
    assert!(took < SOON, "a store that stops leaves its place: {took:?}");
    assert_eq!(get(third.address(), "a").await?, Reply::Bulk(b"1".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_thought_dead_neither_writes_nor_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = Database::start(Kind::Postgres, false).await?;
    let url = database.empty("paused").await?;
    let (mut first, mut second) = pair(&url, folder.path()).await?;
    assert_eq!(set(first.address(), "a", "old").await?, Reply::Number(1));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::connect(first.address()).await?;
        assert_eq!(wire.call(&[b"PING"]).await?, Reply::Status("PONG".into()));
        clients.push(wire);
    }

    first.pause()?;
    // Asked of a store that does not run: they wait in its sockets.
    let [reader, writer, idle] = &mut clients[..] else {
        unreachable!("three were made");
    };
    let words = |all: &[&str]| all.iter().map(|word| word.as_bytes().to_vec()).collect();
    reader
        .send(&[words(&["HGET", "RAYstandby@KV", "a"])])
        .await?;
    writer
        .send(&[words(&["HSET", "RAYstandby@KV", "late", "1"])])
        .await?;
    second.active(TAKES_OVER).await?;
    assert_eq!(set(second.address(), "a", "new").await?, Reply::Number(0));
    first.resume()?;

    for (what, wire) in [("reader", reader), ("writer", writer), ("idle", idle)] {
        let end = timeout(SOON, wire.reply())
            .await
            .with_context(|| format!("the {what}'s connection stays open"))?;
        // An old value would be a stale read, a count an acknowledged write.
        assert!(end.is_err(), "the {what} was answered {end:?}");
    }
    let to_second = Standing::Standby(second.address().to_string());
    wait::until("the old store's standing by", SOON, async || {
        let found = standing(first.address()).await?;
        ensure!(found == to_second, "{found:?}");
        Ok(())
    })
    .await?;
    assert_eq!(standing(second.address()).await?, Standing::Active);
    assert_eq!(
        get(second.address(), "a").await?,
        Reply::Bulk(b"new".to_vec())
    );
    assert_eq!(get(second.address(), "late").await?, Reply::Null);
    first.check_alive()?;
    second.check_alive()
}

/// Kills whoever is active, again and again, and asks both all the time: never
/// does each send heads to the other.
#[tokio::test(flavor = "multi_thread")]
async fn never_do_two_stores_send_heads_to_each_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = Database::start(Kind::Postgres, false).await?;
    let url = database.empty("turns").await?;
    let serves = [
        Serve::new(&url, folder.path())?,
        Serve::new(&url, folder.path())?,
    ];
    let addresses = serves.clone().map(|serve| serve.address());
    let watch = tokio::spawn(async move {
        loop {
            let asked = Instant::now();
            let (one, two) = tokio::join!(standing(addresses[0]), standing(addresses[1]));
            // Answers of different times may contradict each other.
            if asked.elapsed() > TOGETHER {
                continue;
            }
            let to = |nth: usize| Standing::Standby(addresses[nth].to_string());
            if matches!((&one, &two), (Ok(a), Ok(b)) if *a == to(1) && *b == to(0)) {
                return format!("{one:?} and {two:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut stores = [serves[0].start()?, serves[1].start()?];
    for store in &mut stores {
        store.ready().await?;
    }
    for _ in 0..4 {
        let mut active = 0;
        wait::until("one that serves", TAKES_OVER, async || {
            for (nth, store) in stores.iter().enumerate() {
                if standing(store.address())
                    .await
                    .is_ok_and(|it| it == Standing::Active)
                {
                    active = nth;
                    return Ok(());
                }
            }
            anyhow::bail!("none")
        })
        .await?;
        // At its next start on the same address it must not claim to be active
        // for the epoch it had.
        stores[active].terminate(SOON).await?;
        stores[1 - active].active(TAKES_OVER).await?;
        stores[active] = serves[active].start()?;
        stores[active].ready().await?;
    }
    assert!(!watch.is_finished(), "{}", watch.await?);
    watch.abort();
    Ok(())
}
