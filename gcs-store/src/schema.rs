//! The store's tables, as steps from the first release to this one.

use gcs_sql::{Migrations, Step};

/// Brings a database up to date (`Database::migrate`).
pub const MIGRATIONS: Migrations = Migrations {
    component: "gcs",
    steps: &[
        Step {
            version: 1,
            name: "gcs",
            sqlite: include_str!("../migrations/sqlite/0001_gcs.sql"),
            postgres: include_str!("../migrations/postgres/0001_gcs.sql"),
            mysql: include_str!("../migrations/mysql/0001_gcs.sql"),
        },
        Step {
            version: 2,
            name: "views",
            sqlite: include_str!("../migrations/sqlite/0002_views.sql"),
            postgres: include_str!("../migrations/postgres/0002_views.sql"),
            mysql: include_str!("../migrations/mysql/0002_views.sql"),
        },
    ],
};
