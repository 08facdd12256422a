//! Tables are brought up to date once, whoever comes and whoever dies.

use std::{env, os::unix::process::ExitStatusExt, process::Command};

use gcs_sql::{Database, Error, Migrations, Settings, Step};

use crate::servers::{ALL, Fresh, fresh, on_all};

on_all!(
    steps_are_done_once,
    several_processes_may_come_at_once,
    a_newer_release_is_no_reason_to_stop,
    a_step_that_changed_is_refused,
    a_wrong_step_is_named_and_not_recorded,
);

/// Three statements in two steps; `;` and `?` inside of quotes.
const STEPS: [Step; 2] = [
    step(1, "things", THINGS),
    step(
        2,
        "their colours",
        "CREATE TABLE IF NOT EXISTS colour (id BIGINT PRIMARY KEY)",
    ),
];
const THINGS: &str = "
    -- Where things are; or were.
    CREATE TABLE IF NOT EXISTS thing (id BIGINT PRIMARY KEY, name VARCHAR(9) DEFAULT ';?');
    CREATE TABLE IF NOT EXISTS place (id BIGINT PRIMARY KEY);
";

/// SIGABRT.
const ABORTED: i32 = 6;

const fn step(version: i64, name: &'static str, sql: &'static str) -> Step {
    Step {
        version,
        name,
        sqlite: sql,
        postgres: sql,
        mysql: sql,
    }
}

const fn of(steps: &'static [Step]) -> Migrations {
    Migrations {
        component: "suite",
        steps,
    }
}

async fn recorded(database: &Database) -> Vec<i64> {
    let sql = "SELECT version FROM tw_migration WHERE component = ? ORDER BY version";
    let rows = database.fetch(sql, &["suite".into()]).await.unwrap();
    rows.iter().map(|row| row.int(0).unwrap()).collect()
}

async fn assert_done(database: &Database) {
    assert_eq!(recorded(database).await, [1, 2]);
    for table in ["thing", "place", "colour"] {
        let insert = format!("INSERT INTO {table} (id) VALUES (1)");
        assert_eq!(database.execute(&insert, &[]).await.unwrap(), 1);
    }
    let rows = database.fetch("SELECT name FROM thing", &[]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), ";?");
}

async fn steps_are_done_once(fresh: Fresh) {
    let database = fresh.open().await;
    database.migrate(&of(&STEPS[..1])).await.unwrap();
    assert_eq!(recorded(&database).await, [1]);
    for _ in 0..2 {
        database.migrate(&of(&STEPS)).await.unwrap();
    }
    assert_done(&database).await;
    database.migrate(&of(&STEPS)).await.unwrap();
}

async fn several_processes_may_come_at_once(fresh: Fresh) {
    let come = async || {
        let database = fresh.open().await;
        database.migrate(&of(&STEPS)).await.unwrap();
        database
    };
    let (database, ..) = tokio::join!(come(), come(), come(), come());
    assert_done(&database).await;
}

async fn a_newer_release_is_no_reason_to_stop(fresh: Fresh) {
    let database = fresh.open().await;
    database.migrate(&of(&STEPS)).await.unwrap();
    database.migrate(&of(&STEPS[..1])).await.unwrap();
    assert_done(&database).await;
}

async fn a_step_that_changed_is_refused(fresh: Fresh) {
    const OTHER: [Step; 1] = [step(
        1,
        "things",
        "CREATE TABLE IF NOT EXISTS other (id BIGINT)",
    )];
    let database = fresh.open().await;
    database.migrate(&of(&STEPS)).await.unwrap();
    let error = database.migrate(&of(&OTHER)).await.unwrap_err();
    assert!(
        error.to_string().contains("step 1 of suite was changed"),
        "{error}"
    );
}

async fn a_wrong_step_is_named_and_not_recorded(fresh: Fresh) {
    const WRONG: [Step; 2] = [STEPS[0], step(2, "nonsense", "CREATE NONSENSE")];
    let database = fresh.open().await;
    let error = database.migrate(&of(&WRONG)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(
        error.to_string().contains("step 2 (nonsense) of suite"),
        "{error}"
    );
    assert_eq!(recorded(&database).await, [1]);
    database.migrate(&of(&STEPS)).await.unwrap();
    assert_done(&database).await;
}

/// Runs itself as the process that dies, at each point there is.
#[tokio::test]
async fn a_crash_at_any_point_is_mended_by_the_next() {
    const URL: &str = "SUITE_MIGRATION_URL";
    if let Ok(url) = env::var(URL) {
        let database = Database::open(&Settings::new(url)).await.unwrap();
        return database.migrate(&of(&STEPS)).await.unwrap();
    }
    for dialect in ALL {
        let mut crashes = 0;
        loop {
            let fresh = fresh(dialect).await;
            let mut victim = Command::new(env::current_exe().unwrap());
            victim
                .args([
                    "--exact",
                    "migrations::a_crash_at_any_point_is_mended_by_the_next",
                ])
                .env(URL, &fresh.settings.url)
                .env("TRADEWIND_CRASH_AT", format!("migration:{}", crashes + 1));
            let output = victim.output().unwrap();

            let database = fresh.open().await;
            database.migrate(&of(&STEPS)).await.unwrap();
            assert_done(&database).await;

            if output.status.success() {
                break;
            }
            assert_eq!(output.status.signal(), Some(ABORTED), "{output:?}");
            crashes += 1;
        }
        // After each of three statements, and after each of two records.
        assert_eq!(crashes, 5, "{dialect:?}");
    }
}
