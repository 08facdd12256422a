//! Who is measured, and with which configuration.
//!
//! All get two threads, an upstream that is kept alive, and the settings an
//! operator would give a reverse proxy in front of model servers; where a
//! choice had to be made it favours the rival:
//!
//! - nginx writes its access log buffered; `nginx-quiet` writes none.
//! - HAProxy writes none, for it hands its lines to a log daemon of which the
//!   cost would stand elsewhere; `haproxy-json-log` writes to a file.
//! - `haproxy-json` reads the body and routes by its `model`, as tradewind
//!   does; the others do not even look at the body.
//! - tradewind has routing by body, time limits, health, registry, metrics and
//!   access log on.
//!
//! Invariants:
//! 1. Nothing here touches a file or a process: [`Contender::plan`] returns
//!    text.
//! 2. Every file a contender writes stays below the directory it was given.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Threads of every proxy.
const THREADS: usize = 2;

/// Connections and requests in flight every proxy must be able to hold.
const ROOM: usize = 8192;

/// One who passes requests on, or the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Contender {
    /// No proxy: the load goes to the backend itself.
    Direct,
    /// This gateway.
    Tradewind,
    /// nginx as a plain reverse proxy, access log in a file.
    Nginx,
    /// HAProxy as a plain reverse proxy.
    Haproxy,
    /// HAProxy that routes by the `model` in the body.
    HaproxyJson,
    /// nginx without access log. Not among the default ones.
    NginxQuiet,
    /// `haproxy-json` with its log in a file. Not among the default ones.
    HaproxyJsonLog,
}

/// What it takes to start a contender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The program; `None` is the one that runs this benchmark.
    pub program: Option<Program>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The configuration file to write first.
    pub file: (PathBuf, String),
}

/// A program of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its name, looked for in the directories of `PATH` and in `sbin`.
    pub name: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

/// nginx.
const NGINX: Program = Program {
    name: "nginx",
    package: "nginx-light",
};
/// HAProxy.
const HAPROXY: Program = Program {
    name: "haproxy",
    package: "haproxy",
};

/// Addresses and place of one running contender.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A second port for whoever needs one (metrics).
    pub admin: SocketAddr,
    /// A third one (registry).
    pub registry: SocketAddr,
    /// The backend.
    pub upstream: SocketAddr,
    /// Its own directory.
    pub directory: &'a Path,
    /// Whether the benchmark runs as root (nginx then names its user).
    pub root: bool,
}

impl Contender {
    /// Those measured if none are named.
    pub const DEFAULT: [Self; 5] = [
        Self::Direct,
        Self::Tradewind,
        Self::Nginx,
        Self::Haproxy,
        Self::HaproxyJson,
    ];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tradewind => "tradewind",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxyJson => "haproxy-json",
            Self::NginxQuiet => "nginx-quiet",
            Self::HaproxyJsonLog => "haproxy-json-log",
        }
    }

    /// How to start it at `site`; `None` if there is nothing to start.
    pub fn plan(self, site: &Site<'_>) -> Option<Plan> {
        let path = |name: &str| site.directory.join(name);
        let plan = match self {
            Self::Direct => return None,
            Self::Tradewind => {
                let file = path("tradewind.yaml");
                Plan {
                    program: None,
                    arguments: strings(["serve", "-c", &file.to_string_lossy()]),
                    file: (file, tradewind(site)),
                }
            }
            Self::Nginx | Self::NginxQuiet => {
                let file = path("nginx.conf");
                let prefix = site.directory.to_string_lossy();
                let error_log = path("error.log");
                Plan {
                    program: Some(NGINX),
                    arguments: strings([
                        "-p",
                        &prefix,
                        "-e",
                        &error_log.to_string_lossy(),
                        "-c",
                        &file.to_string_lossy(),
                    ]),
                    file: (file, nginx(site, self == Self::Nginx)),
                }
            }
            Self::Haproxy | Self::HaproxyJson | Self::HaproxyJsonLog => {
                let file = path("haproxy.cfg");
                Plan {
                    program: Some(HAPROXY),
                    arguments: strings(["-db", "-f", &file.to_string_lossy()]),
                    file: (
                        file,
                        haproxy(site, self != Self::Haproxy, self == Self::HaproxyJsonLog),
                    ),
                }
            }
        };
        Some(plan)
    }

    /// The program it needs that may be missing.
    pub fn program(self) -> Option<Program> {
        match self {
            Self::Direct | Self::Tradewind => None,
            Self::Nginx | Self::NginxQuiet => Some(NGINX),
            Self::Haproxy | Self::HaproxyJson | Self::HaproxyJsonLog => Some(HAPROXY),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn strings<const N: usize>(arguments: [&str; N]) -> Vec<String> {
    arguments.map(str::to_owned).to_vec()
}

fn tradewind(site: &Site<'_>) -> String {
    let Site {
        listen,
        admin,
        registry,
        upstream,
        directory,
        ..
    } = site;
    let log = directory.join("access.log");
    format!(
        "\
site: bench
roles: [gateway, registry]
admin:
  listen: {admin}
registry:
  listen: {registry}
replicas:
  - id: backend
    address: http://{upstream}
    applications: [bench]
    capacity: {ROOM}
gateway:
  listen: {listen}
  cores: {THREADS}
  connections: {ROOM}
  in_flight: {ROOM}
  drain_grace: 1s
  access_log:
    file: {log:?}
drain:
  spread: 0s
"
    )
}

fn nginx(site: &Site<'_>, log: bool) -> String {
    let Site {
        listen,
        upstream,
        root,
        ..
    } = site;
    let user = if *root { "user root;\n" } else { "" };
    let log = match log {
        true => "access.log combined buffer=64k flush=1s",
        false => "off",
    };
    let files = 2 * ROOM + 1024;
    format!(
        "\
{user}daemon off;
worker_processes {THREADS};
worker_rlimit_nofile {files};
error_log error.log warn;
pid nginx.pid;
events {{
    worker_connections {ROOM};
}}
http {{
    access_log {log};
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    tcp_nodelay on;
    keepalive_requests 100000000;
    client_max_body_size 32m;
    upstream backend {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_read_timeout 600s;
        }}
    }}
}}
"
    )
}

fn haproxy(site: &Site<'_>, json: bool, log: bool) -> String {
    let Site {
        listen, upstream, ..
    } = site;
    let (target, lines) = match log {
        true => (
            "    log stdout format raw local0\n",
            "    log global\n    option httplog\n",
        ),
        false => ("", ""),
    };
    let route = match json {
        true => {
            "    option http-buffer-request
    http-request set-var(txn.model) req.body,json_query('$.model')
    use_backend bench if { var(txn.model) -m str bench }"
        }
        false => "    default_backend bench",
    };
    format!(
        "\
global
    nbthread {THREADS}
    maxconn {ROOM}
{target}
defaults
    mode http
{lines}    option http-keep-alive
    http-reuse always
    timeout connect 1s
    timeout client 600s
    timeout server 600s

frontend in
    bind {listen}
{route}

backend bench
    server one {upstream}
"
    )
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn site(directory: &Path) -> Site<'_> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Site {
            listen: address(1),
            admin: address(2),
            registry: address(3),
            upstream: address(4),
            directory,
            root: false,
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for contender in Contender::value_variants() {
            let value = contender.to_possible_value().unwrap();
            assert_eq!(value.get_name(), contender.name());
        }
    }

    #[test]
    fn all_but_direct_listen_and_reach_the_backend() {
        let directory = Path::new("/tmp/x");
        for contender in Contender::value_variants() {
            let Some(plan) = contender.plan(&site(directory)) else {
                assert_eq!(*contender, Contender::Direct);
                continue;
            };
            let text = plan.file.1;
            assert!(
                text.contains("127.0.0.1:1") && text.contains("127.0.0.1:4"),
                "{text}"
            );
            assert!(plan.file.0.starts_with(directory));
            assert_eq!(plan.program, contender.program());
        }
    }

    #[test]
    fn tradewind_can_serve_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("site.yaml");
        std::fs::write(&file, tradewind(&site(directory.path()))).unwrap();
        crate::config::load(&file, None).unwrap();
    }

    #[test]
    fn only_the_json_flavours_read_the_body() {
        let site = site(Path::new("/tmp/x"));
        assert!(!haproxy(&site, false, false).contains("json_query"));
        assert!(haproxy(&site, true, false).contains("json_query('$.model')"));
        assert!(!haproxy(&site, true, false).contains("httplog"));
        assert!(haproxy(&site, true, true).contains("httplog"));
    }
}
