//! Prints a report: a table for people, Markdown for the docs, JSON for
//! programs. Pure but for the printing its callers do.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table, TableStyle, presets};

use super::{
    report::{Aim, Report, Row},
    statistics::Summary,
};

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines and columns for a terminal.
    Table,
    /// A Markdown table.
    Markdown,
    /// The whole report, versioned.
    Json,
}

/// The report in `form`, newline at the end.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn render(report: &Report, form: Form) -> serde_json::Result<String> {
    let style = match form {
        Form::Json => return Ok(serde_json::to_string_pretty(report)? + "\n"),
        Form::Table => presets::UTF8_FULL_CONDENSED,
        Form::Markdown => presets::ASCII_MARKDOWN,
    };
    let mut text = grid(report, style).to_string();
    text.push('\n');
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push('\n');
            text.push_str(title);
            for line in lines {
                let _infallible = write!(text, "\n- {line}");
            }
            text.push('\n');
        }
    };
    list("Errors; do not trust this run:\n", &report.errors);
    list(
        "Medians of the rounds, lowest and highest in brackets.\n",
        &report.notes,
    );
    Ok(text)
}

fn grid(report: &Report, style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    let mut header = vec!["measure".to_owned()];
    header.extend(report.contenders.iter().map(ToString::to_string));
    header.push("aim".to_owned());
    table.set_header(header);
    for row in &report.rows {
        let mut cells = vec![Cell::new(format!("{}, {}", row.title, row.unit))];
        cells.extend(report.contenders.iter().map(|contender| {
            let text = row
                .cells
                .get(contender)
                .map_or_else(|| "-".to_owned(), number);
            Cell::new(text).set_alignment(CellAlignment::Right)
        }));
        cells.push(Cell::new(aim(row)));
        table.add_row(cells);
    }
    table
}

/// `12.3 (11.9-12.8)`; a single round has no spread.
pub fn number(summary: &Summary) -> String {
    let Summary {
        median,
        low,
        high,
        rounds,
    } = *summary;
    // As many digits as the size of the number bears.
    let digits = match median.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    if rounds == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({low:.digits$}..{high:.digits$})")
}

fn aim(row: &Row) -> String {
    let Some(Aim { at_most, met }) = row.aim else {
        return String::new();
    };
    let verdict = match met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "not measured",
    };
    format!("<= {at_most} {}: {verdict}", row.unit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn report() -> Report {
        let summary = |median, rounds| Summary {
            median,
            low: median - 1.0,
            high: median + 1.0,
            rounds,
        };
        let row = |title, unit, cells: &[(&'static str, Summary)], aim| Row {
            title,
            unit,
            cells: cells.iter().copied().collect::<BTreeMap<_, _>>(),
            aim,
        };
        Report {
            version: 1,
            contenders: vec!["direct", "tradewind"],
            rows: vec![
                row(
                    "CPU per request",
                    "µs",
                    &[("tradewind", summary(23.456, 7))],
                    None,
                ),
                row(
                    "memory idle",
                    "MiB",
                    &[("tradewind", summary(31.0, 1))],
                    Some(Aim {
                        at_most: 30.0,
                        met: Some(false),
                    }),
                ),
            ],
            errors: vec!["nginx, round 1: 3 errors, the first: status 502".to_owned()],
            notes: vec!["2 cores".to_owned()],
        }
    }

    #[test]
    fn markdown_names_spread_aims_and_errors() {
        insta::assert_snapshot!(render(&report(), Form::Markdown).unwrap(), @r"
        | measure             | direct | tradewind         | aim                |
        |---------------------|--------|-------------------|--------------------|
        | CPU per request, µs |      - | 23.5 (22.5..24.5) |                    |
        | memory idle, MiB    |      - |              31.0 | <= 30 MiB: NOT MET |

        Errors; do not trust this run:

        - nginx, round 1: 3 errors, the first: status 502

        Medians of the rounds, lowest and highest in brackets.

        - 2 cores
        ");
    }

    #[test]
    fn json_is_versioned() {
        let text = render(&report(), Form::Json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["rows"][1]["aim"]["met"], false);
        assert_eq!(json["rows"][0]["cells"]["tradewind"]["rounds"], 7);
    }
}
