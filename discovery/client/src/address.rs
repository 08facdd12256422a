//! Where an endpoint listens.

use std::{fmt, str::FromStr, sync::Arc};

use http::uri::Authority;
use serde::{Deserialize, Serialize};

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: write http://host:port")]
pub struct AddressError {
    text: String,
}

/// An HTTP origin, `http://host:port`: a scheme, a host and a port, no path.
///
/// Cheap to clone. Only `http` is spoken between the parts of a site today.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Arc<str>);

const SCHEME: &str = "http://";

impl Address {
    /// Checks `text` and makes it an address.
    ///
    /// # Errors
    /// [`AddressError`] unless it is `http://host:port`; a bare `host:port` is
    /// taken as such, and one `/` at the end is dropped.
    pub fn new(text: impl AsRef<str>) -> Result<Self, AddressError> {
        let text = text.as_ref();
        let refused = || AddressError {
            text: text.to_owned(),
        };
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| refused())?;
        let port = authority.port_u16().filter(|port| *port != 0);
        if port.is_none() || authority.host().is_empty() || rest.contains('@') {
            return Err(refused());
        }
        Ok(Self(format!("{SCHEME}{rest}").into()))
    }

    /// `http://host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `host:port`, as a `Host` header or a socket connects to it.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0[SCHEME.len()..]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::new(text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.0.as_ref().to_owned()
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(socket: std::net::SocketAddr) -> Self {
        Self(format!("{SCHEME}{socket}").into())
    }
}

impl schemars::JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "http://host:port",
            "pattern": "^(http://)?[^/@]+:[0-9]+/?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_normalised() {
        for text in [
            "http://10.0.0.1:8000",
            "http://10.0.0.1:8000/",
            "10.0.0.1:8000",
        ] {
            let address = Address::new(text).unwrap();
            assert_eq!(address.as_str(), "http://10.0.0.1:8000");
            assert_eq!(address.authority(), "10.0.0.1:8000");
        }
        assert_eq!(Address::new("[::1]:80").unwrap().authority(), "[::1]:80");
    }

    #[test]
    fn what_is_not_an_origin_is_refused() {
        for text in [
            "",
            "host",
            "http://host",
            "http://h:0",
            "h:99999",
            "http://h:1/path",
            "https://h:1",
            "u@h:1",
        ] {
            assert!(Address::new(text).is_err(), "{text}");
        }
    }
}
