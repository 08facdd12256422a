//! Values and rows: the few types that mean the same on every database.
//!
//! 64-bit integers, text, bytes, and none of them. No floats, no dates, no
//! decimals: times are unix milliseconds, and a `SUM` is cast
//! (see [`Dialect::sum`](crate::Dialect::sum)).

use bytes::Bytes;

use crate::Error;

/// A parameter of a statement, or a column of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// No value. Not the same as empty.
    Null,
    /// A BIGINT.
    Int(i64),
    /// Text in UTF-8. PostgreSQL takes none with NUL in it.
    Text(String),
    /// Any bytes.
    Bytes(Bytes),
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Int(_) => "an integer",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::Bytes(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value.into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(value))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer. Columns are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[Value]>);

impl From<Vec<Value>> for Row {
    fn from(values: Vec<Value>) -> Self {
        Self(values.into())
    }
}

impl Row {
    /// All its columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    fn get(&self, column: usize) -> Result<&Value, Error> {
        self.0
            .get(column)
            .ok_or_else(|| Error::invalid(format!("row has no column {column}")))
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else, NULL included.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        match self.get(column)? {
            Value::Int(value) => Ok(*value),
            other => Err(unexpected(column, "an integer", other)),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else, NULL included.
    pub fn text(&self, column: usize) -> Result<String, Error> {
        match self.get(column)? {
            Value::Text(value) => Ok(value.clone()),
            other => Err(unexpected(column, "text", other)),
        }
    }

    /// Bytes; shared with the row, not copied.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else, NULL included.
    pub fn bytes(&self, column: usize) -> Result<Bytes, Error> {
        match self.get(column)? {
            Value::Bytes(value) => Ok(value.clone()),
            other => Err(unexpected(column, "bytes", other)),
        }
    }

    /// An integer, or none for NULL.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, Error> {
        self.opt(column, Self::int)
    }

    /// Text, or none for NULL.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, Error> {
        self.opt(column, Self::text)
    }

    /// Bytes, or none for NULL.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the column is anything else.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<Bytes>, Error> {
        self.opt(column, Self::bytes)
    }

    fn opt<T>(
        &self,
        column: usize,
        read: impl Fn(&Self, usize) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.get(column)? {
            Value::Null => Ok(None),
            _ => read(self, column).map(Some),
        }
    }
}

fn unexpected(column: usize, wanted: &str, found: &Value) -> Error {
    let found = found.kind();
    Error::invalid(format!("column {column} is {found}, wanted {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_no_value_and_empty_is_one() {
        let row = Row::from(vec![Value::Null, "".into(), Vec::new().into()]);
        assert_eq!(row.opt_text(0).unwrap(), None);
        assert_eq!(row.opt_text(1).unwrap(), Some(String::new()));
        assert_eq!(row.opt_bytes(2).unwrap(), Some(Bytes::new()));
        assert!(row.int(0).is_err() && row.int(1).is_err() && row.int(9).is_err());
    }
}
