//! How PostgreSQL goes about the statements that meet large tables.

use super::stage::Stage;
use crate::gcs::load;

/// Statements with values in place, and the tables they must not read whole.
fn statements() -> Vec<String> {
    let key = "'\\x0000000000000007'::bytea";
    let end = "'\\x0000000000000008'::bytea";
    let hash = "decode(repeat('00', 32), 'hex')";
    vec![
        format!(
            "SELECT {} FROM gcs_row WHERE k >= {key} AND k < {end} ORDER BY k LIMIT 2000",
            load::COLUMNS
        ),
        format!("DELETE FROM gcs_row WHERE k IN ({key}, {end})"),
        format!(
            "INSERT INTO gcs_history \
             (k, valid_to_ms, seq, valid_from_ms, long_field, value, blob_hash, size, epoch) \
             SELECT k, 1, 1, updated_ms, long_field, value, blob_hash, size, epoch \
             FROM gcs_row WHERE updated_ms <= 5 AND k IN ({key}, {end})"
        ),
        format!(
            "SELECT k FROM gcs_history WHERE k >= {key} AND k < {end} AND valid_to_ms > 1 \
             ORDER BY k, valid_to_ms DESC, seq DESC"
        ),
        "SELECT MIN(valid_to_ms) FROM gcs_history".to_owned(),
        "DELETE FROM gcs_history WHERE valid_to_ms < 5".to_owned(),
        format!("SELECT data FROM gcs_blob WHERE hash = {hash} AND chunk = 1"),
        format!("UPDATE gcs_blob_info SET touched_ms = 1 WHERE hash = {hash} AND chunks > 0"),
        "SELECT hash FROM gcs_blob_info i WHERE touched_ms < 5 \
         AND NOT EXISTS (SELECT 1 FROM gcs_row r WHERE r.blob_hash = i.hash) \
         AND NOT EXISTS (SELECT 1 FROM gcs_history h WHERE h.blob_hash = i.hash) \
         ORDER BY touched_ms LIMIT 50"
            .to_owned(),
    ]
}

pub(super) async fn no_statement_reads_a_large_table_from_end_to_end(stage: &mut Stage) {
    let rows = "SELECT int8send(n % 100 + 1) || decode(md5(n::text), 'hex'), n \
                FROM generate_series(1, 30000) n";
    for fill in [
        format!(
            "INSERT INTO gcs_row (k, value, size, created_ms, updated_ms, epoch) \
             SELECT k, 'x', 1, n, n, 1 FROM ({rows}) AS r (k, n)"
        ),
        format!(
            "INSERT INTO gcs_history (k, valid_to_ms, seq, valid_from_ms, value, size, epoch) \
             SELECT k, n, 1, n, 'x', 1, 1 FROM ({rows}) AS r (k, n)"
        ),
        format!(
            "INSERT INTO gcs_blob_info (hash, size, chunks, touched_ms) \
             SELECT k, 1, 1, n FROM ({rows}) AS r (k, n)"
        ),
        format!(
            "INSERT INTO gcs_blob (hash, chunk, data) SELECT k, 0, 'x' FROM ({rows}) AS r (k, n)"
        ),
    ] {
        stage.database.execute(&fill, &[]).await.unwrap();
    }
    for table in ["gcs_row", "gcs_history", "gcs_blob_info", "gcs_blob"] {
        let analyze = format!("ANALYZE {table}");
        stage.database.execute(&analyze, &[]).await.unwrap();
    }
    for statement in statements() {
        let explain = format!("EXPLAIN {statement}");
        let rows = stage.database.fetch(&explain, &[]).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
        assert!(
            !plan.iter().any(|line| line.contains("Seq Scan")),
            "{statement}\n{}",
            plan.join("\n")
        );
    }
}
