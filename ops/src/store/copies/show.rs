//! Sizes, ages and differences for people.

use comfy_table::Table;
use gcs_store::copies::{Difference, Version, utc};

/// Most changed rows that are shown.
const ROWS: usize = 50;

/// Bytes, such as `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A stretch of time, to two units: `3h 5m`.
pub fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

/// The lines of a table, without blanks at their ends.
pub fn end(table: &Table) -> String {
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Counts by table, then rows.
pub(super) fn difference(found: &Difference) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["TABLE", "ADDED", "REMOVED", "CHANGED", "SAME"]);
    for (name, counts) in &found.tables {
        table.add_row([
            name.to_string(),
            counts.added.to_string(),
            counts.removed.to_string(),
            counts.changed.to_string(),
            counts.same.to_string(),
        ]);
    }
    let mut text = end(&table);
    if found.is_empty() {
        return text;
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CHANGE", "TABLE", "FIELD", "BEFORE", "AFTER"]);
    for row in found.rows.iter().take(ROWS) {
        let shown = |value: Option<gcs_store::copies::picture::Fingerprint>| {
            value.map_or_else(|| "-".to_owned(), |value| size(value.size))
        };
        table.add_row([
            format!("{:?}", row.change).to_lowercase(),
            row.table.to_string(),
            cut(&row.field),
            shown(row.before),
            shown(row.after),
        ]);
    }
    text.push('\n');
    text.push_str(&end(&table));
    if found.rows.len() > ROWS {
        let more = found.rows.len() - ROWS;
        text.push_str(&format!("{more} more: -o json has them all\n"));
    }
    text
}

/// One version in a line.
pub(super) fn versions(all: &[Version]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["FROM", "UNTIL", "EPOCH", "TABLE", "FIELD", "SIZE", "BLAKE3"]);
    for it in all {
        let hash = it.value.hash().to_hex();
        table.add_row([
            utc(it.from_ms),
            it.until_ms.map_or_else(|| "now".to_owned(), utc),
            it.epoch.to_string(),
            it.table.to_string(),
            cut(&it.field),
            size(it.value.size),
            hash[..12].to_owned(),
        ]);
    }
    end(&table)
}

/// A field in at most 60 characters, without what moves a cursor.
fn cut(field: &str) -> String {
    let shown: String = field
        .chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .take(60)
        .collect();
    if shown.len() < field.len() {
        format!("{shown}…")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!(size(1_500_000), "1.4 MiB");
        assert_eq!(age(59_999), "59s");
        assert_eq!(age(3_700_000), "1h 1m");
        assert_eq!(age(-5), "0s");
        assert_eq!(age(90_000_000), "1d 1h");
    }

    #[test]
    fn long_fields_are_cut() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(70)), format!("{}…", "x".repeat(60)));
    }
}
