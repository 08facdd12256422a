//! Moves from a real Redis and back.

use gcs_sql::Database;
use gcs_store::{
    copies::{self, Address, Error, Progress},
    namespace::{self, Catalog},
};
use harness::redis::Redis;
use ray_tables::TableName;
use resp::{Client, Reply, Target};

use crate::stage::{hard_rows, holds, name, picture_of, row, seed, write};

struct There {
    _folder: tempfile::TempDir,
    _redis: Redis,
    client: Client,
    address: Address,
}

/// A Redis that wants a password with characters that need escaping.
async fn redis() -> There {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]).await.unwrap();
    let mut client = Client::connect(&Target::new(redis.address().to_string()))
        .await
        .unwrap();
    let set = ["CONFIG", "SET", "requirepass", "p@ss/wörd"];
    assert_eq!(client.call(&set).await.unwrap(), Reply::OK);
    let url = format!("redis://:p%40ss%2Fw%C3%B6rd@{}", redis.address());
    let address = Address::new(&url, None, None).unwrap();
    There {
        _folder: folder,
        _redis: redis,
        client,
        address,
    }
}

pub(crate) async fn a_move_from_redis_and_back_keeps_every_byte(database: &Database) {
    let mut there = redis().await;
    let rows = hard_rows();
    write(&mut there.client, "exp-A*", &rows).await;
    // Neighbours whose names begin alike.
    let stranger = [row(TableName::KV, b"not", b"mine")];
    write(&mut there.client, "exp-A*2", &stranger).await;
    write(&mut there.client, "exp-AB", &stranger).await;

    let here = name("moved");
    let none = Progress::none();
    let imported = copies::import(database, &there.address, "exp-A*", &here, &none)
        .await
        .unwrap();
    assert_eq!(imported.rows, rows.len() as u64);
    assert_eq!(imported.blake3, picture_of(&rows).blake3());
    assert!(imported.meanwhile.is_empty());
    assert_eq!(holds(database, &here).await, picture_of(&rows));

    let exported = copies::export(database, &here, &there.address, "back", &none)
        .await
        .unwrap();
    assert_eq!(exported.rows, imported.rows);
    assert_eq!(exported.blake3, imported.blake3);
    let counter = there.client.call(&["GET", "RAYback@JobCounter"]).await;
    assert_eq!(counter.unwrap(), Reply::bulk("7"));
    let again = name("again");
    copies::import(database, &there.address, "back", &again, &none)
        .await
        .unwrap();
    assert_eq!(holds(database, &again).await, picture_of(&rows));
}

pub(crate) async fn what_changes_meanwhile_is_told(database: &Database) {
    let mut there = redis().await;
    let rows = [
        row(TableName::KV, b"a", b"1"),
        row(TableName::KV, b"b", b"1"),
    ];
    write(&mut there.client, "live", &rows).await;
    // A head that goes on: it writes as soon as the first rows are copied.
    let (changed, wait) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    let mut client = there.client;
    let head = std::thread::spawn(move || {
        gone.recv().unwrap();
        let change = [row(TableName::KV, b"a", b"2")];
        runtime.block_on(write(&mut client, "live", &change));
        changed.send(()).unwrap();
    });
    let wait = std::sync::Mutex::new(wait);
    let progress = Progress::new(move |_, _| {
        if go.send(()).is_ok() {
            let _told = wait.lock().unwrap().recv();
        }
    });
    let here = name("live");
    let imported = copies::import(database, &there.address, "live", &here, &progress)
        .await
        .unwrap();
    head.join().unwrap();
    let fields: Vec<_> = imported.meanwhile.rows.iter().map(|it| &it.field).collect();
    assert_eq!(fields, ["a"]);
    assert_eq!(holds(database, &here).await, picture_of(&rows));
}

pub(crate) async fn nothing_is_moved_over_what_exists(database: &Database) {
    let mut there = redis().await;
    let rows = [row(TableName::KV, b"a", b"1")];
    let prod = seed(database, "prod", &rows).await;
    let none = Progress::none();
    let nothing = copies::import(database, &there.address, "prod", &name("new"), &none).await;
    assert!(matches!(nothing, Err(Error::Nothing { .. })));

    write(&mut there.client, "prod", &rows).await;
    let occupied = copies::export(database, &prod, &there.address, "prod", &none).await;
    assert!(occupied.unwrap_err().is_refusal());
    let exists = copies::import(database, &there.address, "prod", &prod, &none).await;
    assert!(exists.unwrap_err().is_refusal());

    // What is none of Ray's tables is not passed over.
    let odd = there.client.call(&["LPUSH", "RAYodd@KV", "x"]).await;
    assert_eq!(odd.unwrap(), Reply::Int(1));
    let refused = copies::import(database, &there.address, "odd", &name("odd"), &none).await;
    assert!(matches!(refused, Err(Error::Remote(_))));
    let missing = Catalog::new(database).find(&name("odd")).await;
    assert!(matches!(missing, Err(namespace::Error::Missing { .. })));
}

pub(crate) async fn a_move_over_tls_checks_the_certificate(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cert = file("cert.pem", &made.cert.pem());
    let key = file("key.pem", &made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = file("other.pem", &other.cert.pem());
    // Redis runs as a user of its own.
    for path in [folder.path(), &cert, &key] {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, all).unwrap();
    }
    let [port] = harness::ports::free().unwrap();
    let port = port.to_string();
    let shown = |path: &std::path::Path| path.display().to_string();
    let (cert_file, key_file) = (shown(&cert), shown(&key));
    let home = tempfile::tempdir().unwrap();
    let redis = Redis::start(
        home.path(),
        &[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &cert_file,
            "--tls-key-file",
            &key_file,
            "--tls-auth-clients",
            "no",
        ],
    )
    .await
    .unwrap();
    let plain = Target::new(redis.address().to_string());
    let mut client = Client::connect(&plain).await.unwrap();
    let rows = [row(TableName::KV, b"a", b"1")];
    write(&mut client, "prod", &rows).await;

    let none = Progress::none();
    let url = format!("rediss://localhost:{port}");
    let strange = Address::new(&url, None, Some(&other)).unwrap();
    let refused = copies::import(database, &strange, "prod", &name("prod"), &none).await;
    assert!(matches!(
        refused,
        Err(Error::Remote(copies::remote::Error::Client(_)))
    ));
    let known = Address::new(&url, None, Some(&cert)).unwrap();
    copies::import(database, &known, "prod", &name("prod"), &none)
        .await
        .unwrap();
    assert_eq!(holds(database, &name("prod")).await, picture_of(&rows));
}
