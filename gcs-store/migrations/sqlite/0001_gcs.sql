-- What every store needs: who writes, namespaces, rows, the journal before them
-- and the history behind them. Times are milliseconds since the Unix epoch.

CREATE TABLE IF NOT EXISTS gcs_writer (
  id              INTEGER PRIMARY KEY CHECK (id = 1),
  epoch           INTEGER NOT NULL,
  holder          TEXT    NOT NULL,
  address         TEXT    NOT NULL,
  beat            INTEGER NOT NULL,
  catalog_version INTEGER NOT NULL,
  catalog_seen    INTEGER NOT NULL,
  folded          INTEGER NOT NULL
);

INSERT INTO gcs_writer (id, epoch, holder, address, beat, catalog_version, catalog_seen, folded)
SELECT 1, 0, '', '', 0, 0, 0, 0
WHERE NOT EXISTS (SELECT 1 FROM gcs_writer WHERE id = 1);

CREATE TABLE IF NOT EXISTS gcs_namespace (
  id          INTEGER PRIMARY KEY,
  name        TEXT    NOT NULL UNIQUE COLLATE BINARY,
  epoch       INTEGER NOT NULL,
  state       TEXT    NOT NULL,
  quota_bytes INTEGER,
  quota_rows  INTEGER,
  cluster_id  BLOB,
  created_ms  INTEGER NOT NULL,
  seen_ms     INTEGER NOT NULL,
  deleted_ms  INTEGER
);

CREATE TABLE IF NOT EXISTS gcs_credential (
  ns_id      INTEGER NOT NULL,
  id         INTEGER NOT NULL,
  hash       TEXT    NOT NULL,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (ns_id, id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS gcs_row (
  k          BLOB    NOT NULL PRIMARY KEY,
  long_field BLOB,
  value      BLOB,
  blob_hash  BLOB,
  size       INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  epoch      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS gcs_row_blob ON gcs_row (blob_hash) WHERE blob_hash IS NOT NULL;

CREATE TABLE IF NOT EXISTS gcs_journal (
  seq     INTEGER PRIMARY KEY,
  epoch   INTEGER NOT NULL,
  at_ms   INTEGER NOT NULL,
  payload BLOB    NOT NULL
);

CREATE TABLE IF NOT EXISTS gcs_history (
  k             BLOB    NOT NULL,
  valid_to_ms   INTEGER NOT NULL,
  seq           INTEGER NOT NULL,
  valid_from_ms INTEGER NOT NULL,
  long_field    BLOB,
  value         BLOB,
  blob_hash     BLOB,
  size          INTEGER NOT NULL,
  epoch         INTEGER NOT NULL,
  PRIMARY KEY (k, valid_to_ms, seq)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS gcs_history_age ON gcs_history (valid_to_ms);
CREATE INDEX IF NOT EXISTS gcs_history_blob ON gcs_history (blob_hash) WHERE blob_hash IS NOT NULL;

CREATE TABLE IF NOT EXISTS gcs_blob (
  hash  BLOB    NOT NULL,
  chunk INTEGER NOT NULL,
  data  BLOB    NOT NULL,
  PRIMARY KEY (hash, chunk)
);

CREATE TABLE IF NOT EXISTS gcs_blob_info (
  hash       BLOB    NOT NULL PRIMARY KEY,
  size       INTEGER NOT NULL,
  chunks     INTEGER NOT NULL,
  touched_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS gcs_blob_age ON gcs_blob_info (touched_ms);

CREATE TABLE IF NOT EXISTS gcs_incarnation (
  ns_id     INTEGER NOT NULL,
  epoch     INTEGER NOT NULL,
  kind      TEXT    NOT NULL,
  peer      TEXT    NOT NULL,
  user_name TEXT    NOT NULL,
  began_ms  INTEGER NOT NULL,
  fenced_ms INTEGER,
  fenced_by INTEGER,
  PRIMARY KEY (ns_id, epoch)
) WITHOUT ROWID;
