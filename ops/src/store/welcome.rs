//! What `store serve` prints when it is ready: where it is, and what to set on
//! the side of Ray. Pure.

use std::{fmt::Write, net::SocketAddr};

use gcs_store::config::{Config, Namespaces, without_password};

/// The words, for a store that listens on `local`.
pub fn words(config: &Config, local: SocketAddr, admin: Option<SocketAddr>) -> String {
    let address = config
        .advertise
        .clone()
        .unwrap_or_else(|| local.to_string());
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let database = without_password(&config.database);
    line(&format!("ready on {local}, state in {database}"));
    if config.take_over {
        // All else was said by the process whose place it has.
        return text;
    }
    line("");
    line("Where the Ray head starts, before `ray start --head`:");
    let scheme = if config.tls.is_some() {
        "rediss://"
    } else {
        ""
    };
    line(&format!("  export RAY_REDIS_ADDRESS={scheme}{address}"));
    line("  export RAY_external_storage_namespace=my-cluster    # another for each cluster");
    if let Some(tls) = &config.tls {
        line("  export RAY_REDIS_CA_CERT=/path/of/the/ca.pem        # that signed the certificate");
        if tls.client_ca.is_some() {
            line("  export RAY_REDIS_CLIENT_CERT=/path/of/client.pem");
            line("  export RAY_REDIS_CLIENT_KEY=/path/of/client-key.pem");
        }
    }
    let start = match &config.password_file {
        Some(path) => format!(
            "  ray start --head --redis-username my-cluster --redis-password \"$(cat {})\"",
            path.display()
        ),
        None => "  ray start --head".to_owned(),
    };
    line(&start);
    line("");
    if config.namespaces == Namespaces::Declared {
        line("A namespace is made first: tradewind store namespace create my-cluster");
    }
    if let Some(admin) = admin {
        line(&format!(
            "Look:    tradewind store status --admin http://{admin}"
        ));
    }
    if let Some(socket) = &config.handover_socket {
        line(&format!(
            "Upgrade: tradewind store handover --socket {}",
            socket.display()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 6379))
    }

    #[test]
    fn a_plain_store_needs_an_address_and_a_name() {
        let config = Config {
            database: "sqlite:///var/lib/tradewind/ray.db".to_owned(),
            handover_socket: Some("/run/tradewind/store-6379.sock".into()),
            ..Config::default()
        };
        let admin = SocketAddr::from(([127, 0, 0, 1], 8083));
        insta::assert_snapshot!(words(&config, local(), Some(admin)), @r#"
        ready on 127.0.0.1:6379, state in sqlite:///var/lib/tradewind/ray.db

        Where the Ray head starts, before `ray start --head`:
          export RAY_REDIS_ADDRESS=127.0.0.1:6379
          export RAY_external_storage_namespace=my-cluster    # another for each cluster
          ray start --head

        Look:    tradewind store status --admin http://127.0.0.1:8083
        Upgrade: tradewind store handover --socket /run/tradewind/store-6379.sock
        "#);
    }

    #[test]
    fn a_guarded_store_says_how_to_get_in() {
        let config = Config {
            database: "postgres://ray@db/ray".to_owned(),
            advertise: Some("store.example:6379".to_owned()),
            password_file: Some("/etc/tradewind/password".into()),
            tls: Some(gcs_store::config::Tls {
                cert: "cert.pem".into(),
                key: "key.pem".into(),
                client_ca: Some("ca.pem".into()),
            }),
            namespaces: Namespaces::Declared,
            ..Config::default()
        };
        insta::assert_snapshot!(words(&config, local(), None), @r#"
        ready on 127.0.0.1:6379, state in postgres://ray@db/ray

        Where the Ray head starts, before `ray start --head`:
          export RAY_REDIS_ADDRESS=rediss://store.example:6379
          export RAY_external_storage_namespace=my-cluster    # another for each cluster
          export RAY_REDIS_CA_CERT=/path/of/the/ca.pem        # that signed the certificate
          export RAY_REDIS_CLIENT_CERT=/path/of/client.pem
          export RAY_REDIS_CLIENT_KEY=/path/of/client-key.pem
          ray start --head --redis-username my-cluster --redis-password "$(cat /etc/tradewind/password)"

        A namespace is made first: tradewind store namespace create my-cluster
        "#);
    }
}
