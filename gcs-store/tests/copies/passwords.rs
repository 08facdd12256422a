//! Passwords of a namespace.

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use gcs_sql::Database;
use gcs_store::namespace::{Catalog, Error, Password, Refusal};

use crate::stage::name;

async fn enters(database: &Database, password: &str) -> bool {
    let rows = database.fetch("SELECT hash FROM gcs_credential", &[]).await;
    rows.unwrap().iter().any(|row| {
        let hash = row.text(0).unwrap();
        let hash = PasswordHash::new(&hash).unwrap();
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

pub(crate) async fn several_passwords_are_valid_at_once(database: &Database) {
    let catalog = Catalog::new(database);
    let prod = name("prod");
    catalog.create(&prod).await.unwrap();
    let old = Password::new("correct horse".to_owned()).unwrap();
    let new = Password::random().unwrap();
    let (first, _) = catalog.add_password(&prod, &old).await.unwrap();
    let (second, _) = catalog.add_password(&prod, &new).await.unwrap();
    assert!(enters(database, "correct horse").await);
    assert!(enters(database, new.reveal()).await);
    catalog.remove_password(&prod, first, false).await.unwrap();
    assert!(!enters(database, "correct horse").await);
    assert!(enters(database, new.reveal()).await);
    let left = catalog.passwords(&prod).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, second);
}

pub(crate) async fn the_last_password_stays(database: &Database) {
    let catalog = Catalog::new(database);
    let prod = name("prod");
    catalog.create(&prod).await.unwrap();
    let password = Password::random().unwrap();
    let (id, _) = catalog.add_password(&prod, &password).await.unwrap();
    let refused = catalog.remove_password(&prod, id, false).await;
    let last = Refusal::LastPassword { name: prod.clone() };
    assert!(matches!(refused, Err(Error::Refused(why)) if why == last));
    let missing = catalog.remove_password(&prod, id + 1, true).await;
    assert!(matches!(missing, Err(Error::NoPassword { .. })));
    catalog.remove_password(&prod, id, true).await.unwrap();
    assert!(catalog.passwords(&prod).await.unwrap().is_empty());
}
