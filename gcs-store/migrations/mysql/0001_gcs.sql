-- What every store needs: who writes, namespaces, rows, the journal before them
-- and the history behind them. Times are milliseconds since the Unix epoch.

CREATE TABLE IF NOT EXISTS gcs_writer (
  id              BIGINT PRIMARY KEY CHECK (id = 1),
  epoch           BIGINT NOT NULL,
  holder          VARCHAR(255) NOT NULL,
  address         VARCHAR(255) NOT NULL,
  beat            BIGINT NOT NULL,
  catalog_version BIGINT NOT NULL,
  catalog_seen    BIGINT NOT NULL,
  folded          BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO gcs_writer (id, epoch, holder, address, beat, catalog_version, catalog_seen, folded)
SELECT 1, 0, '', '', 0, 0, 0, 0 FROM DUAL
WHERE NOT EXISTS (SELECT 1 FROM gcs_writer WHERE id = 1);

CREATE TABLE IF NOT EXISTS gcs_namespace (
  id          BIGINT PRIMARY KEY,
  name        VARCHAR(255) NOT NULL UNIQUE,
  epoch       BIGINT NOT NULL,
  state       VARCHAR(255) NOT NULL,
  quota_bytes BIGINT,
  quota_rows  BIGINT,
  cluster_id  VARBINARY(255),
  created_ms  BIGINT NOT NULL,
  seen_ms     BIGINT NOT NULL,
  deleted_ms  BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_credential (
  ns_id      BIGINT NOT NULL,
  id         BIGINT NOT NULL,
  hash       VARCHAR(255) NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (ns_id, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_row (
  k          VARBINARY(1100) NOT NULL PRIMARY KEY,
  long_field MEDIUMBLOB,
  value      LONGBLOB,
  blob_hash  BINARY(32),
  size       BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  updated_ms BIGINT NOT NULL,
  epoch      BIGINT NOT NULL,
  KEY gcs_row_blob (blob_hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_journal (
  seq     BIGINT PRIMARY KEY,
  epoch   BIGINT NOT NULL,
  at_ms   BIGINT NOT NULL,
  payload LONGBLOB NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_history (
  k             VARBINARY(1100) NOT NULL,
  valid_to_ms   BIGINT NOT NULL,
  seq           BIGINT NOT NULL,
  valid_from_ms BIGINT NOT NULL,
  long_field    MEDIUMBLOB,
  value         LONGBLOB,
  blob_hash     BINARY(32),
  size          BIGINT NOT NULL,
  epoch         BIGINT NOT NULL,
  PRIMARY KEY (k, valid_to_ms, seq),
  KEY gcs_history_age (valid_to_ms),
  KEY gcs_history_blob (blob_hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_blob (
  hash  BINARY(32) NOT NULL,
  chunk BIGINT NOT NULL,
  data  LONGBLOB NOT NULL,
  PRIMARY KEY (hash, chunk)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_blob_info (
  hash       BINARY(32) NOT NULL PRIMARY KEY,
  size       BIGINT NOT NULL,
  chunks     BIGINT NOT NULL,
  touched_ms BIGINT NOT NULL,
  KEY gcs_blob_age (touched_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gcs_incarnation (
  ns_id     BIGINT NOT NULL,
  epoch     BIGINT NOT NULL,
  kind      VARCHAR(255) NOT NULL,
  peer      VARCHAR(255) NOT NULL,
  user_name VARCHAR(255) NOT NULL,
  began_ms  BIGINT NOT NULL,
  fenced_ms BIGINT,
  fenced_by BIGINT,
  PRIMARY KEY (ns_id, epoch)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
