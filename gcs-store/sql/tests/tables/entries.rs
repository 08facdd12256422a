//! Entries: conditions, ranges, bounds, history.

use futures_util::future::join_all;
use gcs_sql::{
    Condition, Error, KEY_MAX_BYTES, Outcome, Range, Revision, Settings, VALUE_MAX_BYTES, Write,
};

use crate::stage::{table, tables};

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. })
}

pub(crate) async fn a_transaction_happens_whole_or_not_at_all(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    let write = Write::new()
        .when(&t, "a", Condition::Absent)
        .put(&t, "a", "1")
        .put(&t, "b", vec![0, 255, 0]);
    assert_eq!(
        tables.transact(&write).await.unwrap(),
        Outcome::Done(Revision(1))
    );
    let Outcome::Refused {
        condition: 0,
        found: Some(found),
    } = tables.transact(&write).await.unwrap()
    else {
        panic!("it is not absent any more")
    };
    assert_eq!((&*found.value, found.version), (&b"1"[..], 1));

    let again = Write::new()
        .when(&t, "a", Condition::Present)
        .when(&t, "a", Condition::Version(1))
        .when(&t, "b", Condition::Created(Revision(1)))
        .put(&t, "a", "2")
        .delete(&t, "b");
    assert_eq!(
        tables.transact(&again).await.unwrap(),
        Outcome::Done(Revision(2))
    );
    let a = tables.get(&t, b"a").await.unwrap().unwrap();
    assert_eq!((&*a.value, a.version), (&b"2"[..], 2));
    assert_eq!((a.created, a.modified), (Revision(1), Revision(2)));
    assert_eq!(tables.get(&t, b"b").await.unwrap(), None);
    assert_eq!(tables.get(&table("u"), b"a").await.unwrap(), None);

    let nothing = Write::new().delete(&t, "b");
    assert_eq!(
        tables.transact(&nothing).await.unwrap(),
        Outcome::Done(Revision(2))
    );
    let back = Write::new().put(&t, "b", "");
    assert_eq!(
        tables.transact(&back).await.unwrap(),
        Outcome::Done(Revision(3))
    );
    let b = tables.get(&t, b"b").await.unwrap().unwrap();
    assert_eq!(
        (b.created, b.version),
        (Revision(3), 1),
        "it was absent in between"
    );
    let wrong = Write::new()
        .when(&t, "b", Condition::Modified(Revision(1)))
        .delete(&t, "b");
    assert!(refused(&tables.transact(&wrong).await.unwrap()));
}

pub(crate) async fn counters_by_compare_and_set_lose_nothing(settings: &Settings) {
    const TASKS: usize = 8;
    const EACH: i64 = 20;
    let t = table("counters");
    // Two processes, as far as the database can tell.
    let processes = [tables(settings).await, tables(settings).await];
    join_all((0..TASKS).map(|n| {
        let (tables, t) = (processes[n % 2].clone(), t.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let known = tables.get(&t, b"n").await.unwrap();
                let (condition, count) = known.map_or((Condition::Absent, 0), |it| {
                    let count = std::str::from_utf8(&it.value).unwrap().parse().unwrap();
                    (Condition::Modified(it.modified), count)
                });
                let next: i64 = count + 1;
                let write = Write::new()
                    .when(&t, "n", condition)
                    .put(&t, "n", next.to_string());
                done += i64::from(!refused(&tables.transact(&write).await.unwrap()));
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|task| task.unwrap());

    let sum = TASKS as i64 * EACH;
    let counter = processes[0].get(&t, b"n").await.unwrap().unwrap();
    assert_eq!(&*counter.value, sum.to_string().as_bytes());
    assert_eq!((counter.version, counter.modified), (sum, Revision(sum)));
}

pub(crate) async fn pages_are_of_one_revision(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    for n in 0..25 {
        let write = Write::new().put(&t, format!("k{n:02}"), n.to_string());
        tables.transact(&write).await.unwrap();
    }
    tables
        .transact(&Write::new().put(&t, "other", "x"))
        .await
        .unwrap();

    let mut range = Some(Range::prefix(&t, "k").limit(10));
    let (mut keys, mut sizes) = (Vec::new(), Vec::new());
    while let Some(next) = range {
        let page = tables.range(&next).await.unwrap();
        assert_eq!(page.at, Revision(26));
        sizes.push(page.entries.len());
        keys.extend(
            page.entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.clone())),
        );
        range = page.more;
        let between = Write::new()
            .put(&t, "k20", "changed")
            .delete(&t, "k21")
            .put(&t, format!("k2{}", keys.len()), "new");
        tables.transact(&between).await.unwrap();
    }
    assert_eq!(sizes, [10, 10, 5]);
    let expected: Vec<_> = (0..25)
        .map(|n| (format!("k{n:02}").into(), n.to_string().into()))
        .collect();
    assert_eq!(keys, expected);

    let now = tables
        .range(&Range::between(&t, "k20", "k22"))
        .await
        .unwrap();
    let keys: Vec<_> = now.entries.iter().map(|entry| &entry.key[..]).collect();
    assert_eq!(keys, [&b"k20"[..], b"k210"], "as of now");
    let future = Range::all(&t).at(Revision(now.at.0 + 1));
    assert!(matches!(
        tables.range(&future).await,
        Err(Error::Invalid { .. })
    ));
}

pub(crate) async fn sizes_are_bounded(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    let (key, value) = (vec![0xff; KEY_MAX_BYTES], vec![7; VALUE_MAX_BYTES]);
    tables
        .transact(&Write::new().put(&t, key.clone(), value.clone()))
        .await
        .unwrap();
    assert_eq!(tables.get(&t, &key).await.unwrap().unwrap().value, value);
    let all = tables.range(&Range::all(&t)).await.unwrap();
    assert_eq!(all.entries.len(), 1, "the greatest key is in range");

    let long = [&key[..], &[0]].concat();
    let large = [&value[..], &[0]].concat();
    let mut many = Write::new();
    for n in 0..9 {
        many = many.put(&t, format!("{n}"), value.clone());
    }
    for (write, what) in [
        (Write::new().put(&t, long, ""), "key"),
        (Write::new().put(&t, "k", large), "value"),
        (many, "transaction"),
    ] {
        let refused = tables.transact(&write).await;
        assert!(
            matches!(refused, Err(Error::TooLarge { what: w, .. }) if w == what),
            "{refused:?}"
        );
    }
    let twice = Write::new().put(&t, "k", "1").delete(&t, "k");
    assert!(matches!(
        tables.transact(&twice).await,
        Err(Error::Invalid { .. })
    ));

    // Nine large values do not fit into one page.
    for n in 0..9 {
        tables
            .transact(&Write::new().put(&t, format!("{n}"), value.clone()))
            .await
            .unwrap();
    }
    let page = tables.range(&Range::all(&t)).await.unwrap();
    assert_eq!(page.entries.len(), 8);
    assert_eq!(
        tables
            .range(&page.more.unwrap())
            .await
            .unwrap()
            .entries
            .len(),
        2
    );
}

pub(crate) async fn compaction_keeps_what_stands(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    // More versions than a step of the compaction deletes.
    let mut random = fastrand::Rng::with_seed(11);
    for n in 0..60 {
        let mut write = Write::new();
        for key in 0..20 {
            write = match random.u8(0..4) {
                0 => write.delete(&t, key.to_string()),
                _ => write.put(&t, key.to_string(), n.to_string()),
            };
        }
        tables.transact(&write).await.unwrap();
    }
    let at = |n| Range::all(&t).at(Revision(n));
    let mut before = Vec::new();
    for n in 40..=60 {
        before.push(tables.range(&at(n)).await.unwrap());
    }
    let gone = tables.compact(Revision(40)).await.unwrap();
    assert!(gone > 500, "{gone} versions went");
    for (n, page) in (40..).zip(before) {
        assert_eq!(tables.range(&at(n)).await.unwrap(), page);
    }
    let lost = tables.range(&at(39)).await;
    assert!(
        matches!(lost, Err(Error::Compacted { oldest: 40 })),
        "{lost:?}"
    );
    assert_eq!(
        tables.compact(Revision(20)).await.unwrap(),
        0,
        "it never goes back"
    );

    let keep = gcs_sql::Keep {
        revisions: 5,
        ..Default::default()
    };
    tables.compact_by(keep).await.unwrap();
    assert!(tables.range(&at(55)).await.is_ok());
    assert!(tables.range(&at(54)).await.is_err());
    let keep = gcs_sql::Keep {
        age: std::time::Duration::ZERO,
        ..Default::default()
    };
    tables.compact_by(keep).await.unwrap();
    assert!(tables.range(&at(60)).await.is_ok());
    assert!(tables.range(&at(59)).await.is_err());
}
