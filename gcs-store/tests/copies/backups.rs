//! Backups and what is restored of them.

use gcs_sql::Database;
use gcs_store::{
    copies::{self, Error, Side, file::picture, format::Broken},
    namespace::{self, Catalog, State},
};
use ray_tables::TableName;

use crate::stage::{
    backup, backup_of, clean, hard_rows, holds, name, number, picture_of, restore, row, seed,
};

pub(crate) async fn a_backup_restores_every_byte(database: &Database) {
    let rows = hard_rows();
    let prod = seed(database, "prod", &rows).await;
    assert_eq!(holds(database, &prod).await, picture_of(&rows));

    let file = backup(database, &prod, None).await;
    let verified = copies::verify(&file[..]).await.unwrap();
    assert_eq!(verified.trailer.rows, rows.len() as u64);
    assert_eq!(verified.tables[&TableName::WORKERS], 700);
    assert!(verified.header.cluster_id.is_some());

    let again = name("again");
    let restored = restore(database, &file, &again).await.unwrap();
    assert_eq!(restored.rows, rows.len() as u64);
    assert_eq!(restored.counter_raised, None);
    assert_eq!(holds(database, &again).await, picture_of(&rows));
    let record = Catalog::new(database).find(&again).await.unwrap();
    assert_eq!(record.state, State::Active);
    assert_eq!(record.cluster_id.unwrap(), [0xc1; 28][..]);
}

pub(crate) async fn a_damaged_backup_is_refused_and_leaves_nothing(database: &Database) {
    let prod = name("prod");
    let whole = backup_of(&prod, &hard_rows());
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let cut = &whole[..whole.len() - 1];
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    for (file, why) in [
        (&changed[..], "changed"),
        (cut, "cut"),
        (&whole[..=last], "cut"),
    ] {
        let error = restore(database, file, &prod).await.unwrap_err();
        let fits = match &error {
            Error::Broken(Broken::Changed) => why == "changed",
            Error::Broken(Broken::Truncated { .. }) => why == "cut",
            _ => false,
        };
        assert!(fits, "{why}: {error}");
    }
    let missing = Catalog::new(database).find(&prod).await;
    assert!(matches!(missing, Err(namespace::Error::Missing { .. })));
    for table in ["gcs_row", "gcs_blob", "gcs_blob_info"] {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(number(database, &sql, &[]).await, 0, "{table}");
    }
}

pub(crate) async fn nothing_is_restored_over_a_namespace(database: &Database) {
    let catalog = Catalog::new(database);
    let rows = [row(TableName::KV, b"a", b"1")];
    let prod = seed(database, "prod", &rows).await;
    let file = backup(database, &prod, None).await;
    for freeze in [false, true] {
        if freeze {
            catalog.freeze(&prod).await.unwrap();
        }
        let error = restore(database, &file, &prod).await.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        assert_eq!(holds(database, &prod).await, picture_of(&rows));
    }
    catalog.delete(&prod, false).await.unwrap();
    let error = restore(database, &file, &prod).await.unwrap_err();
    assert!(error.to_string().contains("is deleted"), "{error}");
}

pub(crate) async fn the_job_counter_never_goes_back(database: &Database) {
    let counter = |value: &[u8]| row(TableName::JOB_COUNTER, b"", value);
    let prod = seed(database, "prod", &[counter(b"9")]).await;
    let early = backup_of(&prod, &[counter(b"3")]);
    let is = |value: &[u8]| picture_of(&[counter(value)]);

    // The namespace it was taken of has handed out more since.
    let restored = restore(database, &early, &name("a")).await.unwrap();
    assert_eq!(restored.counter_raised, Some(9));
    assert_eq!(holds(database, &name("a")).await, is(b"9"));

    // It was cleaned away: the history knows.
    clean(database, &prod, 50).await;
    restore(database, &early, &name("b")).await.unwrap();
    assert_eq!(holds(database, &name("b")).await, is(b"9"));
    let none = backup_of(&prod, &[]);
    restore(database, &none, &name("c")).await.unwrap();
    assert_eq!(holds(database, &name("c")).await, is(b"9"));

    // Elsewhere nothing is known but the backup.
    let stranger = backup_of(&name("stranger"), &[counter(b"3")]);
    let restored = restore(database, &stranger, &name("d")).await.unwrap();
    assert_eq!(restored.counter_raised, None);
    assert_eq!(holds(database, &name("d")).await, is(b"3"));
}

pub(crate) async fn a_backup_of_an_earlier_time_has_its_rows(database: &Database) {
    let rows = hard_rows();
    let prod = seed(database, "prod", &rows).await;
    let catalog = Catalog::new(database);
    let now = catalog.now_ms().await.unwrap();
    clean(database, &prod, now + 1000).await;
    assert_eq!(holds(database, &prod).await.rows(), 0);
    let file = backup(database, &prod, Some(now)).await;
    let (header, found) = picture(&file[..]).await.unwrap();
    assert_eq!(header.at_ms, now);
    assert_eq!(found, picture_of(&rows));
}

pub(crate) async fn a_backup_knows_what_changed_since(database: &Database) {
    let before = [
        row(TableName::KV, b"same", b"1"),
        row(TableName::KV, b"other", b"1"),
        row(TableName::JOB, b"gone", b"1"),
    ];
    let after = [
        row(TableName::KV, b"same", b"1"),
        row(TableName::KV, b"other", b"2"),
        row(TableName::KV, b"new", &[7; 30_000]),
    ];
    let one = seed(database, "one", &before).await;
    let two = seed(database, "two", &after).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.backup");
    std::fs::write(&path, backup(database, &one, None).await).unwrap();
    let sides = [
        (Side::File(path), Side::Namespace(two.clone(), None)),
        (Side::Namespace(one, None), Side::Namespace(two, None)),
    ];
    for (before, after) in sides {
        let found = copies::diff(database, &before, &after).await.unwrap();
        let changed: Vec<_> = found
            .rows
            .iter()
            .map(|row| (row.field.as_str(), row.change))
            .collect();
        assert_eq!(
            changed,
            [
                ("gone", copies::Change::Removed),
                ("new", copies::Change::Added),
                ("other", copies::Change::Changed),
            ]
        );
        assert_eq!(found.tables[&TableName::KV].same, 1);
    }
    let nobody = Side::Namespace(name("nobody"), None);
    let error = copies::diff(database, &nobody, &nobody).await.unwrap_err();
    let missing = matches!(error, Error::Namespace(namespace::Error::Missing { .. }));
    assert!(missing, "{error}");
}
