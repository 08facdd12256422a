//! One connection of one of the three drivers.
//!
//! The drivers' own types stay in here. sqlx's `Any` would do the same, but
//! cannot tell bytes from text in MySQL's binary columns.

use bytes::Bytes;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Database, Decode, Encode, Executor as _,
    MySqlConnection, PgConnection, Row as _, SqliteConnection, Type, TypeInfo as _, ValueRef as _,
    mysql::{MySql, MySqlArguments, MySqlRow, MySqlTypeInfo},
    postgres::{PgArguments, PgRow, PgTypeInfo, Postgres, types::Oid},
    query::Query,
    sqlite::{Sqlite, SqliteArguments, SqliteRow, SqliteTypeInfo},
};
use std::sync::Arc;

use crate::{Dialect, Row, Value};

/// A connection that is logged in and set up.
pub(crate) enum Driver {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

/// Runs `$run` with the connection in `$driver` and the query for it.
macro_rules! dispatch {
    ($driver:expr, $sql:expr, $values:expr, |$connection:ident, $query:ident| $run:expr) => {
        match $driver {
            Driver::Sqlite($connection) => {
                let $query = bind::<Sqlite, SqliteArguments>($sql, $values)?;
                $run
            }
            Driver::Postgres($connection) => {
                let $query = bind::<Postgres, PgArguments>($sql, $values)?;
                $run
            }
            Driver::Mysql($connection) => {
                let $query = bind::<MySql, MySqlArguments>($sql, $values)?;
                $run
            }
        }
    };
}

impl Driver {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Mysql(_) => Dialect::Mysql,
        }
    }

    /// Rows inserted, deleted, or matched by an update.
    pub(crate) async fn execute(&mut self, sql: Arc<str>, values: &[Value]) -> sqlx::Result<u64> {
        dispatch!(self, sql, values, |connection, query| {
            Ok(query.execute(&mut *connection).await?.rows_affected())
        })
    }

    pub(crate) async fn fetch(
        &mut self,
        sql: Arc<str>,
        values: &[Value],
    ) -> sqlx::Result<Vec<Row>> {
        dispatch!(self, sql, values, |connection, query| {
            let rows = query.fetch_all(&mut *connection).await?;
            rows.iter().map(ToRow::to_row).collect()
        })
    }

    /// Runs statements parted by `;`, without parameters and in one message.
    pub(crate) async fn batch(&mut self, sql: &str) -> sqlx::Result<()> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => connection.execute(sqlx::raw_sql(sql)).await.map(drop),
            Self::Postgres(connection) => connection.execute(sqlx::raw_sql(sql)).await.map(drop),
            Self::Mysql(connection) => connection.execute(sqlx::raw_sql(sql)).await.map(drop),
        }
    }

    pub(crate) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.ping().await,
            Self::Postgres(connection) => connection.ping().await,
            Self::Mysql(connection) => connection.ping().await,
        }
    }

    pub(crate) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
            Self::Mysql(connection) => connection.close().await,
        }
    }
}

fn bind<'q, D, A>(sql: Arc<str>, values: &[Value]) -> sqlx::Result<Query<'q, D, A>>
where
    D: Database<Arguments = A>,
    A: sqlx::Arguments<Database = D> + sqlx::IntoArguments<D> + Default,
    for<'v> i64: Encode<'v, D> + Type<D>,
    for<'v> &'v str: Encode<'v, D> + Type<D>,
    for<'v> &'v [u8]: Encode<'v, D> + Type<D>,
    for<'v> Nothing: Encode<'v, D> + Type<D>,
{
    let mut arguments = A::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Null => arguments.add(Nothing),
            Value::Int(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.as_str()),
            Value::Bytes(value) => arguments.add(&value[..]),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments))
}

/// NULL of no type. PostgreSQL finds its type where it stands; a typed one
/// would fix the parameter's type for all later uses of the statement.
struct Nothing;

macro_rules! nothing {
    ($database:ty, $buffer:ty, $type:expr) => {
        impl Type<$database> for Nothing {
            fn type_info() -> <$database as Database>::TypeInfo {
                $type
            }
        }

        impl Encode<'_, $database> for Nothing {
            fn encode_by_ref(
                &self,
                _buffer: &mut $buffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                Ok(sqlx::encode::IsNull::Yes)
            }
        }
    };
}

nothing!(
    Sqlite,
    <Sqlite as Database>::ArgumentBuffer,
    <i64 as Type<Sqlite>>::type_info()
);
nothing!(
    Postgres,
    <Postgres as Database>::ArgumentBuffer,
    PgTypeInfo::with_oid(Oid(0))
);
nothing!(
    MySql,
    <MySql as Database>::ArgumentBuffer,
    <i64 as Type<MySql>>::type_info()
);

trait ToRow {
    fn to_row(&self) -> sqlx::Result<Row>;
}

macro_rules! to_row {
    ($row:ty, $database:ty, $kind:ident) => {
        impl ToRow for $row {
            fn to_row(&self) -> sqlx::Result<Row> {
                let mut values = Vec::with_capacity(self.len());
                for column in self.columns() {
                    let index = column.ordinal();
                    let raw = self.try_get_raw(index)?;
                    let decoded = if raw.is_null() {
                        Ok(Value::Null)
                    } else {
                        let kind = $kind(&raw.type_info());
                        decode::<$database>(kind, raw)
                    };
                    values.push(decoded.map_err(|source| sqlx::Error::ColumnDecode {
                        index: index.to_string(),
                        source,
                    })?);
                }
                Ok(values.into())
            }
        }
    };
}

to_row!(SqliteRow, Sqlite, sqlite_kind);
to_row!(PgRow, Postgres, postgres_kind);
to_row!(MySqlRow, MySql, mysql_kind);

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Bool,
    Text,
    Bytes,
    Other,
}

fn sqlite_kind(info: &SqliteTypeInfo) -> Kind {
    match info.name() {
        "INTEGER" => Kind::Int,
        "BOOLEAN" => Kind::Bool,
        "TEXT" => Kind::Text,
        "BLOB" => Kind::Bytes,
        _ => Kind::Other,
    }
}

fn postgres_kind(info: &PgTypeInfo) -> Kind {
    match info.name() {
        "INT8" | "INT4" | "INT2" => Kind::Int,
        "BOOL" => Kind::Bool,
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" => Kind::Text,
        "BYTEA" => Kind::Bytes,
        _ => Kind::Other,
    }
}

fn mysql_kind(info: &MySqlTypeInfo) -> Kind {
    match info.name() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Kind::Int,
        // The name calls text bytes if its collation is binary, as ours is.
        _ if <str as Type<MySql>>::compatible(info) => Kind::Text,
        _ if <[u8] as Type<MySql>>::compatible(info) => Kind::Bytes,
        _ => Kind::Other,
    }
}

fn decode<'r, D>(kind: Kind, raw: D::ValueRef<'r>) -> Result<Value, sqlx::error::BoxDynError>
where
    D: Database,
    i64: Decode<'r, D>,
    bool: Decode<'r, D>,
    String: Decode<'r, D>,
    &'r [u8]: Decode<'r, D>,
{
    Ok(match kind {
        Kind::Int => i64::decode(raw)?.into(),
        Kind::Bool => i64::from(bool::decode(raw)?).into(),
        Kind::Text => String::decode(raw)?.into(),
        Kind::Bytes => Value::Bytes(Bytes::copy_from_slice(<&[u8]>::decode(raw)?)),
        Kind::Other => {
            return Err("type is neither signed integer, text nor bytes: cast it".into());
        }
    })
}
