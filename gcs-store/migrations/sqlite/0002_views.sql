-- The rows of all clusters with their keys taken apart, for people and tools.
-- They show what has been folded from the journal: a few seconds behind.

DROP VIEW IF EXISTS ray_rows;

CREATE VIEW ray_rows AS
SELECT namespace, table_name, field,
  hex(field) AS field_hex,
  CASE WHEN table_name = 'KV' THEN CAST(field AS TEXT) END AS field_text,
  size, value, blob_hash, epoch,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_ms / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', updated_ms / 1000.0, 'unixepoch') AS updated_at
FROM (
  SELECT n.name AS namespace,
    -- A byte below 128 is a letter of its own: the name's length, at most 64.
    CAST(substr(r.k, 10, unicode(CAST(substr(r.k, 9, 1) AS TEXT))) AS TEXT) AS table_name,
    coalesce(r.long_field, substr(r.k, 10 + unicode(CAST(substr(r.k, 9, 1) AS TEXT)))) AS field,
    r.size, r.value, r.blob_hash, r.epoch, r.created_ms, r.updated_ms
  FROM gcs_row r
  JOIN gcs_namespace n ON hex(substr(r.k, 1, 8)) = printf('%016X', n.id)
  WHERE n.deleted_ms IS NULL
);
