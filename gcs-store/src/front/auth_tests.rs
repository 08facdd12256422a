use std::net::Ipv4Addr;

use argon2::{
    Algorithm, Params, Version,
    password_hash::{PasswordHasher as _, SaltString},
};

use super::{super::guesses::DELAY_MAX, *};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn name(text: &str) -> NamespaceName {
    NamespaceName::new(text).unwrap()
}

fn hash(password: &str) -> String {
    let params = Params::new(64, 1, 1, None).unwrap();
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .unwrap()
        .to_string()
}

async fn login(guard: &Guard, user: Option<&str>, password: &str) -> Result<Login, String> {
    let own = |namespace: &NamespaceName| match namespace.as_str() {
        "own" => vec![hash("old"), hash("new")],
        _ => Vec::new(),
    };
    guard
        .login(PEER, user.map(str::as_bytes), password.as_bytes(), own)
        .await
        .map_err(|reply| reply.as_error().unwrap().to_owned())
}

fn bound(namespace: &str, epoch: Option<u64>) -> Result<Login, String> {
    let namespace = name(namespace);
    Ok(Login {
        identity: Identity::Bound(namespace.clone()),
        namespace: Some(namespace),
        epoch,
    })
}

#[tokio::test(start_paused = true)]
async fn the_store_s_password_opens_what_has_none_of_its_own() {
    let guard = Guard::new(Some("secret")).unwrap();
    assert!(guard.requires_login(&Identity::Nobody, || false));
    assert_eq!(login(&guard, None, "secret").await, Ok(Login::shared()));
    assert_eq!(
        login(&guard, Some("default"), "secret").await,
        Ok(Login::shared())
    );
    assert_eq!(
        login(&guard, Some("a/7"), "secret").await,
        bound("a", Some(7))
    );
    for (user, password) in [
        (None, "wrong"),
        (Some("a"), "wrong"),
        (Some("a"), ""),
        (Some("own"), "secret"),
        (Some("a@b"), "secret"),
    ] {
        let refused = login(&guard, user, password).await.unwrap_err();
        assert!(refused.starts_with("WRONGPASS "), "{user:?}");
    }
    assert!(guard.admit(&Identity::Shared, &name("a"), false).is_ok());
    assert!(guard.admit(&Identity::Shared, &name("own"), true).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_opens_to_each_of_its_own_passwords() {
    let guard = Guard::new(None).unwrap();
    assert_eq!(
        login(&guard, Some("own/3"), "new").await,
        bound("own", Some(3))
    );
    assert_eq!(login(&guard, Some("own"), "old").await, bound("own", None));
    assert!(login(&guard, Some("own"), "other").await.is_err());
    let stranger = guard.stranger();
    let refused = guard.admit(&stranger, &name("own"), true).unwrap_err();
    assert_eq!(refused, required());
    assert!(guard.admit(&stranger, &name("a"), false).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_open_store_takes_epochs_and_says_that_it_has_no_password() {
    let guard = Guard::new(None).unwrap();
    assert!(!guard.requires_login(&guard.stranger(), || false));
    assert_eq!(login(&guard, Some("a/2"), "any").await, bound("a", Some(2)));
    let refused = login(&guard, None, "any").await.unwrap_err();
    assert!(refused.starts_with("ERR AUTH <password> called without any password"));
}

#[test]
fn what_a_standby_did_not_check_opens_nothing() {
    let guard = Guard::new(Some("secret")).unwrap();
    assert!(!guard.requires_login(&Identity::Unchecked, || true));
    assert!(guard.requires_login(&Identity::Unchecked, || false));
    let open = Guard::new(None).unwrap();
    assert!(
        open.admit(&Identity::Unchecked, &name("own"), true)
            .is_err()
    );
}

#[test]
fn who_is_bound_to_a_namespace_touches_no_other() {
    let guard = Guard::new(None).unwrap();
    let identity = Identity::Bound(name("a"));
    assert!(guard.admit(&identity, &name("a"), true).is_ok());
    let refused = guard.admit(&identity, &name("a2"), false).unwrap_err();
    assert!(refused.as_error().unwrap().starts_with("NOPERM "));
}

#[tokio::test(start_paused = true)]
async fn guessing_becomes_slow_and_a_known_password_stays_fast() {
    let guard = Guard::new(None).unwrap();
    login(&guard, Some("own"), "new").await.unwrap();
    for _ in 0..8 {
        login(&guard, Some("own"), "guess").await.unwrap_err();
    }
    let began = tokio::time::Instant::now();
    login(&guard, Some("own"), "guess").await.unwrap_err();
    assert!(began.elapsed() >= DELAY_MAX);

    let began = tokio::time::Instant::now();
    login(&guard, Some("own"), "new").await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[test]
fn a_password_is_the_first_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "hunter 2\n").unwrap();
    assert_eq!(*read_password(&path).unwrap(), "hunter 2");
    fs::write(&path, "\n").unwrap();
    assert!(read_password(&path).is_err());
}
