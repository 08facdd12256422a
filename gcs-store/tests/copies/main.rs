//! Namespaces and their copies, on every database.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

mod backups;
mod clones;
mod crash;
mod live;
mod moves;
mod namespaces;
mod passwords;
mod stage;

use stage::Stage;

/// Runs each function on a database of its own.
macro_rules! suite {
    ($stage:expr; $($module:ident::$name:ident)*) => {
        $(
            let began = std::time::Instant::now();
            let settings = $stage.settings(stringify!($name)).await;
            let database = stage::open(&settings).await;
            // On the heap: together they are too much for a test's stack.
            stage::soon(Box::pin($module::$name(&database))).await;
            println!("{} holds after {:?}", stringify!($name), began.elapsed());
        )*
    };
    ($stage:expr) => {
        suite! { $stage;
            namespaces::a_namespace_is_made_once
            namespaces::a_frozen_namespace_thaws
            namespaces::bounds_are_set_and_lifted
            namespaces::what_was_deleted_comes_back_until_it_is_purged
            namespaces::a_namespace_in_use_is_not_deleted
            namespaces::those_without_a_head_for_long_are_found
            namespaces::the_list_counts_rows_and_bytes
            namespaces::a_change_waits_for_the_store_that_runs
            passwords::several_passwords_are_valid_at_once
            passwords::the_last_password_stays
            backups::a_backup_restores_every_byte
            backups::a_damaged_backup_is_refused_and_leaves_nothing
            backups::nothing_is_restored_over_a_namespace
            backups::the_job_counter_never_goes_back
            backups::a_backup_of_an_earlier_time_has_its_rows
            backups::a_backup_knows_what_changed_since
            clones::a_clone_has_the_rows_and_passwords_and_shares_large_values
            clones::a_cleaned_namespace_is_rebuilt_from_its_history
            clones::nothing_is_rebuilt_over_rows
            clones::the_history_lists_what_was_there
            moves::a_move_from_redis_and_back_keeps_every_byte
            moves::what_changes_meanwhile_is_told
            moves::nothing_is_moved_over_what_exists
            moves::a_move_over_tls_checks_the_certificate
        }
        live! { $stage;
            a_namespace_cleaned_by_ray_comes_back_under_a_running_store
            a_clone_of_a_namespace_in_use_is_of_one_moment
            a_frozen_namespace_takes_no_write_from_then_on
            a_namespace_moves_from_store_to_store
        }
        let settings = $stage.settings("crash").await;
        Box::pin(crash::a_copy_that_dies_leaves_nothing_usable(&settings)).await;
    };
}

/// The same for what needs a store beside it.
macro_rules! live {
    ($stage:expr; $($name:ident)*) => {
        $(
            let began = std::time::Instant::now();
            let settings = $stage.settings(stringify!($name)).await;
            stage::soon(Box::pin(live::$name(&settings))).await;
            println!("{} holds after {:?}", stringify!($name), began.elapsed());
        )*
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_sqlite() {
    let stage = Stage::sqlite();
    suite!(stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_postgres() {
    let stage = Stage::postgres().await;
    suite!(stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_mariadb() {
    let stage = Stage::mariadb().await;
    suite!(stage);
}
