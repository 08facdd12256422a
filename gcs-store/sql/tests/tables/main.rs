//! Versioned tables and fences, on every database.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

mod entries;
mod fences;
mod leases;
mod model;
mod plans;
mod restart;
mod stage;
mod watches;

use stage::Stage;

/// Runs each function on a database of its own.
macro_rules! suite {
    ($stage:expr; $($module:ident::$name:ident)*) => {
        $(
            let settings = $stage.settings(stringify!($name)).await;
            stage::soon($module::$name(&settings)).await;
            println!("{} holds", stringify!($name));
        )*
    };
    ($stage:expr) => {
        suite! { $stage;
            entries::a_transaction_happens_whole_or_not_at_all
            entries::counters_by_compare_and_set_lose_nothing
            entries::pages_are_of_one_revision
            entries::sizes_are_bounded
            entries::compaction_keeps_what_stands
            watches::a_watch_sees_every_revision_once_and_in_order
            watches::a_compacted_position_is_reset_and_says_so
            watches::a_position_yet_to_come_is_reset
            watches::a_quiet_watch_moves_on
            watches::watchers_agree_while_history_is_compacted
            leases::a_lapsed_lease_deletes_its_entries
            leases::a_lease_that_is_kept_alive_stays
            leases::two_who_expire_end_a_lease_once
            fences::of_two_who_raise_one_succeeds
            fences::a_stale_fence_writes_nothing
            fences::a_raise_and_a_late_write_have_one_order
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_on_sqlite() {
    let stage = Stage::sqlite();
    suite!(stage);
    fences::a_writer_paused_before_its_check_is_refused(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_on_postgres() {
    let stage = Stage::postgres(false).await;
    suite!(stage);
    fences::a_writer_paused_before_its_check_is_refused(&stage).await;
    fences::a_writer_paused_after_its_check_cannot_commit_after_a_raise(&stage).await;
    plans::every_read_is_served_by_an_index(&stage).await;
    plans::no_call_reads_a_whole_table(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_on_mariadb() {
    let stage = Stage::mariadb(false).await;
    suite!(stage);
    fences::a_writer_paused_before_its_check_is_refused(&stage).await;
    fences::a_writer_paused_after_its_check_cannot_commit_after_a_raise(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_restart_of_postgres() {
    let stage = Stage::postgres(true).await;
    restart::a_watch_outlives_a_restart_of_its_server(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_restart_of_mariadb() {
    let stage = Stage::mariadb(true).await;
    restart::a_watch_outlives_a_restart_of_its_server(stage).await;
}
