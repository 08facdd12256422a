//! `KV`: what Ray, Serve, jobs and users keep under names.
//!
//! A field is `@namespace_<namespace>:<key>`, or the bare key where the caller
//! gave no namespace. These namespaces are Ray's, within one cluster.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Record, Time};

/// The name of a key-value pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvKey {
    /// Ray's namespace of it, if it has one.
    pub namespace: Option<Bytes>,
    /// What the caller named it.
    pub key: Bytes,
}

impl KvKey {
    /// Splits a field of `KV`.
    #[must_use]
    pub fn parse(field: &Bytes) -> Self {
        const MARK: &[u8] = b"@namespace_";
        let named = field.strip_prefix(MARK).and_then(|rest| {
            let colon = rest.iter().position(|byte| *byte == b':')?;
            Some(MARK.len()..MARK.len() + colon)
        });
        match named {
            Some(name) => Self {
                key: field.slice(name.end + 1..),
                namespace: Some(field.slice(name)),
            },
            None => Self {
                namespace: None,
                key: field.clone(),
            },
        }
    }

    fn is(&self, namespace: &str, key: &str) -> bool {
        self.within(namespace) && self.key == key
    }

    fn within(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace.as_bytes())
    }
}

/// `<namespace>:<key>` or the bare key; what no screen shows stands as `\x00`.
impl fmt::Display for KvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{}:", Text(namespace))?;
        }
        write!(f, "{}", Text(&self.key))
    }
}

impl Serialize for KvKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Bytes that are mostly text: letters as they are, the rest as `\x00`.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    _ if letter.is_control() => write!(f, "{}", letter.escape_default())?,
                    _ => write!(f, "{letter}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What a pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KvKind {
    /// The cluster's identity; nodes refuse a head with another one.
    ClusterId,
    /// The session's name.
    SessionName,
    /// Ray and Python versions.
    Metadata,
    /// A submitted job's record.
    SubmittedJob,
    /// State Serve recovers from.
    ServeCheckpoint,
    /// Pickled functions and classes.
    Code,
    /// A package of a runtime environment.
    Package,
    /// Written again and again to show that the head lives.
    Heartbeat,
    /// Counters for usage reports.
    Usage,
    /// All else, users' own pairs among it.
    Other,
}

impl KvKind {
    /// In a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterId => "cluster id",
            Self::SessionName => "session name",
            Self::Metadata => "metadata",
            Self::SubmittedJob => "submitted job",
            Self::ServeCheckpoint => "serve checkpoint",
            Self::Code => "code",
            Self::Package => "package",
            Self::Heartbeat => "heartbeat",
            Self::Usage => "usage",
            Self::Other => "other",
        }
    }
}

/// A key-value pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Its name.
    pub key: KvKey,
    /// What it is for.
    pub kind: KvKind,
    /// Bytes of its value.
    pub bytes: u64,
    /// When it came to be.
    pub created: Time,
    /// When it was last written.
    pub updated: Time,
    /// Its value, if it was fetched.
    #[serde(skip)]
    pub value: Option<Bytes>,
    /// The field it stands under.
    #[serde(skip)]
    pub field: Bytes,
}

const JOB_INFO: &[u8] = b"_ray_internal_job_info_";

impl Pair {
    pub(crate) fn read(record: Record) -> Self {
        let key = KvKey::parse(&record.field);
        Self {
            kind: kind(&key),
            key,
            bytes: record.size,
            created: record.created,
            updated: record.updated,
            value: record.value,
            field: record.field,
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        Some(Text(self.value.as_deref()?).to_string())
    }

    /// The record of a submitted job, if this is one.
    #[must_use]
    pub fn submission(&self) -> Option<Submission> {
        if self.kind != KvKind::SubmittedJob {
            return None;
        }
        let id = Text(self.key.key.strip_prefix(JOB_INFO)?).to_string();
        let value = self.value.as_deref()?;
        Some(match serde_json::from_slice::<JobInfo>(value) {
            Ok(info) => Submission {
                id,
                status: info.status,
                entrypoint: info.entrypoint,
                message: info.message,
                error_type: info.error_type,
                driver_node_id: info.driver_node_id,
                driver_exit_code: info.driver_exit_code,
                started: info.start_time.and_then(Time::present),
                ended: info.end_time.and_then(Time::present),
                error: None,
            },
            Err(error) => Submission {
                id,
                error: Some(error.to_string()),
                ..Submission::default()
            },
        })
    }
}

fn kind(key: &KvKey) -> KvKind {
    let begins = |prefix: &[u8]| key.key.starts_with(prefix);
    if key.is("cluster", "ray_cluster_id") {
        KvKind::ClusterId
    } else if key.is("session", "session_name") {
        KvKind::SessionName
    } else if key.is("cluster", "CLUSTER_METADATA") {
        KvKind::Metadata
    } else if key.within("job") && begins(JOB_INFO) {
        KvKind::SubmittedJob
    } else if key.within("serve") && begins(b"ray-serve-") && key.key.ends_with(b"-checkpoint") {
        KvKind::ServeCheckpoint
    } else if key.within("fun") {
        KvKind::Code
    } else if begins(b"gcs://_ray_pkg_") {
        KvKind::Package
    } else if key.within("healthcheck") || key.key == "__autoscaling_status" {
        KvKind::Heartbeat
    } else if key.within("usage_stats") {
        KvKind::Usage
    } else {
        KvKind::Other
    }
}

/// A job as `ray job submit` made it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Submission {
    /// Its submission id.
    pub id: String,
    /// How it stands: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED.
    pub status: String,
    /// What was started.
    pub entrypoint: String,
    /// The status in words.
    pub message: Option<String>,
    /// Why it failed, by name.
    pub error_type: Option<String>,
    /// The node its driver runs on.
    pub driver_node_id: Option<String>,
    /// What its driver ended with.
    pub driver_exit_code: Option<i64>,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why the record could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct JobInfo {
    status: String,
    #[serde(default)]
    entrypoint: String,
    message: Option<String>,
    error_type: Option<String>,
    driver_node_id: Option<String>,
    driver_exit_code: Option<i64>,
    start_time: Option<i64>,
    end_time: Option<i64>,
}
