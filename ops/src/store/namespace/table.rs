//! Namespaces and passwords for people.

use comfy_table::Table;
use gcs_store::namespace::{Credential, Listed, State};

use crate::store::copies::show::{age, end, size};

/// One namespace in a line.
pub(super) fn namespaces(all: &[Listed], now_ms: i64) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "NAMESPACE",
        "STATE",
        "ROWS",
        "SIZE",
        "BOUND",
        "PASSWORDS",
        "EPOCH",
        "HEAD",
        "SEEN",
        "MADE",
    ]);
    for it in all {
        let state = match (it.state, it.deleted_ms) {
            (State::Deleted, Some(at)) => format!("deleted {} ago", age(now_ms - at)),
            (state, _) => state.to_string(),
        };
        let bounds = [
            it.quota_rows.map(|rows| format!("{rows} rows")),
            it.quota_bytes.map(|bytes| size(bytes.unsigned_abs())),
        ];
        let bounds: Vec<_> = bounds.into_iter().flatten().collect();
        table.add_row([
            it.name.to_string(),
            state,
            it.rows.to_string(),
            size(it.bytes),
            or_dash(bounds.join(", ")),
            it.passwords.to_string(),
            it.epoch.to_string(),
            or_dash(
                it.heads
                    .first()
                    .map(|head| head.peer.clone())
                    .unwrap_or_default(),
            ),
            it.seen_ms.map_or_else(
                || "never".to_owned(),
                |at| format!("{} ago", age(now_ms - at)),
            ),
            format!("{} ago", age(now_ms - it.created_ms)),
        ]);
    }
    end(&table)
}

/// One password in a line; never its text.
pub(super) fn passwords(all: &[Credential], now_ms: i64) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["PASSWORD", "ADDED"]);
    for it in all {
        table.add_row([
            it.id.to_string(),
            format!("{} ago", age(now_ms - it.created_ms)),
        ]);
    }
    end(&table)
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
