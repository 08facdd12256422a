//! Who the server is, and who we are.

use std::fs;

use gcs_sql::{Database, Error, Settings};
use harness::{Setup, mariadb::Mariadb, postgres::Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const PASSWORD: &str = "a password";

/// A server that lets `app` in by TLS and password only, and the files of the
/// authority that signed its certificate and of one that did not.
struct Guarded<S> {
    server: S,
    folder: TempDir,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// A folder with both authorities, and the server's certificate and key.
fn papers() -> (TempDir, Vec<(String, Vec<u8>)>) {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .signed_by(&key, &ours)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ours.pem"), ours.pem()).unwrap();
    fs::write(folder.path().join("theirs.pem"), theirs.pem()).unwrap();
    let files = vec![
        ("server.pem".into(), certificate.pem().into_bytes()),
        ("server.key".into(), key.serialize_pem().into_bytes()),
    ];
    (folder, files)
}

impl Guarded<Postgres> {
    async fn start() -> Self {
        let (folder, mut files) = papers();
        let rules = "host all postgres 127.0.0.1/32 trust\n\
                     hostssl all app 127.0.0.1/32 scram-sha-256\n";
        files.push(("pg_hba.conf".into(), rules.into()));
        let settings = [
            "ssl=on",
            "ssl_cert_file=server.pem",
            "ssl_key_file=server.key",
        ];
        let setup = Setup {
            arguments: settings
                .iter()
                .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()])
                .collect(),
            files,
            ..Setup::default()
        };
        let server = Postgres::start_with(folder.path(), setup).await.unwrap();
        server
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'"))
            .unwrap();
        Self { server, folder }
    }

    fn settings(&self, host: &str, mode: &str, authority: &str, password: &str) -> Settings {
        let file = self.folder.path().join(authority);
        let (port, file) = (self.server.port(), file.display());
        Settings {
            password: Some(password.to_owned().into()),
            ..Settings::new(format!(
                "postgres://app:wrong@{host}:{port}/postgres?sslmode={mode}&sslrootcert={file}"
            ))
        }
    }
}

impl Guarded<Mariadb> {
    async fn start() -> Self {
        let (folder, files) = papers();
        let setup = Setup {
            arguments: vec![
                "--ssl-cert=server.pem".into(),
                "--ssl-key=server.key".into(),
            ],
            files,
            ..Setup::default()
        };
        let server = Mariadb::start_with(folder.path(), setup).await.unwrap();
        for statement in [
            &format!("CREATE USER app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
            "GRANT ALL ON test.* TO app@'127.0.0.1'",
            "CREATE DATABASE test",
        ] {
            server.sql(statement).unwrap();
        }
        Self { server, folder }
    }

    fn settings(&self, host: &str, mode: &str, authority: &str, password: &str) -> Settings {
        let file = self.folder.path().join(authority);
        let (port, file) = (self.server.port(), file.display());
        Settings {
            password: Some(password.to_owned().into()),
            ..Settings::new(format!(
                "mysql://app:wrong@{host}:{port}/test?ssl-mode={mode}&ssl-ca={file}"
            ))
        }
    }
}

#[tokio::test]
async fn only_a_mysql_with_the_right_certificate_is_spoken_to() {
    let guarded = Guarded::<Mariadb>::start().await;
    let open = async |host: &str, mode: &str, authority: &str, password: &str| {
        Database::open(&guarded.settings(host, mode, authority, password)).await
    };

    let database = open("localhost", "VERIFY_IDENTITY", "ours.pem", PASSWORD)
        .await
        .unwrap();
    let rows = database
        .fetch("SHOW STATUS LIKE 'Ssl_cipher'", &[])
        .await
        .unwrap();
    assert!(!rows[0].text(1).unwrap().is_empty());

    for (host, mode, authority, password) in [
        ("localhost", "VERIFY_IDENTITY", "theirs.pem", PASSWORD),
        ("127.0.0.1", "VERIFY_IDENTITY", "ours.pem", PASSWORD),
        ("localhost", "DISABLED", "ours.pem", PASSWORD),
        ("localhost", "VERIFY_CA", "ours.pem", "another secret"),
    ] {
        let error = open(host, mode, authority, password).await.unwrap_err();
        let refused = matches!(error, Error::Unavailable { .. } | Error::Invalid { .. });
        assert!(refused, "{host} {mode} {authority}: {error:?}");
        assert!(!format!("{error:?}").contains("another secret"));
    }
}

#[tokio::test]
async fn only_a_postgres_with_the_right_certificate_is_spoken_to() {
    let guarded = Guarded::<Postgres>::start().await;
    let open = async |host: &str, mode: &str, authority: &str| {
        Database::open(&guarded.settings(host, mode, authority, PASSWORD)).await
    };

    let database = open("localhost", "verify-full", "ours.pem").await.unwrap();
    let sql = "SELECT CAST(ssl AS TEXT) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let rows = database.fetch(sql, &[]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "true");

    // The wrong authority; the right one, but for another name; no TLS.
    for (host, mode, authority) in [
        ("localhost", "verify-full", "theirs.pem"),
        ("127.0.0.1", "verify-full", "ours.pem"),
        ("localhost", "disable", "ours.pem"),
    ] {
        let error = open(host, mode, authority).await.unwrap_err();
        let refused = matches!(error, Error::Unavailable { .. } | Error::Invalid { .. });
        assert!(refused, "{host} {mode} {authority}: {error:?}");
    }
    open("127.0.0.1", "verify-ca", "ours.pem").await.unwrap();
}

#[tokio::test]
async fn the_password_comes_from_the_settings_and_shows_nowhere() {
    let guarded = Guarded::<Postgres>::start().await;
    let settings = guarded.settings("localhost", "verify-full", "ours.pem", PASSWORD);
    let database = Database::open(&settings).await.unwrap();
    for shown in [format!("{settings:?}"), format!("{database:?}")] {
        assert!(
            !shown.contains(PASSWORD) && !shown.contains("wrong"),
            "{shown}"
        );
    }

    let settings = guarded.settings("localhost", "verify-full", "ours.pem", "another secret");
    let error = Database::open(&settings).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("another secret"));
}
