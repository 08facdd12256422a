-- The one position all tables share. Whoever writes locks this row first.
CREATE TABLE IF NOT EXISTS table_head (
    id INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    compacted INTEGER NOT NULL
);
INSERT INTO table_head (id, revision, compacted) VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING;

-- Each version of each entry, from revision until ended. The version in force
-- ends at 9223372036854775807, a deletion ends where it begins.
CREATE TABLE IF NOT EXISTS table_version (
    name TEXT NOT NULL,
    k BLOB NOT NULL,
    revision INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    created INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER,
    at_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    value BLOB,
    PRIMARY KEY (name, k, revision)
);
CREATE INDEX IF NOT EXISTS table_version_ended ON table_version (ended, name, k);
CREATE INDEX IF NOT EXISTS table_version_revision ON table_version (revision, name, k);
CREATE INDEX IF NOT EXISTS table_version_lease ON table_version (lease, ended);

-- Leases, by the database's clock.
CREATE TABLE IF NOT EXISTS table_lease (
    id INTEGER NOT NULL PRIMARY KEY,
    ttl_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS table_lease_expires ON table_lease (expires_ms);

-- Who may write under a name, and who might before.
CREATE TABLE IF NOT EXISTS fence (
    name TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    raised_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS fence_history (
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    raised_ms INTEGER NOT NULL,
    PRIMARY KEY (name, epoch)
);
