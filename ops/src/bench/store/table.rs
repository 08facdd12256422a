//! Prints a report: a table for people, Markdown for the docs, JSON for
//! programs.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Table, TableStyle, presets};

use super::{
    super::table::{Form, number},
    report::{Bound, Report, Row},
};

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
        cells.push(Cell::new(aims(row)));
        table.add_row(cells);
    }
    table
}

/// `sqlite >= 1: met; postgres >= 0.5: NOT MET`.
fn aims(row: &Row) -> String {
    let aims = row.aims.iter().map(|aim| {
        let sign = match aim.bound {
            Bound::AtLeast => ">=",
            Bound::AtMost => "<=",
        };
        let verdict = match aim.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        format!("{} {sign} {}: {verdict}", aim.contender, aim.value)
    });
    aims.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            contender::Contender,
            report::{Measure, Rounds, rows},
        },
        *,
    };

    fn report() -> Report {
        let mut rounds = Rounds::default();
        for (contender, value) in [
            (Contender::RedisAlways, 1000.0),
            (Contender::Sqlite, 1500.0),
        ] {
            rounds.push(Measure::Rate(50), contender, value);
            rounds.push(Measure::Rate(50), contender, value * 1.2);
        }
        rounds.push(Measure::Idle, Contender::Sqlite, 40.5);
        let contenders = [Contender::RedisAlways, Contender::Sqlite];
        Report {
            version: 1,
            contenders: contenders.iter().map(|it| it.name()).collect(),
            rows: rows(&rounds, &contenders, 20_000, 1000),
            errors: vec!["sqlite, 50 clients: 3 errors".to_owned()],
            notes: vec!["2 cores".to_owned()],
        }
    }

    #[test]
    fn markdown_names_spread_aims_and_errors() {
        insta::assert_snapshot!(render(&report(), Form::Markdown).unwrap(), @r"
        | measure                                   | redis-always      | sqlite            | aim                                                 |
        |-------------------------------------------|-------------------|-------------------|-----------------------------------------------------|
        | HSET, 50 clients, 1/s                     | 1100 (1000..1200) | 1650 (1500..1800) |                                                     |
        | HSET, 50 clients, against redis-always, x |                 - | 1.50 (1.50..1.50) | sqlite >= 1: met; postgres >= 0.5: not measured     |
        | memory of an idle connection, kB          |                 - |              40.5 | sqlite <= 32: NOT MET; postgres <= 32: not measured |

        Errors; do not trust this run:

        - sqlite, 50 clients: 3 errors

        Medians of the rounds, lowest and highest in brackets.

        - 2 cores
        ");
    }

    #[test]
    fn json_is_versioned_and_tells_every_aim() {
        let text = render(&report(), Form::Json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["version"], 1);
        let aim = &json["rows"][1]["aims"][0];
        assert_eq!(aim["contender"], "sqlite");
        assert_eq!(aim["bound"], "at_least");
        assert_eq!(aim["met"], true);
    }
}
