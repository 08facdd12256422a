//! Reads SQL just far enough to tell code from quotes and comments.
//!
//! Statements are written with `?`; PostgreSQL wants `$1`, `$2`. Migrations are
//! one text; databases take one statement at a time. Both need to know which
//! `?` and which `;` are code. Understood: `'…'` and `"…"` with doubled quotes
//! inside, `` `…` ``, `-- …`, `/* … */`, and PostgreSQL's `$tag$ … $tag$`.
//! A backslash means nothing, as the SQL standard has it and as sessions of
//! MySQL are told to have it.

use std::fmt::Write;

/// A piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    /// Up to the next piece of another kind.
    Code(&'a str),
    /// A string or a name, with its quotes.
    Quoted(&'a str),
    Comment(&'a str),
}

/// Cuts `sql` into pieces that make it up again when put together.
fn pieces<'s>(sql: &'s str) -> impl Iterator<Item = Piece<'s>> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let first = *rest.as_bytes().first()?;
        let (length, piece): (usize, fn(&'s str) -> Piece<'s>) = match first {
            b'\'' | b'"' | b'`' => (quoted(rest, first), Piece::Quoted),
            b'-' if rest.starts_with("--") => (find(rest, 2, "\n"), Piece::Comment),
            b'/' if rest.starts_with("/*") => (find(rest, 2, "*/"), Piece::Comment),
            b'$' if let Some(tag) = dollar_tag(rest) => (find(rest, tag.len(), tag), Piece::Quoted),
            _ => (code(rest), Piece::Code),
        };
        let (this, next) = rest.split_at(length);
        rest = next;
        Some(piece(this))
    })
}

/// The length of what begins with the quote `mark`. A doubled mark needs no
/// care: it reads as the end of one string and the start of the next.
fn quoted(text: &str, mark: u8) -> usize {
    let end = text.as_bytes()[1..].iter().position(|byte| *byte == mark);
    end.map_or(text.len(), |end| end + 2)
}

fn find(text: &str, from: usize, end: &str) -> usize {
    text[from..]
        .find(end)
        .map_or(text.len(), |at| from + at + end.len())
}

/// `$$` or `$name$` at the start of `text`; `$1` is none.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = 1 + text[1..].find('$')?;
    let name = &text[1..end];
    let letters = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    (letters && !digit).then(|| &text[..=end])
}

/// At least one character, up to where another kind of piece may begin.
fn code(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    text[first..]
        .find(['\'', '"', '`', '-', '/', '$'])
        .map_or(text.len(), |at| first + at)
}

/// `sql` with `$1`, `$2`, … for its `?`.
pub(crate) fn numbered(sql: &str) -> String {
    let (mut numbered, mut nth) = (String::with_capacity(sql.len() + 16), 0);
    for piece in pieces(sql) {
        match piece {
            Piece::Quoted(text) | Piece::Comment(text) => numbered.push_str(text),
            Piece::Code(text) => {
                for (index, part) in text.split('?').enumerate() {
                    if index > 0 {
                        nth += 1;
                        write!(numbered, "${nth}").expect("strings take everything");
                    }
                    numbered.push_str(part);
                }
            }
        }
    }
    numbered
}

/// The statements of `sql`, which are parted by `;`. Comments are left out.
pub(crate) fn statements(sql: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut add = |text: &str, part: bool| {
        if part {
            all.push(String::new());
        }
        if let Some(last) = all.last_mut() {
            last.push_str(text);
        }
    };
    for piece in pieces(sql) {
        match piece {
            Piece::Comment(_) => add(" ", false),
            Piece::Quoted(text) => add(text, false),
            Piece::Code(text) => {
                for (index, part) in text.split(';').enumerate() {
                    add(part, index > 0);
                }
            }
        }
    }
    all.iter()
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_code_is_numbered() {
        assert_eq!(
            numbered("SELECT '?''?', \"?\" -- ?\n FROM t WHERE a=? /* ? */ AND b IN (?,?)"),
            "SELECT '?''?', \"?\" -- ?\n FROM t WHERE a=$1 /* ? */ AND b IN ($2,$3)"
        );
    }

    #[test]
    fn statements_are_parted_by_code_only() {
        assert_eq!(
            statements("-- a;\nCREATE t (c DEFAULT ';');;\nDO $x$ a; b; $x$;\n"),
            ["CREATE t (c DEFAULT ';')", "DO $x$ a; b; $x$"]
        );
    }

    /// Code without marks, and pieces in which marks mean nothing.
    fn piece() -> impl Strategy<Value = (String, bool)> {
        let opaque = prop_oneof![
            "'[a-z?;\" -]*('')?[a-z?;]*'",
            "\"[a-z?;' -]*\"",
            "`[a-z?;' -]*`",
            "--[a-z?;' ]*\n",
            "/\\*[a-z?;' -]*\\*/",
            "\\$[a-z]*\\$[A-Z?;'\" ]*".prop_map(|opened| {
                let tag = &opened[..=opened[1..].find('$').unwrap() + 1];
                format!("{opened}{tag}")
            }),
        ];
        prop_oneof![
            "[a-zä=(), ]{1,8}".prop_map(|text| (text, false)),
            opaque.prop_map(|text| (text, false)),
            Just(("?".to_owned(), true)),
        ]
    }

    proptest! {
        #[test]
        fn marks_in_code_are_numbered_and_the_rest_is_kept(
            parts in proptest::collection::vec(piece(), 0..20)
        ) {
            // Blanks keep neighbours from growing together ('a''b', x$$).
            let sql: String = parts.iter().map(|(text, _)| format!("{text} ")).collect();
            let mut nth = 0;
            let wanted: String = parts
                .iter()
                .map(|(text, mark)| if *mark { nth += 1; format!("${nth} ") } else { format!("{text} ") })
                .collect();
            prop_assert_eq!(numbered(&sql), wanted);
        }

        #[test]
        fn any_text_is_read_without_a_panic_and_without_a_loss(sql in "[ab?;'\"`$/*\n-]{0,40}|.{0,40}") {
            let again: String = pieces(&sql)
                .map(|piece| match piece {
                    Piece::Code(text) | Piece::Quoted(text) | Piece::Comment(text) => text,
                })
                .collect();
            prop_assert_eq!(again, sql.clone());
            let _statements = statements(&sql);
        }
    }
}
