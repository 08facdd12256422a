//! What stands where in a YAML text, without types.
//!
//! Read beside the typed configuration and asked only when something is wrong:
//! which value stood at this path, in which line?

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// Characters of a value that are shown.
const SHOWN: usize = 80;

/// A node and its place.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Tree(Spanned<Node>);

#[derive(Debug)]
enum Node {
    /// As it would be written in YAML's JSON-like form.
    Scalar(String),
    List(Vec<Tree>),
    Map(Vec<(Spanned<String>, Tree)>),
}

/// A line and a column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl From<serde_saphyr::Location> for Place {
    fn from(at: serde_saphyr::Location) -> Self {
        Self {
            line: at.line(),
            column: at.column(),
        }
    }
}

/// What a path led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The value, if the whole path exists.
    pub value: Option<String>,
    /// The place of the value, or of the nearest node above that exists.
    pub place: Place,
}

impl Tree {
    /// Follows a path such as `replicas[0].address`.
    pub fn find(&self, path: &str) -> Found {
        let mut at = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &at.0.value {
                Node::Scalar(_) => None,
                Node::List(items) => step
                    .strip_suffix(']')
                    .and_then(|nth| items.get(nth.parse::<usize>().ok()?)),
                Node::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| key.value == step)
                    .map(|(_, value)| value),
            };
            match next {
                Some(next) => at = next,
                None => {
                    return Found {
                        value: None,
                        place: at.place(),
                    };
                }
            }
        }
        Found {
            value: Some(at.shown()),
            place: at.place(),
        }
    }

    fn place(&self) -> Place {
        self.0.referenced.into()
    }

    fn shown(&self) -> String {
        match &self.0.value {
            Node::Scalar(text) if text.chars().count() > SHOWN => {
                format!("{}…", text.chars().take(SHOWN).collect::<String>())
            }
            Node::Scalar(text) => text.clone(),
            Node::List(items) if items.is_empty() => "[]".to_owned(),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(format!("{value:?}")))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar("null".to_owned()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar("null".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_value_and_place() {
        let text = "a:\n  b:\n    - {c: 5 s}\n    - d\n";
        let tree: Tree = serde_saphyr::from_str(text).unwrap();
        let found = |path| {
            let Found { value, place } = tree.find(path);
            (value, place.line, place.column)
        };
        assert_eq!(found("a.b[0].c"), (Some("\"5 s\"".to_owned()), 3, 11));
        assert_eq!(found("a.b[1]"), (Some("\"d\"".to_owned()), 4, 7));
        assert_eq!(found("a.b"), (Some("a list".to_owned()), 3, 5));
        assert_eq!(found("a.x.y").0, None);
        assert_eq!(found("a.b[7].c").0, None);
    }
}
