//! Copies that die on the way.

use std::{env, process::Command};

use gcs_sql::Settings;
use gcs_store::{
    copies::Error,
    namespace::{self, Catalog, Refusal, State},
};

use crate::stage::{backup_of, hard_rows, holds, name, number, open, picture_of, restore};

/// The database of the process that is to die.
const VICTIM: &str = "TRADEWIND_TEST_VICTIM";

/// Restores in a process of its own, where a crash point awaits it.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(url) = env::var(VICTIM) else {
        return;
    };
    let database = open(&Settings::new(url)).await;
    let file = backup_of(&name("prod"), &hard_rows());
    restore(&database, &file, &name("prod")).await.unwrap();
}

pub(crate) async fn a_copy_that_dies_leaves_nothing_usable(settings: &Settings) {
    let database = open(settings).await;
    let catalog = Catalog::new(&database);
    let prod = name("prod");
    let file = backup_of(&prod, &hard_rows());
    for point in ["restore:1", "restore:3", "restore-open"] {
        let died = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--nocapture"])
            .env(VICTIM, &settings.url)
            .env("TRADEWIND_CRASH_AT", point)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&died.stderr);
        assert!(said.contains("crash point restore"), "{point}: {said}");

        let record = catalog.find(&prod).await.unwrap();
        assert_eq!(record.state, State::Incomplete, "{point}");
        for refused in [
            catalog.unfreeze(&prod).await,
            catalog.undelete(&prod).await,
            catalog.delete(&prod, true).await,
        ] {
            assert!(matches!(
                refused,
                Err(namespace::Error::Refused(Refusal::State { .. }))
            ));
        }
        // It may still be at work, as far as anybody knows.
        let refused = restore(&database, &file, &prod).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Namespace(namespace::Error::Refused(Refusal::Copying { .. }))
            ),
            "{refused}"
        );
        // A minute later the next one goes over it.
        let sql = "UPDATE gcs_namespace SET seen_ms = seen_ms - 61000";
        database.execute(sql, &[]).await.unwrap();
        restore(&database, &file, &prod).await.unwrap();
        assert_eq!(holds(&database, &prod).await, picture_of(&hard_rows()));

        catalog.delete(&prod, false).await.unwrap();
        catalog
            .purge(None, std::time::Duration::ZERO)
            .await
            .unwrap();
        let left = number(&database, "SELECT COUNT(*) FROM gcs_row", &[]).await;
        assert_eq!(left, 0);
    }
}
