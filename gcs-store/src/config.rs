//! What an operator may set about the store.
//!
//! Secrets stand in files of their own: neither this nor a URL in it holds the
//! text of one, so that a configuration can be printed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `store:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the state is kept: `sqlite:///path/of/file`, `postgres://user@host/name`
    /// or `mysql://user@host/name`, without a password.
    pub database: String,
    /// A file that holds the password for the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_password_file: Option<PathBuf>,
    /// Most connections to the database for reads and the catalog; the writer
    /// has one of its own.
    pub database_connections: NonZeroU32,
    /// How long one statement may take, 100 ms to 5 min. One that takes longer
    /// is not failed: what became of it is found out, and it is tried again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub statement_deadline: Duration,
    /// Where Ray heads connect. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The `host:port` that heads reach this process by; a standby sends them
    /// there. Absent: where it listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Speaks TLS only. Absent: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A file that holds a password for every head. A namespace may have
    /// passwords of its own (`tradewind store namespace password`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Lets anybody in who reaches an address that is not of this machine only.
    pub allow_open: bool,
    /// Whether a head may name a namespace that nobody has created.
    pub namespaces: Namespaces,
    /// Most connections open at once; more are closed as they come.
    pub connections_max: NonZeroUsize,
    /// Most commands that wait on one connection, which is not read further until
    /// one is answered; 64 MiB of them is the other bound.
    pub waiting_per_connection: NonZeroUsize,
    /// Memory for commands that wait, all connections together. Beyond it only
    /// connections without unanswered commands are read, until some are answered.
    #[schemars(with = "String")]
    pub waiting_memory: ByteSize,
    /// A command that takes longer is logged and counted as slow.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub slow: Duration,
    /// The Unix socket by which a successor takes the connections over. Absent:
    /// none, and a restart closes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover_socket: Option<PathBuf>,
    /// How long earlier values are kept; 0s keeps none.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub history: Duration,
    /// How long a large value that nothing refers to any more is kept: 1 min or
    /// more.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub blob_grace: Duration,
    /// Memory for the namespaces in use: their fields and values up to 16 KiB.
    /// Beyond it a write that adds to them is refused.
    #[schemars(with = "String")]
    pub image_limit: ByteSize,
    /// Takes the place of the process behind `handover_socket`. For the command
    /// line only.
    #[serde(skip)]
    pub take_over: bool,
}

/// `store.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates that sign those of clients, PEM; then a client without one
    /// is turned away. Absent: clients need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// Which namespaces a head may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Namespaces {
    /// Any: one that is not there yet is created by the first write.
    #[default]
    Open,
    /// Those made by `tradewind store namespace create`.
    Declared,
}

impl Default for Config {
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            database: "sqlite://tradewind.db".to_owned(),
            database_password_file: None,
            database_connections: NonZeroU32::new(8).unwrap_or(NonZeroU32::MIN),
            statement_deadline: Duration::from_secs(5),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)),
            advertise: None,
            tls: None,
            password_file: None,
            allow_open: false,
            namespaces: Namespaces::default(),
            connections_max: count(20_000),
            // After a freeze of 45 s a head has some 450 commands in flight.
            waiting_per_connection: count(16_384),
            waiting_memory: ByteSize::mib(256),
            slow: Duration::from_millis(100),
            handover_socket: None,
            history: Duration::from_secs(7 * 24 * 3600),
            blob_grace: Duration::from_secs(3600),
            image_limit: ByteSize::gib(4),
            take_over: false,
        }
    }
}

/// A setting that parses and still cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}, allowed is {allowed}")]
pub struct Invalid {
    /// Its path below `store`.
    pub key: &'static str,
    /// What was given; never a secret.
    pub value: String,
    /// What would do.
    pub allowed: &'static str,
}

impl Config {
    /// Checks what the types cannot. Reads no file.
    ///
    /// # Errors
    /// [`Invalid`] for the first setting that cannot be.
    pub fn validate(&self) -> Result<(), Invalid> {
        let refuse = |key, value: String, allowed| {
            Err(Invalid {
                key,
                value,
                allowed,
            })
        };
        if let Err(allowed) = database(&self.database) {
            return refuse("database", without_password(&self.database), allowed);
        }
        let bounds = Duration::from_millis(100)..=Duration::from_secs(300);
        if !bounds.contains(&self.statement_deadline) {
            let value = format!("{:?}", self.statement_deadline);
            return refuse("statement_deadline", value, "100ms to 5m");
        }
        if self.slow.is_zero() {
            return refuse("slow", "0s".to_owned(), "more than 0s");
        }
        if self.blob_grace < Duration::from_secs(60) {
            let value = format!("{:?}", self.blob_grace);
            return refuse("blob_grace", value, "1m or more");
        }
        for (key, value, least, allowed) in [
            (
                "waiting_memory",
                self.waiting_memory,
                ByteSize::mib(1),
                "1 MiB or more",
            ),
            (
                "image_limit",
                self.image_limit,
                ByteSize::mib(16),
                "16 MiB or more",
            ),
        ] {
            if value < least {
                return refuse(key, value.to_string(), allowed);
            }
        }
        if let Some(address) = &self.advertise
            && !is_host_and_port(address)
        {
            let allowed = "a host and a port that heads reach, such as 10.0.0.5:6379";
            return refuse("advertise", format!("{address:?}"), allowed);
        }
        if self.advertise.is_none() && self.listen.ip().is_unspecified() {
            let allowed = "one address of this machine, or set `advertise` as well: \
                           a standby must tell heads where to go";
            return refuse("listen", self.listen.to_string(), allowed);
        }
        if !self.listen.ip().is_loopback() && !self.guarded() && !self.allow_open {
            let allowed = "an address of this machine only (127.0.0.1), unless clients need a \
                           password (`password_file`) or a certificate (`tls.client_ca`), or \
                           `allow_open` says that anybody may read and change everything";
            return refuse("listen", self.listen.to_string(), allowed);
        }
        Ok(())
    }

    /// Whether a client needs a password or a certificate.
    #[must_use]
    pub fn guarded(&self) -> bool {
        let certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        certificates || self.password_file.is_some()
    }
}

/// Checks the URL of a database as far as it can be without asking one.
///
/// # Errors
/// What would do.
pub fn database(url: &str) -> Result<(), &'static str> {
    const FORMS: &str = "sqlite:///path/of/file, postgres://user@host/name or \
                         mysql://user@host/name";
    const PASSWORD: &str = "a URL without a password, for URLs are seen in process lists and \
                            logs: put it into a file (`database_password_file`)";
    let (scheme, rest) = url.split_once(':').ok_or(FORMS)?;
    match scheme {
        "sqlite" => {
            let path = rest.trim_start_matches('/');
            if path.is_empty() || path.starts_with(':') {
                return Err(FORMS);
            }
            Ok(())
        }
        "postgres" | "postgresql" | "mysql" | "mariadb" => {
            let rest = rest.strip_prefix("//").ok_or(FORMS)?;
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
            let hidden = rest
                .split_once('?')
                .is_some_and(|(_, query)| query.split('&').any(|it| it.starts_with("password=")));
            if user.contains(':') || hidden {
                return Err(PASSWORD);
            }
            Ok(())
        }
        _ => Err(FORMS),
    }
}

/// The URL as it may be shown, whatever it holds.
#[must_use]
pub fn without_password(url: &str) -> String {
    gcs_sql::Settings::new(url).shown_url()
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &Config) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn an_open_listener_is_refused_unless_it_is_asked_for() {
        assert_eq!(Config::default().validate(), Ok(()));
        let open = Config {
            listen: SocketAddr::from(([10, 0, 0, 5], 6379)),
            ..Config::default()
        };
        assert!(refused(&open).starts_with("`listen` is 10.0.0.5:6379, allowed is"));
        let asked_for = Config {
            allow_open: true,
            ..open.clone()
        };
        assert_eq!(asked_for.validate(), Ok(()));
        let guarded = Config {
            password_file: Some("/etc/tradewind/password".into()),
            ..open.clone()
        };
        assert_eq!(guarded.validate(), Ok(()));
        let tls = |client_ca| {
            Some(Tls {
                cert: "c".into(),
                key: "k".into(),
                client_ca,
            })
        };
        let encrypted = Config {
            tls: tls(None),
            ..open.clone()
        };
        assert!(encrypted.validate().is_err());
        let certified = Config {
            tls: tls(Some("ca".into())),
            ..open
        };
        assert_eq!(certified.validate(), Ok(()));
    }

    #[test]
    fn all_addresses_need_one_to_tell() {
        let all = Config {
            listen: SocketAddr::from(([0, 0, 0, 0], 6379)),
            allow_open: true,
            ..Config::default()
        };
        assert!(refused(&all).contains("`advertise`"));
        let told = Config {
            advertise: Some("store.example:6379".to_owned()),
            ..all
        };
        assert_eq!(told.validate(), Ok(()));
        for wrong in ["store.example", ":6379", "a b:1", "store:0"] {
            let config = Config {
                advertise: Some(wrong.to_owned()),
                ..Config::default()
            };
            assert!(config.validate().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in [
            "postgres://ray:hunter2@db/ray",
            "mysql://ray:hunter2@db:3306/ray?ssl-mode=REQUIRED",
            "postgres://db/ray?user=ray&password=hunter2",
        ] {
            let config = Config {
                database: url.to_owned(),
                ..Config::default()
            };
            let said = refused(&config);
            assert!(
                said.contains("without a password") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }

    #[test]
    fn urls_of_three_databases_are_known() {
        for url in [
            "sqlite:///var/lib/tradewind/ray.db",
            "sqlite://ray.db",
            "postgres://ray@db:5432/ray?sslmode=verify-full",
            "mysql://ray@db/ray",
        ] {
            assert_eq!(database(url), Ok(()), "{url}");
        }
        for url in ["", "ray.db", "redis://db", "sqlite://", "postgres:db"] {
            assert!(database(url).is_err(), "{url}");
        }
    }

    #[test]
    fn settings_out_of_their_bounds_are_named() {
        let config = Config {
            statement_deadline: Duration::from_millis(1),
            ..Config::default()
        };
        assert_eq!(
            refused(&config),
            "`statement_deadline` is 1ms, allowed is 100ms to 5m"
        );
        let config = Config {
            image_limit: ByteSize::kib(1),
            ..Config::default()
        };
        assert!(refused(&config).starts_with("`image_limit` is"));
    }
}
