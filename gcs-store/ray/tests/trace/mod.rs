//! Plays the recorded writes (see README.md) up to a moment.

#![allow(dead_code, reason = "each test uses a part")]

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ray_tables::{Record, TableName, Time};

/// The cluster runs; the head is about to be killed.
pub(crate) const BEFORE_THE_KILL: i64 = 1_795_183_845_000;
/// The new head has found the old one dead and written nothing of itself.
pub(crate) const NO_HEAD: i64 = 1_795_183_857_008;
/// The new head has read the tables; nothing has been placed again yet.
pub(crate) const HEAD_BACK: i64 = 1_795_183_857_100;
/// Everything has recovered.
pub(crate) const END: i64 = i64::MAX;

#[derive(serde::Deserialize)]
struct Write {
    at_ms: i64,
    table: String,
    field: String,
    value: Option<String>,
}

/// What the store holds after all writes until `until_ms`.
pub(crate) fn records(until_ms: i64) -> Vec<Record> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("gcs-store/ray/tests/trace/drill.jsonl"))
        .find(|file| file.exists())
        .expect("the recorded writes are in the repository");
    let bytes = |text: &str| Bytes::from(STANDARD.decode(text).expect("base64"));
    let mut rows = BTreeMap::<_, (Time, Time, Bytes)>::new();
    for line in fs::read_to_string(file).expect("a text").lines() {
        let write: Write = serde_json::from_str(line).expect("a write");
        if write.at_ms > until_ms {
            break;
        }
        let key = (
            TableName::new(&write.table).expect("a table"),
            bytes(&write.field),
        );
        let Some(value) = write.value else {
            rows.remove(&key);
            continue;
        };
        let updated = Time::from_ms(write.at_ms);
        let created = rows.get(&key).map_or(updated, |(created, ..)| *created);
        rows.insert(key, (created, updated, bytes(&value)));
    }
    rows.into_iter()
        .map(|((table, field), (created, updated, value))| Record {
            table,
            field,
            size: value.len() as u64,
            value: Some(value),
            created,
            updated,
        })
        .collect()
}
