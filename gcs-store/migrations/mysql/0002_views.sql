-- The rows of all clusters with their keys taken apart, for people and tools.
-- They show what has been folded from the journal: a few seconds behind.

CREATE OR REPLACE VIEW ray_rows AS
SELECT namespace, table_name, field,
  HEX(field) AS field_hex,
  CASE WHEN table_name = 'KV' THEN CONVERT(field USING utf8mb4) END AS field_text,
  size, value, blob_hash, epoch,
  TIMESTAMPADD(MICROSECOND, created_ms * 1000, TIMESTAMP '1970-01-01 00:00:00') AS created_at,
  TIMESTAMPADD(MICROSECOND, updated_ms * 1000, TIMESTAMP '1970-01-01 00:00:00') AS updated_at
FROM (
  SELECT n.name AS namespace,
    CONVERT(SUBSTRING(r.k, 10, ORD(SUBSTRING(r.k, 9, 1))) USING utf8mb4) AS table_name,
    COALESCE(r.long_field, SUBSTRING(r.k, 10 + ORD(SUBSTRING(r.k, 9, 1)))) AS field,
    r.size, r.value, r.blob_hash, r.epoch, r.created_ms, r.updated_ms
  FROM gcs_namespace n
  JOIN gcs_row r
    ON r.k >= UNHEX(LPAD(HEX(n.id), 16, '0')) AND r.k < UNHEX(LPAD(HEX(n.id + 1), 16, '0'))
  WHERE n.deleted_ms IS NULL
) AS parts;
