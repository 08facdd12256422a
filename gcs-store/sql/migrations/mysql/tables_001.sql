-- The one position all tables share. Whoever writes locks this row first.
CREATE TABLE IF NOT EXISTS table_head (
    id BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    compacted BIGINT NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO table_head (id, revision, compacted) VALUES (1, 0, 0);

-- Each version of each entry, from revision until ended. The version in force
-- ends at 9223372036854775807, a deletion ends where it begins.
CREATE TABLE IF NOT EXISTS table_version (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    k VARBINARY(512) NOT NULL,
    revision BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL,
    lease BIGINT,
    at_ms BIGINT NOT NULL,
    size BIGINT NOT NULL,
    value LONGBLOB,
    PRIMARY KEY (name, k, revision),
    INDEX table_version_ended (ended, name, k),
    INDEX table_version_revision (revision, name, k),
    INDEX table_version_lease (lease, ended)
) ENGINE=InnoDB;

-- Leases, by the database's clock.
CREATE TABLE IF NOT EXISTS table_lease (
    id BIGINT NOT NULL PRIMARY KEY,
    ttl_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    INDEX table_lease_expires (expires_ms)
) ENGINE=InnoDB;

-- Who may write under a name, and who might before.
CREATE TABLE IF NOT EXISTS fence (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    holder VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    raised_ms BIGINT NOT NULL
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS fence_history (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    epoch BIGINT NOT NULL,
    holder VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    raised_ms BIGINT NOT NULL,
    PRIMARY KEY (name, epoch)
) ENGINE=InnoDB;
