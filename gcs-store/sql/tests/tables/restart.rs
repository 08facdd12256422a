//! A watch while its server is killed and started again.

use gcs_sql::{Change, Condition, Event, Revision, Tables, Write};
use tokio::sync::oneshot;

use crate::stage::{Server, Stage, next_change, soon, table, tables};

/// Counts up to `upto`, over any outage: an attempt of unknown outcome is told
/// by the entry's own version.
async fn count(tables: Tables, upto: i64, halfway: oneshot::Sender<()>) {
    let (t, mut halfway) = (table("t"), Some(halfway));
    let mut next = 1;
    while next <= upto {
        let condition = match next {
            1 => Condition::Absent,
            n => Condition::Version(n - 1),
        };
        let write = Write::new()
            .when(&t, "n", condition)
            .put(&t, "n", next.to_string());
        match tables.transact(&write).await {
            // Refused: an attempt whose outcome was unknown had succeeded.
            Ok(_) => next += 1,
            Err(error) if error.is_transient() => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
        if next == upto / 2
            && let Some(halfway) = halfway.take()
        {
            halfway.send(()).unwrap();
        }
    }
}

pub(crate) async fn a_watch_outlives_a_restart_of_its_server(mut stage: Stage) {
    const CHANGES: i64 = 200;
    let settings = stage.settings("restarted").await;
    let (reader, writer) = (tables(&settings).await, tables(&settings).await);
    let mut watch = reader.watch(&table("t"), "", Some(Revision(0)));
    let (halfway, reached) = oneshot::channel();
    let writing = tokio::spawn(count(writer, CHANGES, halfway));
    let watching = tokio::spawn(async move {
        for n in 1..=CHANGES {
            let Event::Changed { at, changes } = next_change(&mut watch).await else {
                panic!("nothing was compacted")
            };
            let [Change::Put(entry)] = &changes[..] else {
                panic!("{changes:?}")
            };
            assert_eq!((at, &*entry.value), (Revision(n), n.to_string().as_bytes()));
        }
    });

    soon(reached).await.unwrap();
    match &mut stage.server {
        Server::Postgres(server) => {
            server.kill();
            server.restart().await.unwrap();
        }
        Server::Mariadb(server) => {
            server.kill();
            server.restart().await.unwrap();
        }
        Server::Sqlite => unreachable!("it has no server"),
    }
    soon(writing).await.unwrap();
    soon(watching).await.unwrap();
}
