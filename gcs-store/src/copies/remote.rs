//! A namespace in a Redis, or in another store: read and written over RESP.
//!
//! ```text
//!   SCAN MATCH RAY<namespace>@*  -> the tables
//!   HSCAN each, GET JobCounter   -> the rows
//! ```
//!
//! A scan is no snapshot: what a head writes meanwhile may or may not be seen.
//! Who reads twice and compares knows.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use ray_tables::TableName;
use resp::{Client, Reply, Target, client};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use zeroize::Zeroizing;

use super::picture::{Fingerprint, Picture, readable};

/// How long one answer may take; a page of large values takes a while.
const DEADLINE: Duration = Duration::from_secs(60);

/// Commands that are under way at once, and bytes in them, at most.
const PIPELINE: (usize, usize) = (512, 4 * 1024 * 1024);

/// Where a system keeps the certificates it trusts.
const ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why a namespace could not be read or written over RESP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none, or what it names cannot be used.
    #[error("{what}; an address is redis://[user:password@]host[:port] or rediss://...")]
    Address {
        /// What is wrong with it.
        what: String,
    },
    /// The server cannot be reached or does not answer.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The server refused a command.
    #[error("the server answered {command} with: {text}")]
    Refused {
        /// Which.
        command: &'static str,
        /// Its words.
        text: String,
    },
    /// The server answered with something that is no answer to the question.
    #[error("the answer to {command} is not what Redis answers")]
    Answer {
        /// Which.
        command: &'static str,
    },
    /// A key that begins like Ray's and is not one.
    #[error("key {key} is not one of Ray's tables")]
    Key {
        /// For people.
        key: String,
    },
}

/// Where a Redis is, and how to get in.
#[derive(Debug, Clone)]
pub struct Address(Target);

impl Address {
    /// Reads `redis://[[user]:password@]host[:port]`, or `rediss://` for TLS.
    ///
    /// `password` takes the place of the one in the URL. `ca` is a PEM file with
    /// the certificates that sign the server's; absent, those of the system.
    ///
    /// # Errors
    /// [`Error::Address`]; it does not repeat the password.
    pub fn new(url: &str, password: Option<&str>, ca: Option<&Path>) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Address {
            what: what.to_owned(),
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("this is no URL"))?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong("the scheme is neither redis nor rediss")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong(
                "a path or query is not understood (Ray uses database 0 only)",
            ));
        }
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        let (host, port) = split_port(host).ok_or_else(|| wrong("the host or port is wrong"))?;
        let (user, in_url) = match login {
            Some(login) => {
                let (user, secret) = login
                    .split_once(':')
                    .map_or((login, None), |(user, secret)| (user, Some(secret)));
                let decoded =
                    |text| decode(text).ok_or_else(|| wrong("the login is not percent-encoded"));
                (decoded(user)?, secret.map(decoded).transpose()?)
            }
            None => (Zeroizing::default(), None),
        };
        let mut target = Target::new(format!("{host}:{port}")).deadline(DEADLINE);
        let name = Some(user.as_str()).filter(|user| !user.is_empty());
        match password.or(in_url.as_ref().map(|it| it.as_str())) {
            Some(password) => target = target.login(name, password),
            None if name.is_some() => return Err(wrong("a user needs a password")),
            None => {}
        }
        if tls {
            let name = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let name = ServerName::try_from(name).map_err(|_| wrong("the host is no name"))?;
            target = target.tls(trust(ca)?, name);
        }
        Ok(Self(target))
    }

    /// `host:port`, to be shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.0.address()
    }
}

fn split_port(host: &str) -> Option<(&str, u16)> {
    let (host, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
        _ => (host, 6379),
    };
    (!host.is_empty() && !host.contains(char::is_whitespace)).then_some((host, port))
}

fn decode(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte| char::from(byte).to_digit(16);
            u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
        } else {
            byte
        });
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

fn trust(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Error> {
    let path = ca
        .or_else(|| ROOTS.iter().map(Path::new).find(|path| path.exists()))
        .ok_or_else(|| Error::Address {
            what: "no certificates to trust were found; name a file of them".to_owned(),
        })?;
    let wrong = |what: &dyn std::fmt::Display| Error::Address {
        what: format!(
            "certificates cannot be read from {}: {what}",
            path.display()
        ),
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection, and the namespace it is about.
pub struct Remote {
    client: Client,
    prefix: String,
}

impl Remote {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub async fn connect(address: &Address, namespace: &str) -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect(&address.0).await?,
            prefix: format!("RAY{namespace}@"),
        })
    }

    /// The tables that are there, by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tables(&mut self) -> Result<Vec<TableName>, Error> {
        let mut tables = BTreeSet::new();
        let pattern = format!("{}*", escaped(&self.prefix));
        let mut cursor = Bytes::from_static(b"0");
        loop {
            let command: [&[u8]; 6] = [
                b"SCAN",
                &cursor,
                b"MATCH",
                pattern.as_bytes(),
                b"COUNT",
                b"1000",
            ];
            let (next, keys) = page("SCAN", self.client.call(&command).await?)?;
            for key in keys {
                let table = std::str::from_utf8(&key)
                    .ok()
                    .and_then(|key| key.strip_prefix(&self.prefix))
                    .and_then(|table| TableName::new(table).ok());
                tables.insert(table.ok_or_else(|| Error::Key {
                    key: readable(&key),
                })?);
            }
            if next == "0" {
                return Ok(tables.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// One page of a table, and where the next begins; `None`: nowhere.
    ///
    /// A row may come more than once; the first counts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page(
        &mut self,
        table: &TableName,
        cursor: Bytes,
    ) -> Result<(Vec<(Bytes, Bytes)>, Option<Bytes>), Error> {
        let key = format!("{}{table}", self.prefix);
        if *table == TableName::JOB_COUNTER {
            let reply = self.client.call(&["GET", &key]).await?;
            return match said("GET", reply)? {
                Reply::Bulk(value) => Ok((vec![(Bytes::new(), value)], None)),
                Reply::Null => Ok((Vec::new(), None)),
                _ => Err(Error::Answer { command: "GET" }),
            };
        }
        let command: [&[u8]; 5] = [b"HSCAN", key.as_bytes(), &cursor, b"COUNT", b"1000"];
        let (next, items) = page("HSCAN", self.client.call(&command).await?)?;
        if items.len() % 2 != 0 {
            return Err(Error::Answer { command: "HSCAN" });
        }
        let mut items = items.into_iter();
        let mut rows = Vec::with_capacity(items.len() / 2);
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            rows.push((field, value));
        }
        Ok((rows, (next != "0").then_some(next)))
    }

    /// The fingerprints of all rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn picture(&mut self, mut seen: impl FnMut(u64)) -> Result<Picture, Error> {
        let mut picture = Picture::default();
        for table in self.tables().await? {
            let mut next = Some(Bytes::from_static(b"0"));
            while let Some(cursor) = next {
                let rows;
                (rows, next) = self.page(&table, cursor).await?;
                for (field, value) in rows {
                    picture.add(table.clone(), field, Fingerprint::of(&value));
                }
                seen(picture.rows());
            }
        }
        Ok(picture)
    }

    /// Writes rows, many under way at once. The counter is added to, so it must
    /// not be there.
    ///
    /// # Errors
    /// See [`Error`]; what was written stays.
    pub async fn write(&mut self, rows: &[(TableName, Bytes, Bytes)]) -> Result<(), Error> {
        let commands: Vec<Vec<Bytes>> = rows
            .iter()
            .map(|(table, field, value)| {
                let key = Bytes::from(format!("{}{table}", self.prefix));
                if *table == TableName::JOB_COUNTER {
                    vec![Bytes::from_static(b"INCRBY"), key, value.clone()]
                } else {
                    let verb = Bytes::from_static(b"HSET");
                    vec![verb, key, field.clone(), value.clone()]
                }
            })
            .collect();
        for reply in self.client.pipeline(&commands).await? {
            match said("HSET", reply)? {
                Reply::Int(_) => {}
                _ => return Err(Error::Answer { command: "HSET" }),
            }
        }
        Ok(())
    }
}

/// Whether so many rows of so many bytes are enough for one [`Remote::write`].
#[must_use]
pub(crate) fn is_full(rows: usize, bytes: usize) -> bool {
    rows >= PIPELINE.0 || bytes >= PIPELINE.1
}

/// `text` as a pattern that matches just it, escaped the way Ray does.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if matches!(char, '[' | ']' | '-' | '?' | '*' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

fn said(command: &'static str, reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Error(text) => Err(Error::Refused {
            command,
            text: text.into_owned(),
        }),
        reply => Ok(reply),
    }
}

/// What SCAN and HSCAN answer: the next cursor, and items.
fn page(command: &'static str, reply: Reply) -> Result<(Bytes, Vec<Bytes>), Error> {
    let wrong = || Error::Answer { command };
    let Reply::Array(parts) = said(command, reply)? else {
        return Err(wrong());
    };
    let [Reply::Bulk(cursor), Reply::Array(items)] =
        <[Reply; 2]>::try_from(parts).map_err(|_| wrong())?
    else {
        return Err(wrong());
    };
    let items = items
        .into_iter()
        .map(|item| match item {
            Reply::Bulk(bytes) => Ok(bytes),
            _ => Err(wrong()),
        })
        .collect::<Result<_, _>>()?;
    Ok((cursor, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, Error> {
        Address::new(url, None, None).map(|address| address.shown().to_owned())
    }

    #[test]
    fn addresses_of_redis_are_read() {
        for (url, address) in [
            ("redis://db", "db:6379"),
            ("redis://db:7000/", "db:7000"),
            ("redis://:secret@10.0.0.1:1", "10.0.0.1:1"),
            ("redis://ray:s%40cret%2f@db", "db:6379"),
            ("redis://[::1]:6380", "[::1]:6380"),
            ("redis://[::1]", "[::1]:6379"),
        ] {
            assert_eq!(shown(url).unwrap(), address, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_the_password() {
        for url in [
            "db:6379",
            "http://db",
            "redis://",
            "redis://db:x",
            "redis://ray:hunter2@",
            "redis://ray:hunter2@db/1",
            "redis://ray:hunter2%@db",
            "redis://ray@db",
        ] {
            let said = shown(url).unwrap_err().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn percent_signs_are_decoded() {
        assert_eq!(decode("a%40%2Fb").unwrap().as_str(), "a@/b");
        assert!(decode("%f").is_none() && decode("%ff").is_none());
    }

    #[test]
    fn a_namespace_is_no_pattern() {
        assert_eq!(escaped("RAYa-b*[c]@"), r"RAYa\-b\*\[c\]@");
        let pattern = resp::Pattern::parse(format!("{}*", escaped("RAYa-b*[c]@")).as_bytes());
        assert!(pattern.matches(b"RAYa-b*[c]@KV"));
        assert!(!pattern.matches(b"RAYa-bx[c]@KV"));
    }
}
