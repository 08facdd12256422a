-- The one position all tables share. Whoever writes locks this row first.
CREATE TABLE IF NOT EXISTS table_head (
    id BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    compacted BIGINT NOT NULL
);
INSERT INTO table_head (id, revision, compacted) VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING;

-- Each version of each entry, from revision until ended. The version in force
-- ends at 9223372036854775807, a deletion ends where it begins.
CREATE TABLE IF NOT EXISTS table_version (
    name VARCHAR(64) COLLATE "C" NOT NULL,
    k BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL,
    lease BIGINT,
    at_ms BIGINT NOT NULL,
    size BIGINT NOT NULL,
    value BYTEA,
    PRIMARY KEY (name, k, revision)
);
CREATE INDEX IF NOT EXISTS table_version_ended ON table_version (ended, name, k);
CREATE INDEX IF NOT EXISTS table_version_revision ON table_version (revision, name, k);
CREATE INDEX IF NOT EXISTS table_version_lease ON table_version (lease, ended);

-- Leases, by the database's clock.
CREATE TABLE IF NOT EXISTS table_lease (
    id BIGINT NOT NULL PRIMARY KEY,
    ttl_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS table_lease_expires ON table_lease (expires_ms);

-- Who may write under a name, and who might before.
CREATE TABLE IF NOT EXISTS fence (
    name VARCHAR(255) COLLATE "C" NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    holder VARCHAR(255) COLLATE "C" NOT NULL,
    raised_ms BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS fence_history (
    name VARCHAR(255) COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    holder VARCHAR(255) COLLATE "C" NOT NULL,
    raised_ms BIGINT NOT NULL,
    PRIMARY KEY (name, epoch)
);
