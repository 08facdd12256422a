//! Whether a running store goes by a change of the catalog already.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    Error,
    catalog::{Catalog, Version},
};

/// A store that gave no sign for so long does not run; it looks at the catalog
/// each second.
const SILENCE: Duration = Duration::from_secs(3);

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// How far a change has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// The active store goes by it.
    Now,
    /// No store runs; the next one will go by it from its start.
    Later,
    /// A store is registered and does not answer. When it does, it will go by
    /// the change within a second.
    Unknown,
}

impl Catalog {
    /// Waits until the active store goes by `version`, if there is one.
    ///
    /// # Errors
    /// What the database says; the change is made nevertheless.
    pub async fn applied(&self, version: Version) -> Result<Applied, Error> {
        let sql = "SELECT holder, epoch, beat, catalog_seen FROM gcs_writer WHERE id = 1";
        let mut last = None;
        let mut heard = Instant::now();
        loop {
            let rows = self.database.fetch(sql, &[]).await?;
            let row = rows
                .first()
                .ok_or_else(|| gcs_sql::Error::invalid("the tables of the store are not set up"))?;
            if row.text(0)?.is_empty() {
                return Ok(Applied::Later);
            }
            if row.int(3)? >= version.0 {
                return Ok(Applied::Now);
            }
            let sign = Some((row.int(1)?, row.int(2)?));
            if sign != last {
                last = sign;
                heard = Instant::now();
            }
            if heard.elapsed() > SILENCE {
                return Ok(Applied::Unknown);
            }
            sleep(PERIOD).await;
        }
    }
}
