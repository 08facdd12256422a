//! Who may come in, and what they may touch.
//!
//! | the store has a password | the namespace has its own | who may use it |
//! |---|---|---|
//! | no  | no  | anybody |
//! | yes | no  | who knows the store's |
//! | any | yes | who knows one of its own, and nobody else |
//!
//! A user name is a namespace, perhaps with an epoch (`<namespace>/<epoch>`),
//! and binds the connection to that namespace. `AUTH <password>`, or the user
//! `default` of Redis, gives the store's password and binds to none.
//!
//! A namespace's passwords are kept as argon2id hashes, which cost 20 ms to
//! check; a thousand heads that come back at once would cost 20 s. So what was
//! verified is remembered under a keyed BLAKE3 of user, hash and password: the
//! key never leaves the process, and a password that is taken out of the
//! catalog finds no entry, since its hash is part of the name.
//!
//! Invariants:
//! 1. Secrets are compared in constant time, and shown nowhere
//!    (`a_log_line_shows_no_password`).
//! 2. Guessing is slow: each failure makes the next guess of that address wait
//!    longer, and at most [`AT_ONCE`] hashes are worked on at a time. A password
//!    that was right before is not slowed down by others' guesses
//!    (`guessing_becomes_slow_and_a_known_password_stays_fast`).
//! 3. What a standby has not checked opens nothing
//!    (`what_a_standby_did_not_check_opens_nothing`).

use std::{
    cell::RefCell,
    fs,
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use foldhash::HashSet;
use ray_tables::{NamespaceName, User};
use resp::Reply;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::guesses::Guesses;

/// Hashes that are worked on at a time.
const AT_ONCE: usize = 2;
/// Verified passwords that are remembered.
const REMEMBERED: usize = 16_384;

/// What a connection has shown itself to be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Identity {
    /// Nothing yet.
    Nobody,
    /// One who gave a password to a standby, which cannot check it: a standby
    /// does not know the catalog, and only sends its clients on.
    Unchecked,
    /// One who knows the store's password.
    Shared,
    /// A head of one namespace.
    Bound(NamespaceName),
}

/// A login that was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) identity: Identity,
    pub(crate) namespace: Option<NamespaceName>,
    pub(crate) epoch: Option<u64>,
}

/// Checks passwords.
pub(crate) struct Guard {
    key: [u8; 32],
    /// Keyed hash of the store's password.
    password: Option<blake3::Hash>,
    verified: RefCell<HashSet<[u8; 32]>>,
    guesses: RefCell<Guesses>,
    workers: Semaphore,
}

/// `-NOAUTH`, as Redis says it.
pub(crate) fn required() -> Reply {
    Reply::Error("NOAUTH Authentication required.".into())
}

fn wrong() -> Reply {
    Reply::Error("WRONGPASS invalid username-password pair or user is disabled.".into())
}

/// `-NOPERM`, as Redis says it.
fn forbidden() -> Reply {
    Reply::Error("NOPERM No permissions to access a key".into())
}

/// Reads a password: a file's first line.
///
/// # Errors
/// The file cannot be read, or holds no password.
pub(crate) fn read_password(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(io::Error::other("the first line holds no password"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

impl Guard {
    /// With the store's password, if there is one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new(password: Option<&str>) -> io::Result<Self> {
        let mut key = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self {
            key,
            password: password.map(|it| blake3::keyed_hash(&key, it.as_bytes())),
            verified: RefCell::default(),
            guesses: RefCell::default(),
            workers: Semaphore::new(AT_ONCE),
        })
    }

    /// What a connection is before it has said anything.
    pub(crate) fn stranger(&self) -> Identity {
        Identity::Nobody
    }

    /// Whether one must log in before anything else; at a standby, giving any
    /// password is enough to be sent on.
    pub(crate) fn requires_login(
        &self,
        identity: &Identity,
        standby: impl FnOnce() -> bool,
    ) -> bool {
        self.password.is_some()
            && match identity {
                Identity::Nobody => true,
                Identity::Unchecked => !standby(),
                Identity::Shared | Identity::Bound(_) => false,
            }
    }

    /// Whether `identity` may touch a namespace that has (`own`) or has not
    /// passwords of its own.
    ///
    /// # Errors
    /// What to answer.
    pub(crate) fn admit(
        &self,
        identity: &Identity,
        namespace: &NamespaceName,
        own: bool,
    ) -> Result<(), Reply> {
        match identity {
            Identity::Nobody | Identity::Unchecked if own || self.password.is_some() => {
                Err(required())
            }
            Identity::Shared if own => Err(forbidden()),
            Identity::Bound(bound) if bound != namespace => Err(forbidden()),
            _ => Ok(()),
        }
    }

    /// Checks a login. `own` gives the hashes of a namespace's own passwords.
    ///
    /// # Errors
    /// What to answer.
    pub(crate) async fn login(
        &self,
        peer: IpAddr,
        user: Option<&[u8]>,
        password: &[u8],
        own: impl Fn(&NamespaceName) -> Vec<String>,
    ) -> Result<Login, Reply> {
        let Some(user) = user else {
            let Some(expected) = self.password else {
                let text = "ERR AUTH <password> called without any password configured for the \
                            default user. Are you sure your configuration is correct?";
                return Err(Reply::Error(text.into()));
            };
            return if self.equals(expected, password) {
                Ok(Login::shared())
            } else {
                Err(self.refuse(peer).await)
            };
        };
        let parsed = std::str::from_utf8(user)
            .ok()
            .and_then(|it| it.parse().ok());
        let Some(User { namespace, epoch }) = parsed else {
            return Err(self.refuse(peer).await);
        };
        let hashes = own(&namespace);
        let bound = Login {
            identity: Identity::Bound(namespace.clone()),
            namespace: Some(namespace.clone()),
            epoch,
        };
        if hashes.is_empty() {
            let shared = user == b"default";
            return match self.password {
                None => Ok(bound),
                Some(expected) if !self.equals(expected, password) => Err(self.refuse(peer).await),
                Some(_) if shared => Ok(Login::shared()),
                Some(_) => Ok(bound),
            };
        }
        if self.verify(peer, &namespace, &hashes, password).await {
            Ok(bound)
        } else {
            Err(self.refuse(peer).await)
        }
    }

    fn equals(&self, expected: blake3::Hash, password: &[u8]) -> bool {
        let given = blake3::keyed_hash(&self.key, password);
        expected.as_bytes().ct_eq(given.as_bytes()).into()
    }

    async fn verify(
        &self,
        peer: IpAddr,
        namespace: &NamespaceName,
        hashes: &[String],
        password: &[u8],
    ) -> bool {
        let name = |hash: &str| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            for part in [namespace.as_str().as_bytes(), hash.as_bytes(), password] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            *hasher.finalize().as_bytes()
        };
        // The names are as good as random: how a lookup's time depends on them
        // tells nothing.
        let known = |hash: &String| self.verified.borrow().contains(&name(hash));
        if hashes.iter().any(known) {
            return true;
        }
        tokio::time::sleep(self.delay(peer)).await;
        for hash in hashes {
            let Ok(_worker) = self.workers.acquire().await else {
                return false;
            };
            // A head connects four times at once: the others wait for the first.
            if known(hash) {
                return true;
            }
            let (text, secret) = (hash.clone(), Zeroizing::new(password.to_vec()));
            let checked = tokio::task::spawn_blocking(move || matches_hash(&text, &secret));
            if checked.await.unwrap_or(false) {
                let mut verified = self.verified.borrow_mut();
                if verified.len() >= REMEMBERED {
                    verified.clear();
                }
                verified.insert(name(hash));
                self.guesses.borrow_mut().right(peer);
                return true;
            }
        }
        false
    }

    /// How long the next guess of `peer` must wait.
    fn delay(&self, peer: IpAddr) -> Duration {
        self.guesses.borrow().delay(peer, Instant::now())
    }

    /// Notes a failure, waits and gives the answer.
    async fn refuse(&self, peer: IpAddr) -> Reply {
        let delay = self.delay(peer);
        self.guesses.borrow_mut().wrong(peer, Instant::now());
        tokio::time::sleep(delay).await;
        wrong()
    }
}

impl Login {
    fn shared() -> Self {
        Self {
            identity: Identity::Shared,
            namespace: None,
            epoch: None,
        }
    }
}

fn matches_hash(hash: &str, password: &[u8]) -> bool {
    match PasswordHash::new(hash) {
        Ok(parsed) => Argon2::default().verify_password(password, &parsed).is_ok(),
        Err(error) => {
            tracing::error!(%error, "a password's hash in the catalog cannot be read");
            false
        }
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
