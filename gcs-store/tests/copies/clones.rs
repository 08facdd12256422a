//! Clones, and namespaces put back from their history.

use gcs_sql::Database;
use gcs_store::{
    copies::{self, Filter, Progress},
    namespace::{Catalog, Password, Quota, State},
};
use ray_tables::TableName;

use crate::stage::{clean, hard_rows, holds, name, number, picture_of, row, seed};

pub(crate) async fn a_clone_has_the_rows_and_passwords_and_shares_large_values(
    database: &Database,
) {
    let catalog = Catalog::new(database);
    let rows = hard_rows();
    let prod = seed(database, "prod", &rows).await;
    let password = Password::random().unwrap();
    catalog.add_password(&prod, &password).await.unwrap();
    let quota = Quota {
        bytes: Some(1 << 30),
        rows: Some(5),
    };
    catalog.set_quota(&prod, quota).await.unwrap();
    let blobs = "SELECT COUNT(*) FROM gcs_blob";
    let before = number(database, blobs, &[]).await;

    let copy = name("copy");
    let cloned = copies::clone(database, &prod, None, &copy, &Progress::none())
        .await
        .unwrap();
    assert_eq!(cloned.rows, rows.len() as u64);
    assert_eq!(holds(database, &copy).await, picture_of(&rows));
    assert_eq!(number(database, blobs, &[]).await, before, "shared");
    assert_eq!(catalog.passwords(&copy).await.unwrap().len(), 1);
    assert_eq!(
        catalog.find(&copy).await.unwrap().quota_bytes,
        Some(1 << 30)
    );

    let error = copies::clone(database, &prod, None, &copy, &Progress::none()).await;
    assert!(error.unwrap_err().is_refusal());
    // What becomes of the original does not touch the clone.
    catalog.delete(&prod, false).await.unwrap();
    catalog
        .purge(None, std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(holds(database, &copy).await, picture_of(&rows));
}

pub(crate) async fn a_cleaned_namespace_is_rebuilt_from_its_history(database: &Database) {
    let catalog = Catalog::new(database);
    let rows = hard_rows();
    let prod = seed(database, "prod", &rows).await;
    let id = catalog.find(&prod).await.unwrap().id;
    let now = catalog.now_ms().await.unwrap();
    clean(database, &prod, now + 1000).await;

    let aside = name("aside");
    let cloned = copies::clone(database, &prod, Some(now), &aside, &Progress::none())
        .await
        .unwrap();
    assert_eq!(cloned.rows, rows.len() as u64);

    let rebuilt = copies::rebuild(database, &prod, now, &Progress::none())
        .await
        .unwrap();
    assert_eq!(rebuilt.rows, rows.len() as u64);
    assert_eq!(holds(database, &prod).await, picture_of(&rows));
    assert_eq!(holds(database, &aside).await, picture_of(&rows));
    let record = catalog.find(&prod).await.unwrap();
    assert_eq!((record.id, record.state), (id, State::Active));
    // The history is still there, for another choice of the time.
    let history = "SELECT COUNT(*) FROM gcs_history";
    let kept = number(database, history, &[]).await;
    assert_eq!(kept, i64::try_from(rows.len()).unwrap());
}

pub(crate) async fn nothing_is_rebuilt_over_rows(database: &Database) {
    let catalog = Catalog::new(database);
    let rows = [row(TableName::KV, b"a", b"1")];
    let prod = seed(database, "prod", &rows).await;
    let now = catalog.now_ms().await.unwrap();
    for state in [State::Active, State::Frozen] {
        if state == State::Frozen {
            catalog.freeze(&prod).await.unwrap();
        }
        let error = copies::rebuild(database, &prod, now, &Progress::none()).await;
        assert!(error.unwrap_err().is_refusal());
        assert_eq!(holds(database, &prod).await, picture_of(&rows));
        assert_eq!(catalog.find(&prod).await.unwrap().state, state);
    }
}

pub(crate) async fn the_history_lists_what_was_there(database: &Database) {
    let prod = seed(
        database,
        "prod",
        &[
            row(TableName::KV, b"a", b"1"),
            row(TableName::KV, b"\xff", b"2"),
            row(TableName::JOB, b"j", &[0; 20_000]),
        ],
    )
    .await;
    let now = Catalog::new(database).now_ms().await.unwrap();
    clean(database, &prod, now + 1000).await;
    let filter = Filter {
        limit: 10,
        ..Filter::default()
    };
    let list = async |filter: &Filter| {
        let found = copies::history(database, &prod, filter).await.unwrap();
        let mut fields: Vec<_> = found.iter().map(|it| it.field.clone()).collect();
        fields.sort();
        assert!(found.iter().all(|it| it.until_ms == Some(now + 1000)));
        fields
    };
    assert_eq!(list(&filter).await, ["0xff", "a", "j"]);
    let of_table = Filter {
        table: Some(TableName::KV),
        ..filter.clone()
    };
    assert_eq!(list(&of_table).await, ["0xff", "a"]);
    let of_field = Filter {
        field: Some("a".into()),
        ..of_table
    };
    assert_eq!(list(&of_field).await, ["a"]);
    let since = Filter {
        since_ms: now + 1001,
        ..filter.clone()
    };
    assert!(list(&since).await.is_empty());
    let newest = Filter { limit: 2, ..filter };
    assert_eq!(list(&newest).await.len(), 2);
}
