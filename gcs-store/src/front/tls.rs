//! TLS for Ray heads: the certificate, and its replacement under way.
//!
//! TLS 1.3 only; Ray's client library has it. The files are looked at every
//! [`LOOK`], and new connections get what they hold then: a certificate is
//! renewed by replacing its files, and no connection is dropped for it. Files
//! that do not fit together, as in the middle of being replaced, are reported
//! and the last good ones serve on.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// How often the files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// Why TLS cannot be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no PEM, or holds nothing of what it should.
    #[error("{path} holds no {what}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Key and certificates do not fit together, or are of no use.
    #[error("certificate and key cannot be used")]
    Unfit(#[from] rustls::Error),
    /// The certificates that sign those of clients are of no use.
    #[error("{path} cannot be used to check clients")]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The TLS of a listener.
pub(crate) struct Certificates {
    files: Tls,
    current: RefCell<Arc<ServerConfig>>,
    seen: RefCell<Vec<Option<SystemTime>>>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub(crate) fn open(files: Tls) -> Result<Self, TlsError> {
        let seen = times(&files);
        let current = server(&files)?;
        Ok(Self {
            files,
            current: RefCell::new(current),
            seen: RefCell::new(seen),
        })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.borrow().clone())
    }

    /// Reads the files again if they changed; whether others serve now.
    pub(crate) fn look(&self) -> bool {
        let times = times(&self.files);
        if *self.seen.borrow() == times {
            return false;
        }
        match server(&self.files) {
            Ok(config) => {
                *self.current.borrow_mut() = config;
                *self.seen.borrow_mut() = times;
                tracing::info!(cert = %self.files.cert.display(), "the certificate was replaced");
                true
            }
            Err(error) => {
                // Not noted as seen: they are tried again.
                let error = Chain(&error).to_string();
                tracing::warn!(
                    error,
                    "the new certificate is not used, the last one serves on"
                );
                false
            }
        }
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn times(files: &Tls) -> Vec<Option<SystemTime>> {
    let paths = [
        Some(&files.cert),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    let time = |path: &PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
    paths.into_iter().flatten().map(time).collect()
}

fn server(files: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.cert)?;
    let pem = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Content {
        path: files.key.clone(),
        what: "private key",
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unfit = |reason: String| TlsError::ClientCa {
                path: path.clone(),
                reason,
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| unfit(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| unfit(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // Heads connect once and stay: nothing is to be resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Content {
            path: path.to_owned(),
            what: "certificate",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Tls {
        Tls {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
        }
    }

    fn write(files: &Tls, age: Duration) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (path, text) in [
            (&files.cert, made.cert.pem()),
            (&files.key, made.signing_key.serialize_pem()),
        ] {
            fs::write(path, text).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
    }

    #[test]
    fn a_replaced_certificate_serves_the_next_connection() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        write(&files, Duration::from_secs(60));
        let certificates = Certificates::open(files.clone()).unwrap();
        assert!(!certificates.look());

        write(&files, Duration::ZERO);
        assert!(certificates.look());
        assert!(!certificates.look());
    }

    #[test]
    fn a_broken_replacement_leaves_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        write(&files, Duration::from_secs(60));
        let certificates = Certificates::open(files.clone()).unwrap();
        let before = certificates.current.borrow().clone();

        fs::write(&files.cert, "half a file").unwrap();
        assert!(!certificates.look());
        assert!(Arc::ptr_eq(&before, &certificates.current.borrow()));
        write(&files, Duration::ZERO);
        assert!(certificates.look());
    }

    #[test]
    fn files_that_cannot_serve_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let said = |files: &Tls| Certificates::open(files.clone()).err().unwrap().to_string();
        assert!(said(&files).ends_with("cert.pem cannot be read"));
        write(&files, Duration::ZERO);
        fs::write(&files.key, "no key").unwrap();
        assert!(said(&files).ends_with("key.pem holds no private key"));
    }
}
