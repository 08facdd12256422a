use proptest::prelude::*;

use super::*;

fn key(text: &str) -> Option<StorageKey> {
    StorageKey::parse(text.as_bytes())
}

#[test]
fn keys_seen_on_the_wire_are_read() {
    let found = key("RAY6f9c2b1e-86-4b@ACTOR_TASK_SPEC").unwrap();
    assert_eq!(found.namespace.as_str(), "6f9c2b1e-86-4b");
    assert_eq!(found.table, TableName::ACTOR_TASK_SPEC);
    assert_eq!(found.to_bytes(), "RAY6f9c2b1e-86-4b@ACTOR_TASK_SPEC");
    assert_eq!(
        key("RAYdefault@JobCounter").unwrap().table,
        TableName::JOB_COUNTER
    );
}

#[test]
fn what_ray_would_not_send_is_no_key() {
    let no = [
        "",
        "RAY",
        "RAY@KV",
        "RAYa@",
        "RAYa",
        "a@KV",
        "ray-a@KV",
        "RAYa@K@V",
        "RAYa\n@KV",
        "RAYa/7@KV",
        "DUMMY",
    ];
    for text in no {
        assert_eq!(key(text), None, "{text:?}");
    }
    assert_eq!(StorageKey::parse(b"RAY\xff@KV"), None);
    assert_eq!(key(&format!("RAY{}@KV", "n".repeat(201))), None);
    assert!(key(&format!("RAY{}@KV", "n".repeat(200))).is_some());
    assert_eq!(key(&format!("RAYa@{}", "T".repeat(65))), None);
}

#[test]
fn a_user_name_means_one_namespace_and_epoch() {
    let read = |text: &str| {
        text.parse::<User>()
            .map(|it| (it.namespace.into(), it.epoch))
    };
    let is = |name: &str, epoch| Ok((name.to_owned(), epoch));
    assert_eq!(read("prod"), is("prod", None));
    assert_eq!(read("prod/7"), is("prod", Some(7)));
    assert_eq!(read("prod/ray-a"), is("prod/ray-a", None));
    assert_eq!(read("prod/ray-a/12"), is("prod/ray-a", Some(12)));
    assert_eq!(read("prod/"), is("prod/", None));
    assert!(matches!(read("prod/7/8"), Err(NameError::Epoch { .. })));
    assert!(matches!(read("/7"), Err(NameError::Length { .. })));
    let large = read("prod/9223372036854775808");
    assert!(matches!(large, Err(NameError::LargeEpoch { .. })));
    assert!(matches!(
        NamespaceName::new("prod/7"),
        Err(NameError::Epoch { .. })
    ));
}

#[test]
fn names_travel_as_text() {
    let name = NamespaceName::new("prod/ray-a").unwrap();
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(json, r#""prod/ray-a""#);
    assert_eq!(serde_json::from_str::<NamespaceName>(&json).unwrap(), name);
    assert!(serde_json::from_str::<NamespaceName>(r#""a@b""#).is_err());
    assert_eq!(name.to_string(), "prod/ray-a");
    assert_eq!(format!("{name:12}|"), "prod/ray-a  |");
}

fn namespace() -> impl Strategy<Value = NamespaceName> {
    "[^@\\p{Cc}]{1,40}".prop_filter_map("a namespace", |text| NamespaceName::new(text).ok())
}

fn table() -> impl Strategy<Value = TableName> {
    "[^@\\p{Cc}]{1,16}".prop_filter_map("a table", |text| TableName::new(text).ok())
}

#[test]
fn a_name_neither_begins_nor_ends_with_a_space() {
    for name in ["prod ", " prod", "prod\u{a0}"] {
        assert!(NamespaceName::new(name).is_err(), "{name:?}");
    }
    assert!(NamespaceName::new("prod east").is_ok());
}

proptest! {
    #[test]
    fn keys_come_back_unchanged(namespace in namespace(), table in table()) {
        let key = StorageKey::new(namespace, table);
        prop_assert_eq!(StorageKey::parse(&key.to_bytes()), Some(key));
    }

    #[test]
    fn any_bytes_are_a_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for bytes in [bytes.clone(), [b"RAY".as_slice(), &bytes].concat()] {
            if let Some(key) = StorageKey::parse(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn users_come_back_unchanged(
        namespace in namespace(),
        epoch in prop::option::of(0..=u64::MAX >> 1),
    ) {
        let user = User { namespace, epoch };
        prop_assert_eq!(user.to_string().parse(), Ok(user));
    }
}
