//! The client against a real Redis: TLS, logins, and servers that are slow or
//! gone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::redis::Redis;
use resp::client::Error;
use resp::{Client, Reply, Target};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

/// A folder that a server running as somebody else may read.
fn folder() -> tempfile::TempDir {
    let open = Permissions::from_mode(0o755);
    tempfile::Builder::new()
        .permissions(open)
        .tempdir()
        .expect("a folder")
}

/// Writes a certificate for `localhost` and its key.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a valid name");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

fn trusting(certificate: Option<CertificateDer<'static>>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = certificate {
        roots.add(certificate).expect("made as one");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[tokio::test]
async fn logs_in_over_tls() {
    let files = folder();
    let certificate = certificate(files.path());
    let file = |name| files.path().join(name).display().to_string();
    let [port] = harness::ports::free().unwrap();
    let flags = [
        "--tls-port".to_owned(),
        port.to_string(),
        "--tls-cert-file".to_owned(),
        file("cert.pem"),
        "--tls-key-file".to_owned(),
        file("key.pem"),
        "--tls-auth-clients".to_owned(),
        "no".to_owned(),
    ];
    let home = folder();
    let redis = Redis::start(home.path(), &flags.each_ref().map(String::as_str))
        .await
        .unwrap();
    let mut plain = Client::connect(&Target::new(redis.address().to_string()))
        .await
        .unwrap();
    let user = ["ACL", "SETUSER", "ray", "on", ">a b", "~*", "+@all"];
    assert_eq!(plain.call(&user).await.unwrap(), Reply::OK);

    let name = ServerName::try_from("localhost").unwrap();
    let target = Target::new(format!("127.0.0.1:{port}"));
    let safe = target
        .clone()
        .tls(trusting(Some(certificate)), name.clone());
    let mut client = Client::connect(&safe.clone().login(Some("ray"), "a b"))
        .await
        .unwrap();
    // Larger than any buffer on the way, in both directions at once.
    let value = vec![b'v'; 1 << 20];
    let set: Vec<Vec<u8>> = vec![b"SET".into(), b"key".into(), value.clone()];
    let get: Vec<Vec<u8>> = vec![b"GET".into(), b"key".into()];
    let mut commands = vec![set];
    commands.extend(vec![get; 20]);
    let replies = client.pipeline(&commands).await.unwrap();
    assert_eq!(replies[0], Reply::OK);
    assert!(
        replies[1..]
            .iter()
            .all(|reply| *reply == Reply::bulk(&value))
    );

    let refused = Client::connect(&safe.login(Some("ray"), "other"))
        .await
        .err()
        .unwrap();
    assert!(matches!(&refused, Error::Login { text } if text.starts_with("WRONGPASS")));
    let strange = Client::connect(&target.tls(trusting(None), name))
        .await
        .err()
        .unwrap();
    assert!(matches!(strange, Error::Connect { .. }), "{strange:?}");
}

#[tokio::test]
async fn a_server_that_is_slow_or_gone_is_told_apart() {
    let home = folder();
    let mut redis = Redis::start(home.path(), &[]).await.unwrap();
    let target = Target::new(redis.address().to_string());
    let mut client = Client::connect(&target).await.unwrap();
    assert_eq!(client.call(&["PING"]).await.unwrap(), Reply::PONG);

    let hasty = target.clone().deadline(Duration::from_millis(50));
    let mut waiting = Client::connect(&hasty).await.unwrap();
    redis.pause();
    let late = waiting.call(&["PING"]).await.unwrap_err();
    assert!(matches!(late, Error::Deadline(_)), "{late:?}");
    redis.resume();

    redis.kill();
    let gone = client.call(&["PING"]).await.unwrap_err();
    assert!(matches!(gone, Error::Closed | Error::Io(_)), "{gone:?}");
    let nobody = Client::connect(&target).await.err().unwrap();
    assert!(matches!(nobody, Error::Connect { .. }), "{nobody:?}");
}
