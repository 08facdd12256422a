//! Refuses servers that are too old for the SQL written here.

use crate::{Database, Dialect, Error};

const POSTGRES: u32 = 14;
const MYSQL: (u32, u32) = (8, 0);
/// What one of the two long-supported releases of 2021 brought: `SKIP LOCKED`,
/// and `START TRANSACTION READ ONLY` beside a snapshot.
const MARIADB: (u32, u32) = (10, 6);

/// Asks the server for its version and encoding.
pub(crate) async fn check(database: &Database) -> Result<(), Error> {
    let question = match database.dialect() {
        Dialect::Sqlite => "SELECT sqlite_version()",
        Dialect::Postgres => {
            "SELECT current_setting('server_version'), current_setting('server_encoding')"
        }
        Dialect::Mysql => "SELECT VERSION()",
    };
    let rows = database.fetch(question, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Error::invalid("database does not tell its version"))?;
    let version = row.text(0)?;
    let encoding = match database.dialect() {
        Dialect::Postgres => row.text(1)?,
        Dialect::Sqlite | Dialect::Mysql => "UTF8".to_owned(),
    };
    suits(database.dialect(), &version, &encoding).map_err(Error::invalid)
}

fn suits(dialect: Dialect, version: &str, encoding: &str) -> Result<(), String> {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let mariadb = version.contains("MariaDB");
    let wanted = match dialect {
        Dialect::Postgres if major < POSTGRES => format!("PostgreSQL {POSTGRES}"),
        Dialect::Mysql if mariadb && (major, minor) < MARIADB => {
            format!("MariaDB {}.{}", MARIADB.0, MARIADB.1)
        }
        Dialect::Mysql if !mariadb && (major, minor) < MYSQL => {
            format!("MySQL {}.{}", MYSQL.0, MYSQL.1)
        }
        _ if encoding != "UTF8" => {
            return Err(format!("database is encoded in {encoding}, wanted UTF8"));
        }
        _ => return Ok(()),
    };
    Err(format!(
        "server is version {version}, wanted {wanted} or later"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_with_both_versions() {
        for (dialect, version) in [
            (Dialect::Postgres, "14.0 (Debian 14.0-1)"),
            (Dialect::Postgres, "17beta1"),
            (Dialect::Mysql, "8.0.36"),
            (Dialect::Mysql, "10.6.0-MariaDB"),
            (Dialect::Mysql, "11.4.2-MariaDB-1:11.4.2"),
        ] {
            assert_eq!(suits(dialect, version, "UTF8"), Ok(()), "{version}");
        }
        for (dialect, version) in [
            (Dialect::Postgres, "13.11"),
            (Dialect::Mysql, "5.7.44-log"),
            (Dialect::Mysql, "10.5.23-MariaDB"),
        ] {
            let refused = suits(dialect, version, "UTF8").unwrap_err();
            assert!(refused.contains(version), "{refused}");
        }
        assert!(suits(Dialect::Postgres, "15.6", "SQL_ASCII").is_err());
    }
}
