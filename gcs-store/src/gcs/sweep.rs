//! Deletes what nobody needs any more, a little at a time.

use std::time::Duration;

use gcs_sql::{Database, Error};

use super::{blob, clock::now_ms, engine::Settings, patience::chain};

/// Blobs deleted at one time.
const BLOBS: i64 = 50;

/// History of this length is deleted at one time.
const STRETCH_MS: i64 = 10 * 60_000;

/// Stretches deleted at one time.
const STRETCHES: usize = 6;

/// Deletes old history and what only it referred to. `calm`: no command can
/// refer to a blob that was stored before the grace.
///
/// An error is only told: the next sweep does it.
pub(super) async fn sweep(database: &Database, settings: &Settings, calm: bool) {
    let outcome = async {
        history(database, now_ms() - millis(settings.history)).await?;
        if calm {
            blob::sweep(database, now_ms() - millis(settings.blob_grace), BLOBS).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = outcome.await {
        tracing::warn!(
            error = chain(&error),
            "could not delete what is out of date"
        );
    }
}

/// Deletes before-images that ended before `before`, oldest first.
async fn history(database: &Database, before: i64) -> Result<(), Error> {
    for _ in 0..STRETCHES {
        let oldest = database
            .fetch("SELECT MIN(valid_to_ms) FROM gcs_history", &[])
            .await?;
        let oldest = oldest.first().map(|row| row.opt_int(0)).transpose()?;
        let Some(oldest) = oldest.flatten().filter(|oldest| *oldest < before) else {
            return Ok(());
        };
        database
            .execute(
                "DELETE FROM gcs_history WHERE valid_to_ms < ?",
                &[(oldest + STRETCH_MS).min(before).into()],
            )
            .await?;
    }
    Ok(())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
