//! Reads a configuration file and says exactly what is wrong with it.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_saphyr::Error as Yaml;

use super::{
    Config, Role,
    bounds::Invalid,
    secret,
    tree::{Place, Tree},
};

/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("the configuration {path} is larger than 1 MiB")]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// Something in the file cannot be.
    #[error("{0}")]
    Refused(Box<Refused>),
}

/// One thing in a file that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// Its column, from 1.
    pub column: u64,
    /// The path of the key; absent when the file is no YAML.
    pub key: Option<String>,
    /// What is wrong: the value and what is allowed.
    pub problem: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads, parses and validates the file at `path`; `roles` take the place of
/// those in the file.
///
/// # Errors
/// [`Error`], for the first thing that is wrong.
pub fn load(path: &Path, roles: Option<BTreeSet<Role>>) -> Result<Config, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(read)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::Large {
            path: path.to_owned(),
        });
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    parse(&text, &path.display().to_string(), roles)
}

/// Parses and validates `text`; `file` is named in errors, `roles` take the
/// place of those in the text.
///
/// # Errors
/// [`Error::Refused`], for the first thing that is wrong.
pub fn parse(text: &str, file: &str, roles: Option<BTreeSet<Role>>) -> Result<Config, Error> {
    let refused = |place: Place, key: Option<String>, problem: String| {
        let Place { line, column } = place;
        Error::Refused(Box::new(Refused {
            file: file.to_owned(),
            line,
            column,
            key: key.filter(|key| key != "."),
            problem,
        }))
    };
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let tree = serde_saphyr::from_str_with_options::<Option<Tree>>(text, options.clone());
    if let Err(error) = &tree
        && !matches!(error, Yaml::DuplicateMappingKey { .. })
    {
        return Err(refused(place(error), None, syntax(error)));
    }

    let mut at = None;
    let config = serde_saphyr::with_deserializer_from_str_with_options(text, options, |de| {
        serde_path_to_error::deserialize::<_, Option<Config>>(de).map_err(|error| {
            at = Some(error.path().to_string());
            error.into_inner()
        })
    });
    let found = |key: &str| {
        tree.as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map(|tree| tree.find(key))
    };
    let config = config.map_err(|error| {
        let path = at.as_deref().unwrap_or(".");
        let value = found(path).and_then(|found| found.value);
        let (key, problem) = explain(&error, path, value);
        let points_at_key = matches!(
            error,
            Yaml::SerdeUnknownField { .. } | Yaml::DuplicateMappingKey { .. }
        );
        let place = match found(&key) {
            Some(found) if !points_at_key => found.place,
            _ => place(&error),
        };
        refused(place, Some(key), problem)
    })?;
    let mut config = config.unwrap_or_default();
    if let Some(roles) = roles {
        config.roles = roles;
    }
    config.validate().map_err(
        |Invalid {
             key,
             value,
             allowed,
         }| {
            let place = found(&key).map_or(Place { line: 1, column: 1 }, |found| found.place);
            let problem = match value {
                Some(value) => not_allowed(&value, &allowed),
                None => format!("missing: {allowed}"),
            };
            refused(place, Some(key), problem)
        },
    )?;
    Ok(config)
}

fn place(error: &Yaml) -> Place {
    error
        .location()
        .map_or(Place { line: 1, column: 1 }, Place::from)
}

fn not_allowed(value: &str, allowed: &str) -> String {
    format!("{value} is not allowed: {allowed}")
}

/// What the parser says, without the place it adds.
fn syntax(error: &Yaml) -> String {
    let text = match error {
        Yaml::MultipleDocuments { .. } => "a second document begins, one is allowed".to_owned(),
        other => other.to_string(),
    };
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The path that is wrong and what is wrong with it.
fn explain(error: &Yaml, path: &str, value: Option<String>) -> (String, String) {
    let here = path.to_owned();
    let value = value.unwrap_or_else(|| "the value".to_owned());
    let wrong = |allowed: &str| (here.clone(), not_allowed(&value, allowed));
    match error {
        Yaml::SerdeUnknownField {
            field, expected, ..
        } => {
            let nearest = nearest(field, expected)
                .map(|key| format!(", did you mean {key}?"))
                .unwrap_or_default();
            (
                here,
                format!("unknown key{nearest} (allowed: {})", expected.join(", ")),
            )
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            let parent = path.trim_end_matches('?').trim_end_matches('.');
            let whole = if parent.is_empty() {
                key.to_owned()
            } else {
                format!("{parent}.{key}")
            };
            (whole, "the key stands twice, once is allowed".to_owned())
        }
        Yaml::SerdeMissingField { field, .. } => {
            let key = if path == "." {
                (*field).to_owned()
            } else {
                format!("{path}.{field}")
            };
            (key, "missing: the key is required".to_owned())
        }
        Yaml::SerdeUnknownVariant { expected, .. } => {
            wrong(&format!("one of {}", expected.join(", ")))
        }
        Yaml::SerdeInvalidValue { expected, .. } | Yaml::SerdeInvalidType { expected, .. } => {
            wrong(plain(expected))
        }
        Yaml::InvalidScalar { ty, .. } => wrong(plain(ty)),
        Yaml::Unexpected { expected, .. } => wrong(plain(expected)),
        Yaml::InvalidBooleanStrict { .. } => wrong("true or false"),
        Yaml::NullIntoString { .. } => wrong("a text"),
        Yaml::Message { msg, .. } if msg == secret::ALLOWED => (here, secret::ALLOWED.to_owned()),
        Yaml::Message { msg, .. } => {
            // Some rooms repeat the value first.
            wrong(plain(
                msg.strip_prefix(&format!("{value} is not an address: write "))
                    .unwrap_or(msg),
            ))
        }
        other => wrong(&syntax(other)),
    }
}

/// What is expected, in words an operator uses.
fn plain(expected: &str) -> &str {
    match expected {
        "a duration" => "a duration such as 500ms, 30s or 2m",
        "parsable string" | "integer overflow" => "a size such as 512KiB or 32MiB",
        "a nonzero usize" | "a nonzero u32" => "a whole number of 1 or more",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number",
        "floating point" => "a number",
        "invalid socket address syntax" => "an IP address and a port such as 127.0.0.1:8080",
        "mapping start" => "a mapping of keys to values",
        "sequence start" => "a list",
        "string scalar" => "a text",
        other => other,
    }
}

/// The allowed key that `given` was most likely meant to be.
fn nearest<'a>(given: &str, allowed: &[&'a str]) -> Option<&'a str> {
    allowed
        .iter()
        .map(|key| (strsim::normalized_damerau_levenshtein(given, key), *key))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, key)| key)
}
