//! A database server, fresh databases on it, and namespaces with rows.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use gcs_sql::{Database, Settings, Value};
use gcs_store::{
    copies::{
        self, Progress,
        file::picture,
        format::{Encoder, FORMAT, Header, Key, PIECE_MAX, VERSION},
        picture::{Fingerprint, Picture},
    },
    namespace::Catalog,
};
use harness::{mariadb::Mariadb, postgres::Postgres};
use ray_tables::{NamespaceName, TableName};
use resp::Client;
use tempfile::TempDir;

/// Nothing in a test takes longer, unless it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

enum Server {
    Sqlite,
    Postgres(Postgres),
    Mariadb(Mariadb),
}

/// A server with its folder.
pub(crate) struct Stage {
    server: Server,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn sqlite() -> Self {
        Self {
            server: Server::Sqlite,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) async fn postgres() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::Postgres(Postgres::start(folder.path()).await.unwrap());
        Self { server, folder }
    }

    pub(crate) async fn mariadb() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::Mariadb(Mariadb::start(folder.path()).await.unwrap());
        Self { server, folder }
    }

    /// An empty database of this name.
    pub(crate) async fn settings(&self, name: &str) -> Settings {
        let name = &name[..name.len().min(60)];
        Settings::new(match &self.server {
            Server::Sqlite => format!("sqlite://{}/{name}.db", self.folder.path().display()),
            Server::Postgres(server) => server.database(name).await.unwrap(),
            Server::Mariadb(server) => server.database(name).await.unwrap(),
        })
    }
}

/// With the store's tables.
pub(crate) async fn open(settings: &Settings) -> Database {
    let database = Database::open(settings).await.unwrap();
    database
        .migrate(&gcs_store::schema::MIGRATIONS)
        .await
        .unwrap();
    database
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it should have happened by now")
}

pub(crate) fn name(text: &str) -> NamespaceName {
    NamespaceName::new(text).unwrap()
}

pub(crate) type Row = (TableName, Bytes, Bytes);

pub(crate) fn row(table: TableName, field: &[u8], value: &[u8]) -> Row {
    let copy = Bytes::copy_from_slice;
    (table, copy(field), copy(value))
}

/// Rows with everything that is hard: bytes that are no text, empty values,
/// long fields, large values, and one large value twice.
pub(crate) fn hard_rows() -> Vec<Row> {
    let mut large = vec![0; 1024 * 1024 + 7];
    for (nth, byte) in large.iter_mut().enumerate() {
        *byte = u8::try_from(nth * 31 % 251).unwrap();
    }
    let mut rows = vec![
        row(TableName::JOB_COUNTER, b"", b"7"),
        row(TableName::KV, b"", b"an empty field"),
        row(TableName::KV, b"\0\r\n@*\xff\xfe", b"\0\r\n\xff"),
        row(TableName::KV, b"empty", b""),
        row(
            TableName::KV,
            b"@namespace_cluster:ray_cluster_id",
            &[0xc1; 28],
        ),
        row(TableName::KV, &[b'x'; 2000], b"a long field"),
        row(TableName::KV, b"medium", &[0xab; 20_000]),
        row(TableName::KV, b"piece", &[0xcd; 512 * 1024]),
        row(TableName::KV, b"large", &large),
        row(TableName::KV, b"large again", &large),
        row(TableName::NODE, &[0xff; 28], &[0x80; 300]),
    ];
    rows.extend((0..700).map(|nth| {
        let field = format!("worker {nth}");
        row(TableName::WORKERS, field.as_bytes(), &[nth as u8; 40])
    }));
    rows.sort_unstable();
    rows
}

/// A backup of `rows`, as a file has it.
pub(crate) fn backup_of(namespace: &NamespaceName, rows: &[Row]) -> Vec<u8> {
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        namespace: namespace.clone(),
        at_ms: 1,
        at: copies::utc(1),
        source: "test".to_owned(),
        cluster_id: None,
    };
    let (mut encoder, line) = Encoder::begin(&header);
    let mut file = line.to_vec();
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    for (table, field, value) in rows {
        let key = Key {
            table,
            field,
            updated_ms: 1,
        };
        if value.len() <= PIECE_MAX {
            file.extend(encoder.row(&key, &value));
        } else {
            file.extend(encoder.large(&key, Fingerprint::of(&value)));
            for piece in value.chunks(PIECE_MAX) {
                file.extend(encoder.chunk(piece));
            }
        }
    }
    file.extend(encoder.end().1);
    file
}

/// A namespace with these rows.
pub(crate) async fn seed(database: &Database, namespace: &str, rows: &[Row]) -> NamespaceName {
    let namespace = name(namespace);
    restore(database, &backup_of(&namespace, rows), &namespace)
        .await
        .unwrap();
    namespace
}

pub(crate) async fn restore(
    database: &Database,
    file: &[u8],
    into: &NamespaceName,
) -> Result<copies::Restored, copies::Error> {
    copies::restore(database, Cursor::new(file), into, &Progress::none()).await
}

pub(crate) async fn backup(
    database: &Database,
    namespace: &NamespaceName,
    at_ms: Option<i64>,
) -> Vec<u8> {
    let mut file = Vec::new();
    copies::backup(database, namespace, at_ms, &mut file, &Progress::none())
        .await
        .unwrap();
    file
}

pub(crate) fn picture_of(rows: &[Row]) -> Picture {
    let mut picture = Picture::default();
    for (table, field, value) in rows {
        picture.add(table.clone(), field.clone(), Fingerprint::of(value));
    }
    picture
}

/// What a namespace holds, by way of a backup.
pub(crate) async fn holds(database: &Database, namespace: &NamespaceName) -> Picture {
    let file = backup(database, namespace, None).await;
    picture(&file[..]).await.unwrap().1
}

/// One number.
pub(crate) async fn number(database: &Database, sql: &str, values: &[Value]) -> i64 {
    database.fetch(sql, values).await.unwrap()[0]
        .int(0)
        .unwrap()
}

/// Does what Ray's cleanup makes of a namespace: its rows are history.
pub(crate) async fn clean(database: &Database, namespace: &NamespaceName, at_ms: i64) {
    let id = Catalog::new(database).find(namespace).await.unwrap().id;
    let (first, end) = gcs_store::key::namespace_range(id);
    let range = [Value::from(first), end.into()];
    let sql = "INSERT INTO gcs_history (k, valid_to_ms, seq, valid_from_ms, long_field, value, \
               blob_hash, size, epoch) SELECT k, ?, 1, updated_ms, long_field, value, blob_hash, \
               size, epoch FROM gcs_row WHERE k >= ? AND k < ?";
    let [first, end] = range.clone();
    database
        .execute(sql, &[at_ms.into(), first, end])
        .await
        .unwrap();
    let sql = "DELETE FROM gcs_row WHERE k >= ? AND k < ?";
    database.execute(sql, &range).await.unwrap();
}

/// Writes rows over RESP, as a head would.
pub(crate) async fn write(client: &mut Client, namespace: &str, rows: &[Row]) {
    let commands: Vec<_> = rows
        .iter()
        .map(|(table, field, value)| {
            let key = Bytes::from(format!("RAY{namespace}@{table}"));
            if *table == TableName::JOB_COUNTER {
                return vec![Bytes::from_static(b"INCRBY"), key, value.clone()];
            }
            let verb = Bytes::from_static(b"HSET");
            vec![verb, key, field.clone(), value.clone()]
        })
        .collect();
    for reply in client.pipeline(&commands).await.unwrap() {
        assert_eq!(reply.as_error(), None);
    }
}
