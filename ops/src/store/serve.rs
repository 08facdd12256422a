//! `tradewind store serve`: the store alone, without a configuration file.
//!
//! The flags become the same `Config` a file does, and the process is put
//! together by the same `wire`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr};

use clap::ValueEnum;
use gcs_store::config::{self as store, Namespaces, Tls};

use super::{ADMIN, database, socket, welcome};
use crate::{
    cli::print,
    config::{Config, Presence, Role},
    serve,
};

/// Flags of `store serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: database::Args,
    /// Where Ray heads connect. Port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,
    /// The host:port that heads reach this process by, where that differs; a
    /// standby sends them there.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// A file that holds the password every head must give.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The certificate chain of the listener, PEM; then it speaks TLS only.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Certificates that sign those of clients, PEM; then clients need one.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Lets anybody in who reaches an address that is not of this machine only.
    #[arg(long)]
    allow_open: bool,
    /// Whether a head may name a namespace that nobody has created.
    #[arg(long, value_enum, default_value_t = Allowed::Open, value_name = "WHICH")]
    namespaces: Allowed,
    /// Where health, numbers and status are read, or off. Absent:
    /// 127.0.0.1:8083, or a port of the system's choice if that is taken.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAt>,
    /// The Unix socket for `store handover`. Absent: store-PORT.sock in
    /// /run/tradewind or the user's folder for such things.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Takes connections and place of the store that runs behind the socket;
    /// `store handover` does this.
    #[arg(long)]
    take_over: bool,
}

/// Which namespaces a head may use.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Allowed {
    /// Any.
    Open,
    /// Those made by `store namespace create`.
    Declared,
}

/// `--admin`.
#[derive(Debug, Clone, Copy)]
enum AdminAt {
    Off,
    At(SocketAddr),
}

impl FromStr for AdminAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| "write an IP address and a port such as 127.0.0.1:8083, or off")
    }
}

/// Serves until SIGTERM or SIGINT, or until a successor has everything.
///
/// # Errors
/// Flags that cannot be; otherwise the first part that failed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    serve::serve(config, |store, local, admin| {
        print(&welcome::words(store, local, admin))?;
        Ok(())
    })
    .await
}

impl Args {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = Config::built_in(Some([Role::Store].into()))?;
        (config.admin.listen, config.admin.presence) = match self.admin {
            None => (ADMIN, Presence::Anywhere),
            Some(AdminAt::Off) => (ADMIN, Presence::Off),
            Some(AdminAt::At(address)) => (address, Presence::There),
        };
        let tls = self.tls_cert.zip(self.tls_key).map(|(cert, key)| Tls {
            cert,
            key,
            client_ca: self.tls_client_ca,
        });
        config.store = store::Config {
            database: self.database.database,
            database_password_file: self.database.database_password_file,
            listen: self.listen,
            advertise: self.advertise,
            password_file: self.password_file,
            tls,
            allow_open: self.allow_open,
            namespaces: match self.namespaces {
                Allowed::Open => Namespaces::Open,
                Allowed::Declared => Namespaces::Declared,
            },
            handover_socket: self.socket.or_else(|| match self.listen.port() {
                0 => None,
                port => socket::to_make(port),
            }),
            take_over: self.take_over,
            ..store::Config::default()
        };
        config.store.validate().map_err(|refused| flag(&refused))?;
        Ok(config)
    }
}

/// The same refusal in the words of the command line.
fn flag(refused: &store::Invalid) -> crate::cli::WrongFlag {
    let in_flags = [
        ("`database_password_file`", "--database-password-file"),
        ("`password_file`", "--password-file"),
        ("`tls.client_ca`", "--tls-client-ca"),
        ("`allow_open`", "--allow-open"),
        ("`advertise`", "--advertise"),
    ];
    let allowed = in_flags
        .iter()
        .fold(refused.allowed.to_owned(), |text, (key, flag)| {
            text.replace(key, flag)
        });
    crate::cli::WrongFlag(format!(
        "--{}: {} is not allowed: {allowed}",
        refused.key.replace(['_', '.'], "-"),
        refused.value
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn config(flags: &[&str]) -> anyhow::Result<Config> {
        let line = [&["serve", "--database", "sqlite:///tmp/ray.db"], flags].concat();
        Line::try_parse_from(line)?.args.config()
    }

    #[test]
    fn flags_become_a_configuration() {
        let config = config(&[
            "--listen=10.0.0.5:6380",
            "--password-file=/etc/pw",
            "--tls-cert=c.pem",
            "--tls-key=k.pem",
            "--socket=/run/s.sock",
            "--admin=off",
        ])
        .unwrap();
        assert_eq!(config.roles, [Role::Store].into());
        assert_eq!(config.admin.presence, Presence::Off);
        let store = config.store;
        assert_eq!(store.listen, "10.0.0.5:6380".parse().unwrap());
        assert_eq!(store.password_file, Some("/etc/pw".into()));
        assert_eq!(store.tls.unwrap().client_ca, None);
        assert_eq!(store.handover_socket, Some("/run/s.sock".into()));
    }

    #[test]
    fn an_open_listener_is_refused_in_the_words_of_the_flags() {
        let said = config(&["--listen=10.0.0.5:6379"]).unwrap_err().to_string();
        assert_eq!(
            said,
            "--listen: 10.0.0.5:6379 is not allowed: an address of this machine only \
             (127.0.0.1), unless clients need a password (--password-file) or a certificate \
             (--tls-client-ca), or --allow-open says that anybody may read and change everything"
        );
        assert!(config(&["--listen=10.0.0.5:6379", "--allow-open"]).is_ok());
    }

    #[test]
    fn half_a_certificate_is_refused() {
        assert!(config(&["--tls-cert=c.pem"]).is_err());
        assert!(config(&["--tls-client-ca=c.pem"]).is_err());
    }

    #[test]
    fn the_admin_listener_can_be_moved_and_left_out() {
        let presence = |flags| config(flags).unwrap().admin.presence;
        assert_eq!(presence(&[]), Presence::Anywhere);
        assert_eq!(presence(&["--admin=127.0.0.1:9"]), Presence::There);
        assert_eq!(presence(&["--admin=off"]), Presence::Off);
        assert!(config(&["--admin=nowhere"]).is_err());
    }
}
