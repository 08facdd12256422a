//! What an operator may set about the data plane.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use discovery_client::Application;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `gateway:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect. HTTP/1.1 and HTTP/2 share the port; port 0 lets
    /// the system choose.
    pub listen: SocketAddr,
    /// Threads of the data plane, one event loop each. Absent: one a core.
    pub cores: Option<NonZeroUsize>,
    /// Time limits of every application that sets none of its own.
    pub limits: Limits,
    /// Longest time a caller may ask for in `x-tw-timeout-ms` and
    /// `x-tw-ttft-timeout-ms`; longer ones are cut to it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub limit_cap: Duration,
    /// Largest request body; a larger one is answered 413.
    #[schemars(with = "String")]
    pub body_limit: ByteSize,
    /// Largest request head, 8 KiB to 1 MiB; a larger one is answered 431. It is
    /// also how much of a body one read takes, so a large value costs memory.
    #[schemars(with = "String")]
    pub header_limit: ByteSize,
    /// Longest silence of a client in the middle of its request's body, and
    /// longest time a request's head may take once it has begun.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub client_idle: Duration,
    /// Memory for request bodies kept so that a second attempt can send them
    /// again, all requests together. Beyond it a request gets one attempt.
    #[schemars(with = "String")]
    pub replay_memory: ByteSize,
    /// Most connections open at once, all cores together; more wait unaccepted.
    pub connections: NonZeroUsize,
    /// Most requests in flight at one replica that names no capacity itself.
    pub in_flight: NonZeroU32,
    /// When and how often a call is tried again.
    pub retry: Retry,
    /// When a failing replica is left alone, and for how long.
    pub health: Health,
    /// How long requests in flight may go on after a stop.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain_grace: Duration,
    /// Where the access line of each request goes.
    pub access_log: AccessLog,
    /// Applications with settings of their own. Others need none: they are
    /// known once a replica registers.
    pub applications: Vec<ApplicationConfig>,
}

/// Five limits on time. Each one that passes has an error code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// To connect to a replica (`connect_timeout`).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect: Duration,
    /// From the request sent to the head of the answer (`first_byte_timeout`).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_byte: Duration,
    /// From the request sent to the first event of a stream
    /// (`first_token_timeout`).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_token: Duration,
    /// Between two pieces of a streamed answer (`between_tokens_timeout`).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub between_tokens: Duration,
    /// From the request's arrival to the end of the answer
    /// (`total_timeout`).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub total: Duration,
}

/// Limits of one application, where they differ from the gateway's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnLimits {
    /// See `gateway.limits.connect`.
    #[serde(
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub connect: Option<Duration>,
    /// See `gateway.limits.first_byte`.
    #[serde(
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub first_byte: Option<Duration>,
    /// See `gateway.limits.first_token`.
    #[serde(
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub first_token: Option<Duration>,
    /// See `gateway.limits.between_tokens`.
    #[serde(
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub between_tokens: Option<Duration>,
    /// See `gateway.limits.total`.
    #[serde(
        with = "humantime_serde::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub total: Option<Duration>,
}

impl OwnLimits {
    /// These over those of the gateway.
    #[must_use]
    pub fn over(self, gateway: Limits) -> Limits {
        Limits {
            connect: self.connect.unwrap_or(gateway.connect),
            first_byte: self.first_byte.unwrap_or(gateway.first_byte),
            first_token: self.first_token.unwrap_or(gateway.first_token),
            between_tokens: self.between_tokens.unwrap_or(gateway.between_tokens),
            total: self.total.unwrap_or(gateway.total),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // One lost SYN costs a second and must not cost the attempt.
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(120),
            first_token: Duration::from_secs(120),
            between_tokens: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// `gateway.retry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Most attempts at one call, the first one counted: 1 to 10.
    pub attempts: u32,
    /// Retries allowed for each request, in the long run: 0 to 1.
    pub ratio: f64,
    /// Retries that may be saved up, so that the loss of a replica with many
    /// requests in flight can be absorbed at once.
    pub reserve: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 4,
            ratio: 0.1,
            reserve: 200,
        }
    }
}

/// `gateway.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How long a replica is left alone after its first failure.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
    /// The longest it is left alone; each failed probe doubles the time.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff_max: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// `gateway.access_log`: `stdout`, `off` or a file's path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// One JSON line a request on standard output.
    #[default]
    Stdout,
    /// None.
    Off,
    /// One JSON line a request, appended to this file.
    File(PathBuf),
}

/// One of `gateway.applications`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationConfig {
    /// The name its replicas register.
    pub name: Application,
    /// Passes every request below this path to it unread, such as `/fraud`.
    /// The longest matching route wins. Absent: reached by `model`.
    #[serde(default)]
    pub route: Option<String>,
    /// Its time limits. What is left out is as in `gateway.limits`.
    #[serde(default)]
    pub limits: OwnLimits,
    /// On a route: whether a POST or PATCH may be sent a second time when its
    /// outcome is unknown. GET, HEAD, PUT, DELETE and OPTIONS always may.
    #[serde(default)]
    pub repeatable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            cores: None,
            limits: Limits::default(),
            limit_cap: Duration::from_secs(3600),
            body_limit: ByteSize::mib(32),
            header_limit: ByteSize::kib(16),
            client_idle: Duration::from_secs(10),
            replay_memory: ByteSize::mib(192),
            connections: NonZeroUsize::new(16_384).unwrap_or(NonZeroUsize::MIN),
            in_flight: NonZeroU32::new(256).unwrap_or(NonZeroU32::MIN),
            retry: Retry::default(),
            health: Health::default(),
            drain_grace: Duration::from_secs(30),
            access_log: AccessLog::default(),
            applications: Vec::new(),
        }
    }
}

/// A setting that parses and still cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value} is not allowed: {allowed}")]
pub struct Invalid {
    /// The setting's path below `gateway`, such as `retry.attempts`.
    pub key: String,
    /// What was given.
    pub value: String,
    /// What would do.
    pub allowed: &'static str,
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`Invalid`] for the first setting out of its bounds.
    pub fn validate(&self) -> Result<(), Invalid> {
        let refuse = |key: &str, value: String, allowed| {
            Err(Invalid {
                key: key.to_owned(),
                value,
                allowed,
            })
        };
        if !(1..=10).contains(&self.retry.attempts) {
            return refuse("retry.attempts", self.retry.attempts.to_string(), "1 to 10");
        }
        if !(0.0..=1.0).contains(&self.retry.ratio) {
            return refuse("retry.ratio", self.retry.ratio.to_string(), "0 to 1");
        }
        if !(ByteSize::kib(8)..=ByteSize::mib(1)).contains(&self.header_limit) {
            return refuse(
                "header_limit",
                self.header_limit.to_string(),
                "8 KiB to 1 MiB",
            );
        }
        if self.body_limit == ByteSize(0) {
            return refuse("body_limit", self.body_limit.to_string(), "1 B or more");
        }
        for (key, value) in [
            ("limit_cap", self.limit_cap),
            ("client_idle", self.client_idle),
            ("health.backoff", self.health.backoff),
        ] {
            if value.is_zero() {
                return refuse(key, "0s".to_owned(), "more than 0s");
            }
        }
        if self.health.backoff_max < self.health.backoff {
            let value = humantime_serde::re::humantime::format_duration(self.health.backoff_max);
            return refuse(
                "health.backoff_max",
                value.to_string(),
                "health.backoff or more",
            );
        }
        self.limits.validate("limits")?;
        for (nth, application) in self.applications.iter().enumerate() {
            let own = application.limits.over(self.limits);
            own.validate(&format!("applications[{nth}].limits"))?;
            if let Some(route) = &application.route {
                let key = format!("applications[{nth}].route");
                if !route.starts_with('/') || route.len() < 2 || route.ends_with('/') {
                    return refuse(
                        &key,
                        format!("{route:?}"),
                        "a path like /fraud, without / at the end",
                    );
                }
                if route == "/v1" || route.starts_with("/v1/") {
                    return refuse(
                        &key,
                        format!("{route:?}"),
                        "a path outside /v1, which speaks OpenAI",
                    );
                }
                let same = |other: &&ApplicationConfig| other.route.as_ref() == Some(route);
                if self.applications.iter().filter(same).count() > 1 {
                    return refuse(
                        &key,
                        format!("{route:?}"),
                        "a route that no other application has",
                    );
                }
            }
            let same = |other: &&ApplicationConfig| other.name == application.name;
            if self.applications.iter().filter(same).count() > 1 {
                let key = format!("applications[{nth}].name");
                return refuse(
                    &key,
                    application.name.to_string(),
                    "a name that stands once in the list",
                );
            }
        }
        Ok(())
    }
}

impl Limits {
    fn validate(&self, path: &str) -> Result<(), Invalid> {
        let all = [
            ("connect", self.connect),
            ("first_byte", self.first_byte),
            ("first_token", self.first_token),
            ("between_tokens", self.between_tokens),
            ("total", self.total),
        ];
        match all.iter().find(|(_, limit)| limit.is_zero()) {
            Some((key, _)) => Err(Invalid {
                key: format!("{path}.{key}"),
                value: "0s".to_owned(),
                allowed: "more than 0s",
            }),
            None => Ok(()),
        }
    }
}
