//! Fences: one holder, and nothing written by an older one.

use std::time::Duration;

use futures_util::future::join_all;
use gcs_sql::{Epoch, Error, Fence, Ledger, Outcome, Revision, Settings, Write};

use crate::stage::{Server, Stage, open, soon, table, tables};

async fn ledger(settings: &Settings) -> Ledger {
    Ledger::open(&open(settings).await).await.unwrap()
}

pub(crate) async fn of_two_who_raise_one_succeeds(settings: &Settings) {
    let ledgers = [ledger(settings).await, ledger(settings).await];
    for epoch in 0..5 {
        let raises = (0..6).map(|n: usize| {
            let ledger = ledgers[n % 2].clone();
            tokio::spawn(async move { ledger.raise("plan", Epoch(epoch), &format!("p{n}")).await })
        });
        let mut raised = Vec::new();
        for raise in join_all(raises).await {
            match raise.unwrap() {
                Ok(fence) => raised.push(fence),
                Err(Error::Stale { held, current, .. }) => {
                    assert_eq!((held, current), (epoch, epoch + 1));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(raised.len(), 1, "{raised:?}");
        assert_eq!(raised[0].epoch, Epoch(epoch + 1));
    }
    ledgers[0].take("other", "me").await.unwrap();
    let list = ledgers[1].list().await.unwrap();
    let names: Vec<_> = list
        .iter()
        .map(|it| (&*it.fence.name, it.fence.epoch.0))
        .collect();
    assert_eq!(names, [("other", 1), ("plan", 5)]);
    let history = ledgers[0].history("plan", 10).await.unwrap();
    assert_eq!(history[0], list[1], "the newest is the one in force");
    let epochs: Vec<_> = history.iter().map(|it| it.fence.epoch.0).collect();
    assert_eq!(epochs, [5, 4, 3, 2, 1]);
    assert!(history.is_sorted_by(|newer, older| newer.raised_ms >= older.raised_ms));
    let year_2020 = 1_577_836_800_000;
    assert!(
        history
            .iter()
            .all(|it| it.raised_ms > year_2020 && it.holder.starts_with('p'))
    );
}

pub(crate) async fn a_stale_fence_writes_nothing(settings: &Settings) {
    let (tables, ledger, t) = (tables(settings).await, ledger(settings).await, table("t"));
    let old = ledger.take("t", "one").await.unwrap();
    let write = |fence: &Fence, value: &'static str| Write::new().under(fence).put(&t, "k", value);
    tables.transact(&write(&old, "1")).await.unwrap();
    let new = ledger.raise("t", old.epoch, "two").await.unwrap();
    let refused = tables.transact(&write(&old, "2")).await;
    assert!(
        matches!(&refused, Err(Error::Stale { name, held: 1, current: 2 }) if name == "t"),
        "{refused:?}"
    );
    let never_raised = Fence {
        name: "u".to_owned(),
        epoch: Epoch(1),
    };
    assert!(tables.transact(&write(&never_raised, "2")).await.is_err());
    assert_eq!(&*tables.get(&t, b"k").await.unwrap().unwrap().value, b"1");
    assert_eq!(
        tables.transact(&write(&new, "3")).await.unwrap(),
        Outcome::Done(Revision(2))
    );
}

pub(crate) async fn a_raise_and_a_late_write_have_one_order(settings: &Settings) {
    const RACES: i64 = 60;
    let (old_side, new_side) = (tables(settings).await, tables(settings).await);
    let (ledger, t) = (ledger(settings).await, table("t"));
    let mut fence = ledger.take("t", "0").await.unwrap();
    let (mut before, mut after) = (0, 0);
    let mut random = fastrand::Rng::with_seed(3);
    for race in 0..RACES {
        let late = Write::new()
            .under(&fence)
            .put(&t, "owner", format!("old {race}"));
        // Let neither side always win.
        let (old_waits, new_waits) = (random.u64(0..3000), random.u64(0..3000));
        let writing = async {
            tokio::time::sleep(Duration::from_micros(old_waits)).await;
            old_side.transact(&late).await
        };
        let raising = async {
            tokio::time::sleep(Duration::from_micros(new_waits)).await;
            let raised = ledger.raise("t", fence.epoch, "next").await.unwrap();
            let first = Write::new()
                .under(&raised)
                .put(&t, "owner", format!("new {race}"));
            (raised, new_side.transact(&first).await.unwrap())
        };
        let (written, (raised, first)) = tokio::join!(writing, raising);
        let Outcome::Done(first) = first else {
            panic!("{first:?}")
        };
        match written {
            Ok(Outcome::Done(written)) => {
                assert!(written < first, "a late write after the newer one's first");
                before += 1;
            }
            Err(Error::Stale { current, .. }) => {
                assert_eq!(current, raised.epoch.0);
                after += 1;
            }
            other => panic!("{other:?}"),
        }
        let owner = new_side.get(&t, b"owner").await.unwrap().unwrap();
        assert_eq!(&*owner.value, format!("new {race}").as_bytes());
        fence = raised;
    }
    println!("{before} late writes were before the raise, {after} refused");
}

/// It began before the raise and looks at the fence after it.
pub(crate) async fn a_writer_paused_before_its_check_is_refused(stage: &Stage) {
    let settings = stage.settings("paused_before").await;
    let (database, ledger) = (open(&settings).await, ledger(&settings).await);
    let old = ledger.take("t", "one").await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    let sql = "INSERT INTO table_lease (id, ttl_ms, expires_ms) VALUES (1, 1, 1)";
    transaction.execute(sql, &[]).await.unwrap();
    if stage.is_sqlite() {
        // One writes at a time there: the raise waits for the writer.
        let raise = tokio::spawn({
            let (ledger, epoch) = (ledger.clone(), old.epoch);
            async move { ledger.raise("t", epoch, "two").await }
        });
        old.check(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        soon(raise).await.unwrap().unwrap();
        return;
    }
    soon(ledger.raise("t", old.epoch, "two")).await.unwrap();
    let refused = old.check(&mut transaction).await;
    assert!(
        matches!(
            refused,
            Err(Error::Stale {
                held: 1,
                current: 2,
                ..
            })
        ),
        "{refused:?}"
    );
    transaction.rollback().await.unwrap();
    assert!(
        database
            .fetch("SELECT id FROM table_lease", &[])
            .await
            .unwrap()
            .is_empty()
    );
}

/// It looked at the fence before the raise and wants to commit after it. The
/// raise waits until the server has ended the writer's idle transaction.
pub(crate) async fn a_writer_paused_after_its_check_cannot_commit_after_a_raise(stage: &Stage) {
    let settings = stage.settings("paused_after").await;
    let (database, ledger) = (open(&settings).await, ledger(&settings).await);
    let old = ledger.take("t", "one").await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    // What the server does after a minute it does after a second here.
    let patience = match stage.server {
        Server::Mariadb(_) => "SET SESSION wait_timeout = 1",
        _ => "SET LOCAL idle_in_transaction_session_timeout = 1000",
    };
    transaction.execute(patience, &[]).await.unwrap();
    let sql = "INSERT INTO table_lease (id, ttl_ms, expires_ms) VALUES (1, 1, 1)";
    transaction.execute(sql, &[]).await.unwrap();
    old.check(&mut transaction).await.unwrap();

    soon(ledger.raise("t", old.epoch, "two")).await.unwrap();
    let late = transaction.commit().await;
    assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    assert!(
        database
            .fetch("SELECT id FROM table_lease", &[])
            .await
            .unwrap()
            .is_empty()
    );
}
