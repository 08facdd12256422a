-- The rows of all clusters with their keys taken apart, and Ray's main tables
-- decoded, for people and tools. They show what has been folded from the
-- journal: a few seconds behind. Values above 16 KiB stand in gcs_blob and are
-- not decoded here.

DROP VIEW IF EXISTS ray_nodes, ray_actors, ray_jobs, ray_placement_groups;
DROP VIEW IF EXISTS ray_rows;

-- The fields of a protobuf message, each under its number: the bytes of the
-- last one if there are several. Numbers above 63 are skipped. NULL if the
-- bytes are no message.
CREATE OR REPLACE FUNCTION ray_message(message bytea) RETURNS bytea[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  data   bytea := message || ''::bytea;  -- unpacked once, not at every byte
  size   int := length(message);
  at     int := 0;
  first  int;
  byte   int;
  shift  int;
  number bigint;
  length bigint;
  fields bytea[] := '{}';
BEGIN
  WHILE at < size LOOP
    number := 0;
    shift := 0;
    LOOP
      IF at >= size OR shift > 28 THEN RETURN NULL; END IF;
      byte := get_byte(data, at);
      at := at + 1;
      number := number | ((byte & 127)::bigint << shift);
      EXIT WHEN byte < 128;
      shift := shift + 7;
    END LOOP;
    first := at;
    CASE number & 7
    WHEN 0 THEN
      LOOP
        IF at >= size OR at - first > 9 THEN RETURN NULL; END IF;
        at := at + 1;
        EXIT WHEN get_byte(data, at - 1) < 128;
      END LOOP;
    WHEN 1 THEN
      at := at + 8;
    WHEN 2 THEN
      length := 0;
      shift := 0;
      LOOP
        IF at >= size OR shift > 28 THEN RETURN NULL; END IF;
        byte := get_byte(data, at);
        at := at + 1;
        length := length | ((byte & 127)::bigint << shift);
        EXIT WHEN byte < 128;
        shift := shift + 7;
      END LOOP;
      IF length > size - at THEN RETURN NULL; END IF;
      first := at;
      at := at + length::int;
    WHEN 5 THEN
      at := at + 4;
    ELSE
      RETURN NULL;
    END CASE;
    number := number >> 3;
    IF at > size OR number = 0 THEN RETURN NULL; END IF;
    IF number < 64 THEN
      fields[number::int] := substring(data FROM first + 1 FOR at - first);
    END IF;
  END LOOP;
  RETURN fields;
END $$;

-- The message of a row, if it is about what the row's field says: bytes of
-- another kind often pass for a message.
CREATE OR REPLACE FUNCTION ray_row(field bytea, value bytea) RETURNS bytea[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  message bytea[] := ray_message(value);
BEGIN
  RETURN CASE WHEN message[1] = field THEN message END;
END $$;

-- What follows reads field `nth` of a message, and is NULL without a message.

-- A message within the message.
CREATE OR REPLACE FUNCTION ray_part(message bytea[], nth int) RETURNS bytea[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ray_message(message[nth])
$$;

-- A number; 0 where it is left out.
CREATE OR REPLACE FUNCTION ray_number(message bytea[], nth int) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  field  bytea := message[nth];
  number bigint := 0;
BEGIN
  FOR at IN 0 .. least(coalesce(length(field), 0), 10) - 1 LOOP
    number := number | ((get_byte(field, at) & 127)::bigint << (7 * at));
  END LOOP;
  RETURN number;
END $$;

-- Text, or NULL where it is left out; bytes that are no text are escaped.
CREATE OR REPLACE FUNCTION ray_text(message bytea[], nth int) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN nullif(convert_from(message[nth], 'UTF8'), '');
EXCEPTION WHEN others THEN
  RETURN encode(message[nth], 'escape');
END $$;

-- An id as Ray prints it; NULL for one that is left out or nobody's.
CREATE OR REPLACE FUNCTION ray_id(message bytea[], nth int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT nullif(encode(message[nth], 'hex'), repeat('ff', length(message[nth])))
$$;

-- A time in milliseconds; NULL for 0 and for what no clock shows.
CREATE OR REPLACE FUNCTION ray_time(message bytea[], nth int) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN ray_number(message, nth) BETWEEN 1 AND 253402300799999
    THEN to_timestamp(ray_number(message, nth) / 1000.0) END
$$;

-- The name of a state; names are counted from 0.
CREATE OR REPLACE FUNCTION ray_name(message bytea[], nth int, VARIADIC names text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN ray_number(message, nth) BETWEEN 0 AND cardinality(names) - 1
      THEN names[ray_number(message, nth)::int + 1]
    ELSE 'UNKNOWN(' || ray_number(message, nth) || ')'
  END
$$;

CREATE VIEW ray_rows AS
SELECT namespace, table_name, field,
  encode(field, 'hex') AS field_hex,
  CASE WHEN table_name = 'KV' THEN encode(field, 'escape') END AS field_text,
  size, value, blob_hash, epoch,
  to_timestamp(created_ms / 1000.0) AS created_at,
  to_timestamp(updated_ms / 1000.0) AS updated_at
FROM (
  SELECT n.name AS namespace,
    encode(substring(r.k FROM 10 FOR get_byte(r.k, 8)), 'escape') AS table_name,
    coalesce(r.long_field, substring(r.k FROM 10 + get_byte(r.k, 8))) AS field,
    r.size, r.value, r.blob_hash, r.epoch, r.created_ms, r.updated_ms
  FROM gcs_namespace n
  JOIN gcs_row r ON r.k >= int8send(n.id) AND r.k < int8send(n.id + 1)
  WHERE n.deleted_ms IS NULL
) AS parts;

CREATE VIEW ray_nodes AS
SELECT r.namespace,
  r.field_hex AS node_id,
  ray_name(m, 7, 'ALIVE', 'DEAD') AS state,
  ray_number(m, 25) <> 0 AS is_head,
  ray_text(m, 12) AS node_name,
  ray_text(m, 8) AS host,
  ray_text(m, 2) AS ip,
  ray_number(m, 5) AS raylet_port,
  ray_time(m, 23) AS started_at,
  ray_time(m, 24) AS ended_at,
  ray_text(ray_part(m, 29), 2) AS death,
  m IS NOT NULL AS readable,
  r.updated_at
FROM ray_rows r CROSS JOIN LATERAL ray_row(r.field, r.value) AS m
WHERE r.table_name = 'NODE';

CREATE VIEW ray_actors AS
SELECT r.namespace,
  r.field_hex AS actor_id,
  ray_name(m, 6, 'DEPENDENCIES_UNREADY', 'PENDING_CREATION', 'ALIVE', 'RESTARTING', 'DEAD')
    AS state,
  ray_text(m, 23) AS class_name,
  ray_text(m, 12) AS name,
  ray_text(m, 19) AS ray_namespace,
  ray_number(m, 11) <> 0 AS is_detached,
  ray_id(m, 4) AS job_id,
  coalesce(ray_id(ray_part(m, 9), 1), ray_id(m, 29)) AS node_id,
  ray_text(ray_part(m, 9), 2) AS ip,
  nullif(ray_number(m, 16), 0) AS pid,
  ray_number(m, 8) AS restarts,
  ray_number(m, 7) AS max_restarts,
  ray_time(m, 20) AS started_at,
  ray_time(m, 21) AS ended_at,
  ray_text(ray_part(ray_part(m, 24), 3), 1) AS death,
  m IS NOT NULL AS readable,
  r.updated_at
FROM ray_rows r CROSS JOIN LATERAL ray_row(r.field, r.value) AS m
WHERE r.table_name = 'ACTOR';

CREATE VIEW ray_jobs AS
SELECT r.namespace,
  r.field_hex AS job_id,
  CASE WHEN length(r.field) = 4 THEN
    get_byte(r.field, 0)::bigint + (get_byte(r.field, 1)::bigint << 8)
      + (get_byte(r.field, 2)::bigint << 16) + (get_byte(r.field, 3)::bigint << 24)
  END AS job_number,
  ray_number(m, 2) <> 0 AS is_dead,
  ray_text(m, 4) AS driver_ip,
  ray_number(m, 5) AS driver_pid,
  ray_id(ray_part(m, 12), 1) AS driver_node_id,
  ray_text(ray_part(m, 6), 5) AS ray_namespace,
  ray_text(m, 9) AS entrypoint,
  ray_time(m, 7) AS started_at,
  ray_time(m, 8) AS ended_at,
  m IS NOT NULL AS readable,
  r.updated_at
FROM ray_rows r CROSS JOIN LATERAL ray_row(r.field, r.value) AS m
WHERE r.table_name = 'JOB';

CREATE VIEW ray_placement_groups AS
SELECT r.namespace,
  r.field_hex AS group_id,
  ray_name(m, 5, 'PENDING', 'PREPARED', 'CREATED', 'REMOVED', 'RESCHEDULING') AS state,
  ray_text(m, 2) AS name,
  ray_text(m, 11) AS ray_namespace,
  ray_name(m, 4, 'PACK', 'SPREAD', 'STRICT_PACK', 'STRICT_SPREAD') AS strategy,
  ray_number(m, 10) <> 0 AS is_detached,
  ray_id(m, 6) AS creator_job_id,
  ray_time(m, 15) AS requested_at,
  m IS NOT NULL AS readable,
  r.updated_at
FROM ray_rows r CROSS JOIN LATERAL ray_row(r.field, r.value) AS m
WHERE r.table_name = 'PLACEMENT_GROUP';
