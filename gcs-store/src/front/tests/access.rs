//! Passwords, namespaces, certificates, fences, standbys.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use ray_tables::NamespaceName;
use resp::{Client, Reply, Target};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::stage::{PATIENCE, Stage, call, locally, refused};
use crate::{
    config::Tls,
    namespace::{Password, hash},
};

#[tokio::test]
async fn a_password_opens_the_store() {
    locally(async {
        let store = Stage::new().password("hunter2\n").start().await;
        let mut client = store.client().await;
        for line in [
            "PING",
            "INFO CLUSTER",
            "DEL DUMMY",
            "HGET RAYa@KV f",
            "SCAN 0",
        ] {
            let error = refused(&mut client, line).await;
            assert_eq!(error, "NOAUTH Authentication required.", "{line}");
        }
        let error = refused(&mut client, "AUTH hunter3").await;
        assert!(error.starts_with("WRONGPASS "));
        // As Ray does: the first command goes without waiting for the login.
        client
            .send_raw(b"AUTH hunter2\r\nPING\r\nHSET RAYa@KV f v\r\n")
            .await
            .unwrap();
        for reply in [Reply::OK, Reply::PONG, Reply::Int(1)] {
            assert_eq!(client.reply().await.unwrap(), reply);
        }
        // Large things need a login first.
        let mut stranger = store.client().await;
        stranger
            .send_raw(b"*3\r\n$4\r\nHSET\r\n$100000\r\n")
            .await
            .unwrap();
        let reply = stranger.reply().await.unwrap();
        let error = reply.as_error().unwrap();
        assert_eq!(error, "ERR Protocol error: unauthenticated bulk length");
        store.stop().await;
    })
    .await;
}

/// All keys the client is shown, sorted: namespaces come in no order.
async fn keys(client: &mut Client) -> Vec<Reply> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let Reply::Array(page) = call(client, &format!("SCAN {cursor} COUNT 1000")).await else {
            panic!("no page");
        };
        let [Reply::Bulk(next), Reply::Array(some)] = &page[..] else {
            panic!("no cursor and keys");
        };
        keys.extend(some.clone());
        cursor = String::from_utf8(next.to_vec()).unwrap();
        if cursor == "0" {
            keys.sort_by_key(|key| format!("{key:?}"));
            return keys;
        }
    }
}

#[tokio::test]
async fn a_head_touches_its_own_namespace_only() {
    locally(async {
        let store = Stage::new().password("hunter2").start().await;
        let target = |user| store.target().login(user, "hunter2");
        let mut all = Client::connect(&target(None)).await.unwrap();
        for line in ["HSET RAYa@KV f v", "HSET RAYa2@KV f v"] {
            assert_eq!(call(&mut all, line).await, Reply::Int(1));
        }
        let mut head = Client::connect(&target(Some("a"))).await.unwrap();
        assert_eq!(call(&mut head, "HGET RAYa@KV f").await, Reply::bulk("v"));
        for line in [
            "HGET RAYa2@KV f",
            "HSET RAYa2@KV f v",
            "DEL RAYa@KV RAYa2@KV",
            "INCRBY RAYa2@JobCounter 1",
        ] {
            let error = refused(&mut head, line).await;
            assert!(error.starts_with("NOPERM "), "{line}: {error}");
        }
        assert_eq!(keys(&mut head).await, [Reply::bulk("RAYa@KV")]);
        let both = ["RAYa2@KV", "RAYa@KV"].map(Reply::bulk);
        assert_eq!(keys(&mut all).await, both);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_password_of_its_own_shuts_a_namespace_to_others() {
    locally(async {
        let store = Stage::new().start().await;
        let own = Password::new("a password of its own".to_owned()).unwrap();
        let name = NamespaceName::new("own").unwrap();
        let hashes = vec![hash(&own).unwrap()];
        store.passwords.replace(HashMap::from([(name, hashes)]));

        let mut anybody = store.client().await;
        assert_eq!(call(&mut anybody, "HSET RAYa@KV f v").await, Reply::Int(1));
        let error = refused(&mut anybody, "HSET RAYown@KV f v").await;
        assert_eq!(error, "NOAUTH Authentication required.");
        let login = |password| store.target().login(Some("own"), password);
        assert!(Client::connect(&login("a guess")).await.is_err());
        let mut head = Client::connect(&login("a password of its own"))
            .await
            .unwrap();
        assert_eq!(call(&mut head, "HSET RAYown@KV f v").await, Reply::Int(1));
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_older_head_is_refused_and_closed() {
    locally(async {
        let store = Stage::new().start().await;
        let login = |user| store.target().login(Some(user), "any");
        let mut old = Client::connect(&login("a/1")).await.unwrap();
        assert_eq!(call(&mut old, "HSET RAYa@KV f old").await, Reply::Int(1));
        let mut new = Client::connect(&login("a/2")).await.unwrap();
        // Either it is closed before it can ask, or told and closed.
        let mut answered = 0;
        while let Ok(reply) = old.call(&["HSET", "RAYa@KV", "f", "older"]).await {
            let error = reply.as_error().expect("refused");
            assert!(error.starts_with("FENCED "), "{error}");
            answered += 1;
            assert!(answered < 3, "not closed");
        }
        assert_eq!(call(&mut new, "HGET RAYa@KV f").await, Reply::bulk("old"));
        assert!(Client::connect(&login("a/1")).await.is_err());
        store.stop().await;
    })
    .await;
}

/// Certificates for a server and a client, signed by one authority.
fn certificates(folder: &Path) -> Tls {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_cert = authority.self_signed(&authority_key).unwrap();
    fs::write(folder.join("ca.pem"), authority_cert.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    Tls {
        cert: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: Some(folder.join("ca.pem")),
    }
}

fn over_tls(target: Target, folder: &Path, with_certificate: bool) -> Target {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_certificate {
        let cert = CertificateDer::from_pem_file(folder.join("client.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).unwrap();
        builder.with_client_auth_cert(vec![cert], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    target.tls(Arc::new(config), ServerName::try_from("localhost").unwrap())
}

impl Stage {
    /// Which needs TLS and certificates of its clients.
    pub(super) fn certified(mut self) -> Self {
        self.config.tls = Some(certificates(self.folder.path()));
        self
    }

    pub(super) fn over_tls(&self, target: Target) -> Target {
        over_tls(target, self.folder.path(), true)
    }
}

#[tokio::test]
async fn a_client_needs_a_certificate_where_that_is_asked() {
    locally(async {
        let stage = Stage::new().certified();
        let store = stage.start().await;
        let mut client = Client::connect(&stage.over_tls(store.target()))
            .await
            .unwrap();
        assert_eq!(call(&mut client, "DEL DUMMY").await, Reply::Int(0));
        let large = "x".repeat(1 << 20);
        let hset = call(&mut client, &format!("HSET RAYa@KV f {large}")).await;
        assert_eq!(hset, Reply::Int(1));
        let hget = call(&mut client, "HGET RAYa@KV f").await;
        assert!(hget == Reply::bulk(large));

        let bare = over_tls(store.target(), stage.folder.path(), false);
        // TLS 1.3 tells a client without a certificate after the handshake.
        let refused = match Client::connect(&bare).await {
            Ok(mut client) => client.call(&["PING"]).await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_closed() {
    locally(async {
        let store = Stage::new().certified().start().await;
        let mut stream = TcpStream::connect(store.address).await.unwrap();
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(read.is_err() || !answer.starts_with(b"+PONG"));
        store.stop().await;
    })
    .await;
}
