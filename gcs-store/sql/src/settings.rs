//! Where the database is and how long it may take.

use std::{fmt, time::Duration};

use serde::Deserialize;
use zeroize::Zeroizing;

/// A password. Printed as stars, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Self(Zeroizing::new(password))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which database, and within what limits.
#[derive(Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `sqlite:///folder/file`, `postgres://user@host:port/database` or
    /// `mysql://user@host:port/database`; the servers' take TLS by
    /// `?sslmode=verify-full&sslrootcert=FILE` or
    /// `?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE`.
    pub url: String,
    /// Overrides the URL's; comes from a file.
    #[serde(skip)]
    pub password: Option<Password>,
    /// Connections held at most, besides the dedicated ones.
    pub connections: u32,
    /// How long one statement may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// How long connecting may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            connections: 8,
            deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// The defaults, for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// The URL as it may be shown: without password and parameters.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        // A password may hold '/' and '@' if somebody forgot to escape them.
        match rest.rsplit_once('@') {
            Some((user, place)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}@{place}")
            }
            None => url.to_owned(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.shown_url())
            .field("password", &self.password)
            .field("connections", &self.connections)
            .field("deadline", &self.deadline)
            .field("connect_deadline", &self.connect_deadline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "postgres://ray:secret@db:5432/gcs",
            "postgres://ray:sec/secret@x@db:5432/gcs",
            "postgres://ray@db:5432/gcs?password=secret",
        ] {
            let settings = Settings {
                password: Some("secret".to_owned().into()),
                ..Settings::new(url)
            };
            assert_eq!(settings.shown_url(), "postgres://ray@db:5432/gcs");
            assert!(!format!("{settings:?}").contains("secret"));
        }
    }
}
