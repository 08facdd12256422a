-- What every store needs: who writes, namespaces, rows, the journal before them
-- and the history behind them. Times are milliseconds since the Unix epoch.

CREATE TABLE IF NOT EXISTS gcs_writer (
  id              BIGINT PRIMARY KEY CHECK (id = 1),
  epoch           BIGINT NOT NULL,
  holder          TEXT    NOT NULL,
  address         TEXT    NOT NULL,
  beat            BIGINT NOT NULL,
  catalog_version BIGINT NOT NULL,
  catalog_seen    BIGINT NOT NULL,
  folded          BIGINT NOT NULL
);

INSERT INTO gcs_writer (id, epoch, holder, address, beat, catalog_version, catalog_seen, folded)
SELECT 1, 0, '', '', 0, 0, 0, 0
WHERE NOT EXISTS (SELECT 1 FROM gcs_writer WHERE id = 1);

CREATE TABLE IF NOT EXISTS gcs_namespace (
  id          BIGINT PRIMARY KEY,
  name        TEXT    NOT NULL UNIQUE COLLATE "C",
  epoch       BIGINT NOT NULL,
  state       TEXT    NOT NULL,
  quota_bytes BIGINT,
  quota_rows  BIGINT,
  cluster_id  BYTEA,
  created_ms  BIGINT NOT NULL,
  seen_ms     BIGINT NOT NULL,
  deleted_ms  BIGINT
);

CREATE TABLE IF NOT EXISTS gcs_credential (
  ns_id      BIGINT NOT NULL,
  id         BIGINT NOT NULL,
  hash       TEXT    NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (ns_id, id)
);

CREATE TABLE IF NOT EXISTS gcs_row (
  k          BYTEA   NOT NULL PRIMARY KEY,
  long_field BYTEA,
  value      BYTEA,
  blob_hash  BYTEA,
  size       BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  updated_ms BIGINT NOT NULL,
  epoch      BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS gcs_row_blob ON gcs_row (blob_hash) WHERE blob_hash IS NOT NULL;

CREATE TABLE IF NOT EXISTS gcs_journal (
  seq     BIGINT PRIMARY KEY,
  epoch   BIGINT NOT NULL,
  at_ms   BIGINT NOT NULL,
  payload BYTEA   NOT NULL
);

CREATE TABLE IF NOT EXISTS gcs_history (
  k             BYTEA   NOT NULL,
  valid_to_ms   BIGINT NOT NULL,
  seq           BIGINT NOT NULL,
  valid_from_ms BIGINT NOT NULL,
  long_field    BYTEA,
  value         BYTEA,
  blob_hash     BYTEA,
  size          BIGINT NOT NULL,
  epoch         BIGINT NOT NULL,
  PRIMARY KEY (k, valid_to_ms, seq)
);

CREATE INDEX IF NOT EXISTS gcs_history_age ON gcs_history (valid_to_ms);
CREATE INDEX IF NOT EXISTS gcs_history_blob ON gcs_history (blob_hash) WHERE blob_hash IS NOT NULL;

CREATE TABLE IF NOT EXISTS gcs_blob (
  hash  BYTEA   NOT NULL,
  chunk BIGINT NOT NULL,
  data  BYTEA   NOT NULL,
  PRIMARY KEY (hash, chunk)
);

CREATE TABLE IF NOT EXISTS gcs_blob_info (
  hash       BYTEA   NOT NULL PRIMARY KEY,
  size       BIGINT NOT NULL,
  chunks     BIGINT NOT NULL,
  touched_ms BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS gcs_blob_age ON gcs_blob_info (touched_ms);

CREATE TABLE IF NOT EXISTS gcs_incarnation (
  ns_id     BIGINT NOT NULL,
  epoch     BIGINT NOT NULL,
  kind      TEXT    NOT NULL,
  peer      TEXT    NOT NULL,
  user_name TEXT    NOT NULL,
  began_ms  BIGINT NOT NULL,
  fenced_ms BIGINT,
  fenced_by BIGINT,
  PRIMARY KEY (ns_id, epoch)
);
