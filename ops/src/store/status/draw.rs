//! Draws the picture for people.

use comfy_table::Table;
use gcs_store::overview::{Amount, Overview};
use serde_json::Value;

use super::{Asked, Picture};

/// Most slow commands that are shown.
const SLOW: usize = 10;

/// One table of stores, one of the namespaces in memory, the slow commands, and
/// what the database says.
pub fn draw(picture: &Picture) -> String {
    let mut parts = Vec::new();
    if !picture.stores.is_empty() {
        parts.push(stores(&picture.stores).to_string());
    }
    for report in picture.stores.iter().filter_map(|it| it.report.as_ref()) {
        parts.extend(namespaces(report).map(|table| table.to_string()));
        parts.extend(slow(report).map(|table| table.to_string()));
    }
    if let Some(overview) = &picture.database {
        parts.push(database(overview));
    }
    let lines: Vec<_> = parts
        .iter()
        .map(|part| {
            let lines: Vec<_> = part.lines().map(str::trim_end).collect();
            lines.join("\n") + "\n"
        })
        .collect();
    lines.join("\n")
}

fn columns(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads);
    table
}

fn stores(all: &[Asked]) -> Table {
    let mut table = columns(&[
        "STORE",
        "STANDING",
        "LISTEN",
        "DATABASE",
        "UP",
        "CONNECTIONS",
        "WAITING",
        "NAMESPACES",
        "MEMORY",
        "TO FOLD",
        "FOLDED",
    ]);
    for asked in all {
        let admin = asked.admin.authority();
        let Some(report) = &asked.report else {
            table.add_row([admin, "no answer"]);
            continue;
        };
        let engine = &report["engine"];
        table.add_row([
            admin.to_owned(),
            standing(engine),
            text(&report["listen"]),
            text(&report["database"]),
            seconds(&report["uptime_s"]),
            text(&engine["connections"]),
            text(&engine["waiting"]),
            text(&engine["namespaces"]),
            size(number(&engine["memory_bytes"])),
            size(number(&engine["unfolded_bytes"])),
            format!("{} ms ago", text(&engine["folded_ago_ms"])),
        ]);
    }
    table
}

fn standing(engine: &Value) -> String {
    let known = engine["standing"].as_str().unwrap_or("-");
    match (&engine["epoch"], &engine["active"]) {
        (Value::Number(epoch), _) => format!("{known}, epoch {epoch}"),
        (_, Value::String(active)) => format!("{known} of {active}"),
        _ => known.to_owned(),
    }
}

fn namespaces(report: &Value) -> Option<Table> {
    let loaded = list(&report["engine"]["loaded"]);
    let mut table = columns(&["NAMESPACE IN MEMORY", "HEAD", "EPOCH", "FIELDS", "SIZE"]);
    for it in loaded {
        table.add_row([
            text(&it["name"]),
            if it["head"] == true { "connected" } else { "-" }.to_owned(),
            text(&it["epoch"]),
            text(&it["rows"]),
            size(number(&it["bytes"])),
        ]);
    }
    (!loaded.is_empty()).then_some(table)
}

fn slow(report: &Value) -> Option<Table> {
    let all = list(&report["slow"]);
    let mut table = columns(&["SLOW COMMAND", "TABLE", "TOOK", "CLIENT", "AT"]);
    for it in all.iter().rev().take(SLOW) {
        let at = std::time::Duration::from_millis(number(&it["at_ms"]));
        let at = std::time::SystemTime::UNIX_EPOCH.checked_add(at);
        table.add_row([
            text(&it["verb"]),
            text(&it["key"]),
            format!("{} ms", text(&it["took_ms"])),
            text(&it["peer"]),
            at.map_or_else(dash, |at| humantime::format_rfc3339_seconds(at).to_string()),
        ]);
    }
    (!all.is_empty()).then_some(table)
}

fn database(overview: &Overview) -> String {
    let writer = match &overview.writer {
        None => "no store is registered".to_owned(),
        Some(writer) => {
            let alive = match writer.alive {
                Some(true) => ", alive",
                Some(false) => ", SILENT",
                None => "",
            };
            format!("{} at {}{alive}", writer.holder, writer.address)
        }
    };
    let namespaces: Vec<_> = overview
        .namespaces
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let amount = |it: Amount, what: &str| {
        let bytes = u64::try_from(it.bytes).unwrap_or(0);
        format!("{} {what}, {}", it.count, size(bytes))
    };
    let delay = f64::from(u32::try_from(overview.delay_us).unwrap_or(u32::MAX)) / 1000.0;
    let lines = [
        (
            "database",
            format!("{}, answers in {delay:.1} ms", overview.kind),
        ),
        ("writer", writer),
        ("epoch", overview.epoch.to_string()),
        (
            "namespaces",
            if namespaces.is_empty() {
                "none".to_owned()
            } else {
                namespaces.join(", ")
            },
        ),
        ("rows", amount(overview.rows, "fields")),
        ("journal", amount(overview.journal, "groups to fold")),
        ("history", amount(overview.history, "earlier values")),
        ("blobs", amount(overview.blobs, "large values")),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<11} {value}"));
    lines.join("\n")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => dash(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn seconds(value: &Value) -> String {
    let time = std::time::Duration::from_secs(number(value));
    humantime::format_duration(time).to_string()
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use gcs_store::overview::Writer;
    use serde_json::json;

    use super::*;

    #[test]
    fn stores_are_drawn_side_by_side() {
        let active = json!({
            "listen": "10.0.0.5:6379", "database": "postgres://ray@db/ray", "uptime_s": 90,
            "engine": {
                "standing": "active", "epoch": 7, "connections": 4, "waiting": 2, "namespaces": 3,
                "memory_bytes": 1_572_864, "unfolded_bytes": 512, "folded_ago_ms": 1200,
                "loaded": [{"name": "prod", "epoch": 2, "head": true, "rows": 96, "bytes": 40_000}],
            },
            "slow": [{"at_ms": 0, "verb": "hset", "key": "RAYprod@KV", "took_ms": 180,
                      "peer": "10.0.0.9:4711"}],
        });
        let standby = json!({
            "listen": "10.0.0.6:6379", "database": "postgres://ray@db/ray", "uptime_s": 5,
            "engine": {
                "standing": "standby", "active": "10.0.0.5:6379", "connections": 0, "waiting": 0,
                "namespaces": 0, "memory_bytes": 0, "unfolded_bytes": 0, "folded_ago_ms": 0,
                "loaded": [],
            },
            "slow": [],
        });
        let asked = |port: u16, report, error| Asked {
            admin: std::net::SocketAddr::from(([10, 0, 0, 5], port)).into(),
            report,
            error,
        };
        let picture = Picture {
            stores: vec![
                asked(1, Some(active), None),
                asked(2, Some(standby), None),
                asked(3, None, Some("refused".to_owned())),
            ],
            database: None,
        };
        insta::assert_snapshot!(draw(&picture));
    }

    #[test]
    fn a_database_without_a_store_says_so() {
        let mut overview = Overview {
            kind: "sqlite",
            delay_us: 120,
            writer: None,
            epoch: 7,
            namespaces: vec![("active".to_owned(), 2), ("deleted".to_owned(), 1)],
            rows: Amount {
                count: 1200,
                bytes: 480_000,
            },
            journal: Amount::default(),
            history: Amount::default(),
            blobs: Amount {
                count: 1,
                bytes: 5_368_709_120,
            },
        };
        insta::assert_snapshot!(database(&overview), @r"
        database    sqlite, answers in 0.1 ms
        writer      no store is registered
        epoch       7
        namespaces  2 active, 1 deleted
        rows        1200 fields, 468.7 KiB
        journal     0 groups to fold, 0 B
        history     0 earlier values, 0 B
        blobs       1 large values, 5.0 GiB
        ");
        overview.writer = Some(Writer {
            holder: "db1#1".to_owned(),
            address: "10.0.0.5:6379".to_owned(),
            alive: Some(false),
        });
        assert!(database(&overview).contains("db1#1 at 10.0.0.5:6379, SILENT"));
    }
}
