//! Leases, by the database's clock.

use std::time::Duration;

use gcs_sql::{Error, LeaseId, Outcome, Revision, Settings, Write};

use crate::stage::{next, open, table, tables, told};

const HOUR: Duration = Duration::from_secs(3600);

/// Lets time pass for a lease: the clock is the database's and cannot be moved,
/// so its deadline is.
async fn pass(settings: &Settings, lease: LeaseId, time: Duration) {
    let sql = "UPDATE table_lease SET expires_ms = expires_ms - ? WHERE id = ?";
    let values = [
        i64::try_from(time.as_millis()).unwrap().into(),
        lease.0.into(),
    ];
    assert_eq!(open(settings).await.execute(sql, &values).await.unwrap(), 1);
}

pub(crate) async fn a_lapsed_lease_deletes_its_entries(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    let lease = tables.grant(HOUR).await.unwrap();
    let write = Write::new()
        .put_leased(&t, "a", "1", lease)
        .put_leased(&t, "b", "1", lease)
        .put_leased(&table("u"), "c", "1", lease)
        .put(&t, "d", "1");
    tables.transact(&write).await.unwrap();
    tables
        .transact(&Write::new().put(&t, "b", "stays"))
        .await
        .unwrap();
    assert_eq!(
        tables.get(&t, b"a").await.unwrap().unwrap().lease,
        Some(lease)
    );
    assert_eq!(tables.expire().await.unwrap(), 0);

    pass(settings, lease, HOUR).await;
    let lapsed = |result: Result<_, Error>| matches!(result, Err(Error::LeaseLapsed { .. }));
    assert!(lapsed(tables.keep_alive(lease).await));
    let late = Write::new().put_leased(&t, "e", "1", lease);
    assert!(lapsed(tables.transact(&late).await.map(drop)));

    let mut watch = tables.watch(&t, "", Some(Revision(2)));
    assert_eq!(tables.expire().await.unwrap(), 1);
    assert_eq!(told(&next(&mut watch).await), ["a!"]);
    assert!(tables.get(&t, b"a").await.unwrap().is_none());
    assert!(tables.get(&table("u"), b"c").await.unwrap().is_none());
    assert!(
        tables.get(&t, b"b").await.unwrap().is_some(),
        "it had left the lease"
    );
    assert!(tables.get(&t, b"d").await.unwrap().is_some());
    assert_eq!(tables.expire().await.unwrap(), 0);

    let other = tables.grant(HOUR).await.unwrap();
    tables
        .transact(&Write::new().put_leased(&t, "f", "1", other))
        .await
        .unwrap();
    tables.revoke(other).await.unwrap();
    tables.revoke(other).await.unwrap();
    assert!(tables.get(&t, b"f").await.unwrap().is_none());
}

pub(crate) async fn a_lease_that_is_kept_alive_stays(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    let lease = tables.grant(HOUR).await.unwrap();
    tables
        .transact(&Write::new().put_leased(&t, "a", "1", lease))
        .await
        .unwrap();
    for _ in 0..3 {
        pass(settings, lease, HOUR / 2).await;
        tables.keep_alive(lease).await.unwrap();
    }
    assert_eq!(tables.expire().await.unwrap(), 0);
    assert!(tables.get(&t, b"a").await.unwrap().is_some());
    assert!(tables.grant(Duration::ZERO).await.is_err());
}

pub(crate) async fn two_who_expire_end_a_lease_once(settings: &Settings) {
    let (one, two) = (tables(settings).await, tables(settings).await);
    let t = table("t");
    let mut leases = Vec::new();
    for n in 0..10 {
        let lease = one.grant(HOUR).await.unwrap();
        let write = Write::new().put_leased(&t, n.to_string(), "1", lease);
        assert!(matches!(
            one.transact(&write).await.unwrap(),
            Outcome::Done(_)
        ));
        leases.push(lease);
    }
    for lease in leases {
        pass(settings, lease, HOUR).await;
    }
    let (ended_by_one, ended_by_two) = tokio::join!(one.expire(), two.expire());
    assert_eq!(ended_by_one.unwrap() + ended_by_two.unwrap(), 10);
    let mut watch = one.watch(&t, "", Some(Revision(10)));
    for n in 11..=20 {
        assert_eq!(
            next(&mut watch).await.at(),
            Revision(n),
            "each at its own revision"
        );
    }
}
