use super::*;

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ')
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

fn of(line: &str) -> Action {
    translate(&words(line)).1
}

fn said(line: &str) -> Reply {
    match of(line) {
        Action::Say(reply) => reply,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    said(line).as_error().unwrap().to_owned()
}

fn key(text: &str) -> StorageKey {
    StorageKey::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_wrong_arity_is_said_as_redis_says_it() {
    for (line, verb) in [
        ("HSET RAYa@KV f", "hset"),
        ("hset RAYa@KV f v g", "hset"),
        ("HGET RAYa@KV", "hget"),
        ("HGET RAYa@KV f g", "hget"),
        ("HSETNX RAYa@KV f", "hsetnx"),
        ("HMGET RAYa@KV", "hmget"),
        ("HDEL RAYa@KV", "hdel"),
        ("INCRBY RAYa@JobCounter", "incrby"),
        ("SCAN", "scan"),
        ("HSCAN RAYa@KV", "hscan"),
        ("DEL", "del"),
        ("AUTH", "auth"),
        ("PING a b", "ping"),
    ] {
        let expected = format!("ERR wrong number of arguments for '{verb}' command");
        assert_eq!(refused(line), expected, "{line}");
    }
}

#[test]
fn a_field_and_its_value_become_one_command() {
    let Action::Run(Command::Hset {
        key: at,
        field,
        value,
    }) = of("HsEt RAYa@KV f v")
    else {
        panic!("no HSET");
    };
    assert_eq!((at, &*field), (key("RAYa@KV"), b"f".as_slice()));
    assert_eq!(value, Stored::Inline(Bytes::from_static(b"v")));
}

#[test]
fn several_fields_become_as_many_commands() {
    let Action::RunAll(commands) = of("HSET RAYa@KV f 1 g 2 h 3") else {
        panic!("one command");
    };
    assert_eq!(commands.len(), 3);
}

#[test]
fn a_counter_is_no_hash_and_a_hash_no_counter() {
    for line in [
        "HSET RAYa@JobCounter f v",
        "HSETNX RAYa@JobCounter f v",
        "HGET RAYa@JobCounter f",
        "HSCAN RAYa@JobCounter 0",
        "INCRBY RAYa@KV 1",
        "GET RAYa@KV",
    ] {
        assert!(refused(line).starts_with("WRONGTYPE Operation"), "{line}");
    }
    assert!(matches!(
        of("INCRBY RAYa@JobCounter 1"),
        Action::Run(Command::Incrby { by: 1, .. })
    ));
    assert!(matches!(
        of("GET RAYa@JobCounter"),
        Action::Run(Command::Get { .. })
    ));
}

#[test]
fn keys_ray_would_not_make_hold_nothing_and_take_nothing() {
    assert!(refused("HSET mykey f v").contains("RAY<namespace>@<TABLE>"));
    assert!(refused("INCRBY counter 1").contains("RAY<namespace>@<TABLE>"));
    assert_eq!(said("HGET mykey f"), Reply::Null);
    assert_eq!(said("GET mykey"), Reply::Null);
    assert_eq!(
        said("HMGET mykey f g"),
        Reply::Array(vec![Reply::Null, Reply::Null])
    );
    assert_eq!(said("HDEL mykey f"), Reply::Int(0));
    assert_eq!(said("DEL mykey other"), Reply::Int(0));
    assert_eq!(said("UNLINK mykey"), Reply::Int(0));
    assert_eq!(said("HSCAN mykey 0 COUNT 5"), empty_page());
}

#[test]
fn only_the_exact_question_of_the_handshake_is_a_probe() {
    assert!(matches!(of("DEL DUMMY"), Action::Probe));
    assert_eq!(said("DEL dummy"), Reply::Int(0));
    assert_eq!(said("UNLINK DUMMY"), Reply::Int(0));
    assert!(matches!(
        of("DEL DUMMY RAYa@KV"),
        Action::Run(Command::Del { keys }) if keys.len() == 1
    ));
}

#[test]
fn the_sections_of_the_handshake_are_exact() {
    assert_eq!(said("INFO SENTINEL"), Reply::Bulk(Bytes::new()));
    assert_eq!(
        said("INFO CLUSTER"),
        Reply::bulk("# Cluster\r\ncluster_enabled:0\r\n")
    );
    let Reply::Bulk(text) = said("INFO") else {
        panic!("no bulk");
    };
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.starts_with("# Server\r\n") && text.contains("\r\n# Cluster\r\n"));
    for line in text.split("\r\n") {
        let colons = line.matches(':').count();
        assert!(line.is_empty() || line.starts_with('#') || colons == 1);
    }
}

#[test]
fn the_options_of_a_scan_come_in_any_order() {
    let Action::Run(Command::Hscan {
        cursor,
        count,
        pattern,
        ..
    }) = of("HSCAN RAYa@KV 17 count 1000 match ab*")
    else {
        panic!("no HSCAN");
    };
    assert_eq!((cursor, count), (17, 1000));
    assert!(pattern.unwrap().matches(b"abc"));
    let Action::Run(Command::Scan { count, .. }) = of("SCAN 0 COUNT 99999999999") else {
        panic!("no SCAN");
    };
    assert_eq!(count, u32::MAX);
}

#[test]
fn a_scan_that_makes_no_sense_is_refused_as_redis_does() {
    for (line, text) in [
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN -1", "ERR invalid cursor"),
        ("SCAN 0 COUNT", "ERR syntax error"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        (
            "SCAN 0 COUNT x",
            "ERR value is not an integer or out of range",
        ),
        ("HSCAN RAYa@KV 0 FOO 1", "ERR syntax error"),
        (
            "INCRBY RAYa@JobCounter 1.5",
            "ERR value is not an integer or out of range",
        ),
        (
            "INCRBY RAYa@JobCounter +1",
            "ERR value is not an integer or out of range",
        ),
        ("SELECT 1", "ERR DB index is out of range"),
        ("AUTH a b c", "ERR syntax error"),
    ] {
        assert_eq!(refused(line), text, "{line}");
    }
}

#[test]
fn a_field_that_is_too_long_is_refused() {
    let mut request = words("HSET RAYa@KV f v");
    request[2] = vec![b'x'; FIELD_MAX + 1].into();
    let (_, Action::Say(Reply::Error(text))) = translate(&request) else {
        panic!("taken");
    };
    assert!(text.starts_with("ERR the field has 65537 bytes"));
}

#[test]
fn unknown_verbs_are_named_and_cut_short() {
    assert_eq!(
        refused("EVAL a b"),
        "ERR unknown command 'EVAL', with args beginning with: 'a' 'b' "
    );
    let long = format!("FOO {}", "x".repeat(1000));
    assert!(refused(&long).len() < 300);
    assert!(for_log(&words(&long)).len() < 40);
    assert_eq!(for_log(&words("EVAL a b c d e")), "EVAL a b c");
}

#[test]
fn a_log_line_shows_no_password() {
    assert_eq!(for_log(&words("HELLO 3 AUTH user hunter2")), "HELLO");
    assert_eq!(for_log(&words("CONFIG SET requirepass hunter2")), "CONFIG");
    assert_eq!(for_log(&words("MIGRATE h p k 0 5 AUTH hunter2")), "MIGRATE");
}
