//! An authority and a store's certificate, made for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate, for heads.
    pub authority: PathBuf,
    /// The store's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        let mut authority = named("authority", Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let root = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = named("store", names)?.signed_by(&key, &issuer)?;
        let made = Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&made.authority, root.pem())?;
        fs::write(&made.certificate, certificate.pem())?;
        fs::write(&made.key, key.serialize_pem())?;
        Ok(made)
    }
}

/// OpenSSL, which Ray has, takes a certificate of its issuer's name for one that
/// is signed by itself.
fn named(name: &str, alternatives: Vec<String>) -> Result<CertificateParams> {
    let mut made = CertificateParams::new(alternatives)?;
    made.distinguished_name.push(DnType::CommonName, name);
    Ok(made)
}
