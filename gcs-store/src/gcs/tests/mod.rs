//! The engine on every database, without a wire before it.
//!
//! One server a test, one database a scenario: starting a server is the dear
//! part, and a scenario that fails is named by its panic.

mod plans;
mod stage;
mod suite;
mod terms;

use harness::{mariadb::Mariadb, postgres::Postgres};
use stage::{Backend, Stage};

/// Runs every scenario, each on a database of its own.
macro_rules! scenarios {
    ($backend:expr, $($module:ident :: $name:ident),* $(,)?) => { $({
        eprintln!("scenario: {}", stringify!($name));
        let mut stage = Stage::on($backend, stringify!($name)).await;
        tokio::task::LocalSet::new().run_until($module::$name(&mut stage)).await;
    })* };
}

async fn all(backend: &Backend) {
    scenarios!(
        backend,
        suite::what_was_acknowledged_is_there_after_a_restart,
        suite::a_fold_changes_nothing_that_can_be_read,
        suite::a_fold_that_stops_anywhere_loses_nothing,
        suite::what_is_overwritten_or_deleted_is_remembered,
        suite::a_value_that_lived_less_than_a_minute_is_not_remembered,
        suite::a_large_value_is_stored_once_and_read_in_pieces,
        suite::a_blob_in_use_is_kept,
        suite::a_long_field_is_a_field_like_any_other,
        suite::commands_keep_their_order_while_a_namespace_loads,
        suite::keys_are_scanned_namespace_by_namespace,
        suite::a_deleted_table_comes_back_empty,
        suite::a_catalog_change_is_in_force_when_it_is_said_to_be_seen,
        suite::a_namespace_must_be_declared_if_so_configured,
        suite::a_cluster_cannot_take_the_place_of_a_living_one,
        terms::a_newer_head_fences_the_older_before_it_writes,
        terms::a_declared_epoch_is_durable_and_only_grows,
        terms::a_deposed_writer_appends_nothing,
        terms::an_append_that_is_tried_again_is_there_once,
        terms::a_late_echo_of_an_append_does_nothing,
        terms::a_successor_goes_on_where_the_other_retired,
    );
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    all(&Backend::Sqlite(folder.path().to_owned())).await;
}

#[tokio::test]
async fn on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).await.unwrap();
    let backend = Backend::Postgres(server);
    all(&backend).await;
    scenarios!(
        &backend,
        terms::a_standby_takes_over_when_the_active_falls_silent,
        terms::a_paused_store_does_not_answer_from_memory,
        plans::no_statement_reads_a_large_table_from_end_to_end,
    );
    let mut stage = Stage::on(&backend, "stop").await;
    let Backend::Postgres(server) = &backend else {
        unreachable!("it was made above")
    };
    let scenario = terms::a_stop_does_not_wait_for_a_database_that_is_away(&mut stage, server);
    tokio::task::LocalSet::new().run_until(scenario).await;
}

#[tokio::test]
async fn on_mariadb() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mariadb::start(folder.path()).await.unwrap();
    all(&Backend::Mariadb(server)).await;
}
