//! Every life of a cluster's head that the store remembers.

use gcs_sql::{Database, Error};
use ray_tables::{Incarnation, Time};

use crate::key::NamespaceId;

/// Those of one namespace, the newest first, as they were at the last fold.
///
/// # Errors
/// The database's.
pub async fn incarnations(
    database: &Database,
    namespace: NamespaceId,
) -> Result<Vec<Incarnation>, Error> {
    let sql = "SELECT epoch, kind, user_name, peer, began_ms, fenced_ms, fenced_by \
               FROM gcs_incarnation WHERE ns_id = ? ORDER BY epoch DESC";
    let rows = database.fetch(sql, &[namespace.0.into()]).await?;
    let read = rows.iter().map(|row| {
        Ok(Incarnation {
            epoch: row.int(0)?,
            kind: row.text(1)?,
            user: row.text(2)?,
            peer: row.text(3)?,
            began: Time::from_ms(row.int(4)?),
            fenced: row.opt_int(5)?.map(Time::from_ms),
            fenced_by: row.opt_int(6)?,
        })
    });
    read.collect()
}
