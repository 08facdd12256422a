//! Where a Redis is: `redis://[[user]:password@]host[:port]`, `rediss://` for TLS.

use std::{path::Path, sync::Arc, time::Duration};

use resp::Target;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use zeroize::Zeroizing;

use super::remote::Error;

/// How long one answer may take; a page of large values takes a while.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where a system keeps the certificates it trusts.
const ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Where a Redis is, and how to get in.
#[derive(Debug, Clone)]
pub struct Address(pub(super) Target);

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
}
