//! Wrong files and what is said about each.

use super::{Error, load::parse};

/// Each file and the one line it is answered.
const WRONG: &[(&str, &str)] = &[
    // Keys.
    (
        "gatway: {}",
        "site.yaml:1:1: gatway: unknown key, did you mean gateway? (allowed: site, id, roles, gateway, advertise, registry, connect, federation, store, replicas, admin, log, telemetry, drain)",
    ),
    (
        "site: a\ngateway:\n  limits:\n    conect: 5s\n",
        "site.yaml:4:5: gateway.limits.conect: unknown key, did you mean connect? (allowed: connect, first_byte, first_token, between_tokens, total)",
    ),
    (
        "gateway:\n  zebra: 1\n",
        "site.yaml:2:3: gateway.zebra: unknown key (allowed: listen, cores, limits, limit_cap, body_limit, header_limit, client_idle, replay_memory, connections, in_flight, retry, health, drain_grace, access_log, applications)",
    ),
    (
        "site: a\nsite: b\n",
        "site.yaml:2:1: site: the key stands twice, once is allowed",
    ),
    (
        "gateway:\n  limits: {}\n  limits: {}\n",
        "site.yaml:3:3: gateway.limits: the key stands twice, once is allowed",
    ),
    (
        "1: a\n",
        "site.yaml:1:1: 1: unknown key (allowed: site, id, roles, gateway, advertise, registry, connect, federation, store, replicas, admin, log, telemetry, drain)",
    ),
    (
        "replicas:\n- applications: [chat]\n",
        "site.yaml:2:3: replicas[0].address: missing: the key is required",
    ),
    (
        "telemetry:\n  otlp: {}\n",
        "site.yaml:2:9: telemetry.otlp.endpoint: missing: the key is required",
    ),
    // Values.
    (
        "gateway:\n  limits:\n    connect: 5 parsecs\n",
        "site.yaml:3:14: gateway.limits.connect: \"5 parsecs\" is not allowed: a duration such as 500ms, 30s or 2m",
    ),
    (
        "gateway:\n  limits:\n    connect: 5\n",
        "site.yaml:3:14: gateway.limits.connect: 5 is not allowed: a duration such as 500ms, 30s or 2m",
    ),
    (
        "gateway:\n  limits:\n    connect: [1]\n",
        "site.yaml:3:14: gateway.limits.connect: a list is not allowed: a text",
    ),
    (
        "gateway:\n  limits:\n    connect: 0s\n",
        "site.yaml:3:14: gateway.limits.connect: 0s is not allowed: more than 0s",
    ),
    (
        "gateway:\n  listen: nowhere\n",
        "site.yaml:2:11: gateway.listen: \"nowhere\" is not allowed: an IP address and a port such as 127.0.0.1:8080",
    ),
    (
        "gateway:\n  listen: 8080\n",
        "site.yaml:2:11: gateway.listen: 8080 is not allowed: an IP address and a port such as 127.0.0.1:8080",
    ),
    (
        "gateway:\n  body_limit: 5 parsecs\n",
        "site.yaml:2:15: gateway.body_limit: \"5 parsecs\" is not allowed: a size such as 512KiB or 32MiB",
    ),
    (
        "gateway:\n  body_limit: -1\n",
        "site.yaml:2:15: gateway.body_limit: -1 is not allowed: a size such as 512KiB or 32MiB",
    ),
    (
        "gateway:\n  cores: 0\n",
        "site.yaml:2:10: gateway.cores: 0 is not allowed: a whole number of 1 or more",
    ),
    (
        "gateway:\n  connections: many\n",
        "site.yaml:2:16: gateway.connections: \"many\" is not allowed: a whole number",
    ),
    (
        "gateway:\n  access_log: loud\n",
        "site.yaml:2:15: gateway.access_log: \"loud\" is not allowed: one of stdout, off, file",
    ),
    (
        "gateway:\n  retry: {ratio: much}\n",
        "site.yaml:2:18: gateway.retry.ratio: \"much\" is not allowed: a number",
    ),
    (
        "gateway:\n  retry: {attempts: -1}\n",
        "site.yaml:2:21: gateway.retry.attempts: -1 is not allowed: a whole number from 0 to 4294967295",
    ),
    (
        "gateway:\n  retry: {attempts: 99999999999}\n",
        "site.yaml:2:21: gateway.retry.attempts: 99999999999 is not allowed: a whole number from 0 to 4294967295",
    ),
    (
        "gateway:\n  retry: {attempts: 11}\n",
        "site.yaml:2:21: gateway.retry.attempts: 11 is not allowed: 1 to 10",
    ),
    (
        "gateway:\n  applications:\n  - name: a\n    repeatable: yes\n",
        "site.yaml:4:17: gateway.applications[0].repeatable: \"yes\" is not allowed: true or false",
    ),
    (
        "gateway:\n  applications:\n  - name: a\n    route: fraud\n",
        "site.yaml:4:12: gateway.applications[0].route: \"fraud\" is not allowed: a path like /fraud, without / at the end",
    ),
    (
        "gateway: 5\n",
        "site.yaml:1:10: gateway: 5 is not allowed: a mapping of keys to values",
    ),
    (
        "gateway: [a]\n",
        "site.yaml:1:10: gateway: a list is not allowed: a mapping of keys to values",
    ),
    (
        "replicas: {}\n",
        "site.yaml:1:11: replicas: a mapping is not allowed: a list",
    ),
    (
        "site: a b\n",
        "site.yaml:1:7: site: \"a b\" is not allowed: ' ' may not stand in a name: use letters, digits and . _ - : / @ +",
    ),
    (
        "site: ''\n",
        "site.yaml:1:7: site: \"\" is not allowed: a name has 1 to 64 characters, this one has 0",
    ),
    (
        "site:\n",
        "site.yaml:1:5: site: null is not allowed: a text",
    ),
    (
        "roles: [gateway, broker]\n",
        "site.yaml:1:18: roles[1]: \"broker\" is not allowed: one of gateway, registry, store",
    ),
    (
        "store: {database: 'redis://db'}\n",
        "site.yaml:1:19: store.database: redis://db is not allowed: sqlite:///path/of/file, postgres://user@host/name or mysql://user@host/name",
    ),
    (
        "store: {database: 'postgres://ray:hunter2@db/ray'}\n",
        "site.yaml:1:19: store.database: postgres://ray@db/ray is not allowed: a URL without a password, for URLs are seen in process lists and logs: put it into a file (`database_password_file`)",
    ),
    (
        "store:\n  listen: 10.0.0.5:6379\n",
        "site.yaml:2:11: store.listen: 10.0.0.5:6379 is not allowed: an address of this machine only (127.0.0.1), unless clients need a password (`password_file`) or a certificate (`tls.client_ca`), or `allow_open` says that anybody may read and change everything",
    ),
    (
        "store: {statement_deadline: 1h}\n",
        "site.yaml:1:29: store.statement_deadline: 3600s is not allowed: 100ms to 5m",
    ),
    (
        "store: {tls: {cert: c.pem}}\n",
        "site.yaml:1:14: store.tls.key: missing: the key is required",
    ),
    (
        "store: {namespaces: closed}\n",
        "site.yaml:1:21: store.namespaces: \"closed\" is not allowed: one of open, declared",
    ),
    (
        "roles: [gateway, registry, store]\nstore: {handover_socket: /run/s.sock}\n",
        "site.yaml:2:26: store.handover_socket: \"/run/s.sock\" is not allowed: a store whose process has no other role: a successor could not listen where they do",
    ),
    (
        "roles: []\n",
        "site.yaml:1:8: roles: [] is not allowed: one or more of gateway, registry and store",
    ),
    (
        "roles: [gateway]\n",
        "site.yaml:1:1: connect: missing: at least one address of a registry, for roles lacks registry",
    ),
    (
        "gateway: {listen: '0.0.0.0:8080'}\n",
        "site.yaml:1:1: advertise: missing: an address others can reach, for gateway.listen is 0.0.0.0:8080",
    ),
    (
        "advertise: https://a:1\n",
        "site.yaml:1:12: advertise: \"https://a:1\" is not allowed: http://host:port",
    ),
    (
        "replicas:\n- address: x\n",
        "site.yaml:2:12: replicas[0].address: \"x\" is not allowed: http://host:port",
    ),
    (
        "replicas:\n- address: 127.0.0.1:80\n  applications: []\n",
        "site.yaml:3:17: replicas[0].applications: [] is not allowed: at least one application",
    ),
    (
        "replicas:\n- address: 127.0.0.1:80\n  applications: [chat]\n  capacity: 0\n",
        "site.yaml:4:13: replicas[0].capacity: 0 is not allowed: a whole number of 1 or more",
    ),
    (
        "replicas:\n- {address: '127.0.0.1:80', applications: [a]}\n- {address: '127.0.0.1:80', applications: [b]}\n",
        "site.yaml:3:3: replicas[1].id: 127.0.0.1:80 is not allowed: a name that no other endpoint of the file has",
    ),
    (
        "replicas:\n- {id: gateway, address: '127.0.0.1:80', applications: [a]}\n",
        "site.yaml:2:8: replicas[0].id: gateway is not allowed: a name that no other endpoint of the file has",
    ),
    (
        "federation:\n  peers:\n  - site: west\n    registry: [nowhere]\n",
        "site.yaml:4:16: federation.peers[0].registry[0]: \"nowhere\" is not allowed: http://host:port",
    ),
    (
        "registry: {listen: 1}\n",
        "site.yaml:1:20: registry.listen: 1 is not allowed: an IP address and a port such as 127.0.0.1:8080",
    ),
    (
        "registry: {lease_max: 2h}\n",
        "site.yaml:1:23: registry.lease_max: 7200s is not allowed: 1s to 1h",
    ),
    (
        "federation: {lease: 1s}\n",
        "site.yaml:1:21: federation.lease: 1s is not allowed: 2s to 1m",
    ),
    (
        "federation: {peers: [{site: local, registry: ['h:1']}]}\n",
        "site.yaml:1:29: federation.peers[0].site: local is not allowed: a site other than this one",
    ),
    (
        "federation:\n  peers:\n  - {site: west, registry: ['h:1']}\n  - {site: west, registry: ['h:2']}\n",
        "site.yaml:4:12: federation.peers[1].site: west is not allowed: a site that stands once in the list",
    ),
    (
        "federation:\n  peers:\n  - {site: west, registry: []}\n",
        "site.yaml:3:28: federation.peers[0].registry: [] is not allowed: at least one address",
    ),
    (
        "log: {format: xml}\n",
        "site.yaml:1:15: log.format: \"xml\" is not allowed: one of json, human",
    ),
    (
        "log: {level: 'a=b=c'}\n",
        "site.yaml:1:14: log.level: \"a=b=c\" is not allowed: error, warn, info, debug or trace, or a list such as info,gateway=debug",
    ),
    (
        "drain: {spread: 2m}\n",
        "site.yaml:1:17: drain.spread: 2m is not allowed: 0s to 1m",
    ),
    (
        "telemetry: {otlp: {endpoint: '127.0.0.1:4317', sample_ratio: 2}}\n",
        "site.yaml:1:62: telemetry.otlp.sample_ratio: 2 is not allowed: 0 to 1",
    ),
    (
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers: {authorization: hunter2}\n",
        "site.yaml:4:30: telemetry.otlp.headers.authorization: a secret stands elsewhere: write ${env:NAME} or ${file:/path}",
    ),
    (
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers: {authorization: [hunter2]}\n",
        "site.yaml:4:30: telemetry.otlp.headers.authorization: a list is not allowed: a text",
    ),
    (
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers: {authorization: '${env:TRADEWIND_TEST_UNSET}'}\n",
        "site.yaml:4:30: telemetry.otlp.headers.authorization: ${env:TRADEWIND_TEST_UNSET} is not allowed: the environment variable TRADEWIND_TEST_UNSET must be set to a text",
    ),
    (
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers: {authorization: '${file:/nowhere/token}'}\n",
        "site.yaml:4:30: telemetry.otlp.headers.authorization: ${file:/nowhere/token} is not allowed: the file /nowhere/token must be readable: No such file or directory (os error 2)",
    ),
    (
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers: {Autho Rization: '${env:HOME}'}\n",
        "site.yaml:4:31: telemetry.otlp.headers.Autho Rization: \"Autho Rization\" is not allowed: a header's name in small letters",
    ),
    (
        "telemetry: {otlp: {endpoint: 'https://collector:4317'}}\n",
        "site.yaml:1:30: telemetry.otlp.endpoint: \"https://collector:4317\" is not allowed: http://host:port",
    ),
    // YAML.
    (
        "a\n",
        "site.yaml:1:1: \"a\" is not allowed: a mapping of keys to values",
    ),
    (
        "- a\n",
        "site.yaml:1:1: a list is not allowed: a mapping of keys to values",
    ),
    (
        "site: a\n  b: c\n",
        "site.yaml:2:4: mapping values are not allowed in this context",
    ),
    ("site: [a\n", "site.yaml:1:7: unclosed bracket '['"),
    (
        "site: a\n---\nsite: b\n",
        "site.yaml:3:1: a second document begins, one is allowed",
    ),
    (
        "site: *x\n",
        "site.yaml:1:7: alias references unknown anchor",
    ),
    ("\u{1}", "site.yaml:1:1: unexpected character: `\\u{1}'"),
];

fn answer(text: &str) -> String {
    match parse(text, "site.yaml", None) {
        Ok(_) => "ok".to_owned(),
        Err(Error::Refused(refused)) => refused.to_string(),
        Err(other) => other.to_string(),
    }
}

#[test]
fn each_wrong_file_is_answered_with_place_key_value_and_what_is_allowed() {
    let differing: Vec<_> = WRONG
        .iter()
        .map(|(text, said)| (text, *said, answer(text)))
        .filter(|(_, said, answer)| said != answer)
        .collect();
    for (text, _, answer) in &differing {
        println!("    ({text:?}, {answer:?}),");
    }
    assert!(
        differing.is_empty(),
        "{} answers differ, see above",
        differing.len()
    );
}

#[test]
fn what_is_effective_is_itself_a_file() {
    let secret = "{endpoint: '127.0.0.1:4317', headers: {authorization: '${env:HOME}'}}";
    for text in [
        "",
        "~",
        "site: east",
        &format!("telemetry: {{otlp: {secret}}}"),
    ] {
        let config = parse(text, "site.yaml", None).unwrap();
        let again = parse(&serde_json::to_string(&config).unwrap(), "site.yaml", None).unwrap();
        assert_eq!(config, again);
    }
}

#[test]
fn roles_of_the_command_line_take_the_place_of_the_file_s() {
    let gateway = || Some([super::Role::Gateway].into());
    assert_eq!(
        parse("connect: ['h:1']", "site.yaml", gateway())
            .unwrap()
            .roles,
        gateway().unwrap()
    );
    let refused = parse("", "site.yaml", gateway()).unwrap_err().to_string();
    assert!(refused.contains("connect: missing"), "{refused}");
}
