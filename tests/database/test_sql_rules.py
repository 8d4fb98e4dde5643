"""The rules against a real server: the lock they name is the lock it takes, and what they call a rewrite or a scan is one.

Each statement runs in a transaction that is rolled back; in between, ``pg_locks`` has the strongest lock on anything that
was there before.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from schemahold.core.sql import parse, rules
from schemahold.core.sql.model import Statement
from schemahold.core.sql.rules import effects, functions, nodes

SCHEMA = """
CREATE SCHEMA elsewhere;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
CREATE DOMAIN nickname AS text;
CREATE DOMAIN title AS text;
CREATE TABLE books (title title);
ALTER DOMAIN title ADD CONSTRAINT long CHECK (length(VALUE) > 1) NOT VALID;
CREATE TABLE customers (id int PRIMARY KEY, name text, mail email);
CREATE TABLE orders (
    id int PRIMARY KEY, code varchar(20), note text, short varchar(20), price numeric(10, 2),
    seen timestamp, exact timestamp(3), size int, mood mood, amount int NOT NULL,
    customer int REFERENCES customers, twice int GENERATED ALWAYS AS (amount * 2) STORED,
    CONSTRAINT positive CHECK (amount > 0)
);
INSERT INTO customers VALUES (1, 'x', 'a@b');
INSERT INTO orders (id, code, note, price, amount, customer) VALUES (1, 'a', 'b', 1, 1, 1), (2, 'c', 'd', 2, 2, 1);
CREATE INDEX orders_code ON orders (code);
CREATE UNIQUE INDEX orders_amount ON orders (amount);
ALTER TABLE orders ADD CONSTRAINT loose CHECK (note <> '') NOT VALID;
ALTER TABLE orders ADD CONSTRAINT given CHECK (note IS NOT NULL);
CREATE SEQUENCE numbers;
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER audit AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION guard();
CREATE RULE loud AS ON INSERT TO orders DO ALSO NOTIFY orders;
CREATE POLICY own ON orders USING (true);
CREATE STATISTICS order_stats ON code, note FROM orders;
CREATE VIEW codes AS SELECT code FROM orders;
CREATE MATERIALIZED VIEW totals AS SELECT sum(amount) AS sum FROM orders;
CREATE UNIQUE INDEX totals_sum ON totals (sum);
CREATE TABLE days (day int NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (1) TO (10);
CREATE TABLE days_2 (day int NOT NULL);
CREATE INDEX days_day ON ONLY days (day);
CREATE INDEX days_1_day ON days_1 (day);
CREATE TABLE parents (a int);
CREATE TABLE children (a int) INHERITS (parents);
CREATE TABLE others (a int);
CREATE TYPE pair AS (a int);
"""

STATEMENTS = """
ALTER TABLE orders ADD COLUMN fresh text
ALTER TABLE orders ADD COLUMN fresh text NOT NULL DEFAULT ''
ALTER TABLE orders ADD COLUMN fresh int REFERENCES customers
ALTER TABLE orders DROP COLUMN note
ALTER TABLE orders RENAME COLUMN note TO remark
ALTER TABLE orders RENAME TO purchases
ALTER TABLE orders RENAME CONSTRAINT positive TO above
ALTER TABLE orders SET SCHEMA elsewhere
ALTER TABLE orders OWNER TO CURRENT_USER
ALTER TABLE orders ALTER COLUMN short TYPE varchar(30)
ALTER TABLE orders ALTER COLUMN size TYPE bigint
ALTER TABLE orders ALTER COLUMN code SET NOT NULL
ALTER TABLE orders ALTER COLUMN amount DROP NOT NULL
ALTER TABLE orders ALTER COLUMN note SET DEFAULT 'x'
ALTER TABLE orders ALTER COLUMN note DROP DEFAULT
ALTER TABLE orders ALTER COLUMN amount ADD GENERATED ALWAYS AS IDENTITY
ALTER TABLE orders ALTER COLUMN twice DROP EXPRESSION
ALTER TABLE orders ALTER COLUMN note SET STATISTICS 500
ALTER TABLE orders ALTER COLUMN note SET (n_distinct = 10)
ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL
ALTER TABLE orders ALTER COLUMN note SET COMPRESSION pglz
ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0)
ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT VALID
ALTER TABLE orders ADD CONSTRAINT c FOREIGN KEY (amount) REFERENCES customers NOT VALID
ALTER TABLE orders ADD CONSTRAINT c UNIQUE (note)
ALTER TABLE orders ADD CONSTRAINT c UNIQUE USING INDEX orders_amount
ALTER TABLE orders ADD CONSTRAINT c EXCLUDE (note WITH =)
ALTER TABLE orders VALIDATE CONSTRAINT loose
ALTER TABLE orders ALTER CONSTRAINT orders_customer_fkey DEFERRABLE
ALTER TABLE orders DROP CONSTRAINT positive
ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey
ALTER TABLE orders SET (fillfactor = 70)
ALTER TABLE orders SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)
ALTER TABLE orders SET (user_catalog_table = true)
ALTER TABLE orders CLUSTER ON orders_code
ALTER TABLE orders SET WITHOUT CLUSTER
ALTER TABLE orders SET UNLOGGED
ALTER TABLE orders DISABLE TRIGGER audit
ALTER TABLE orders ENABLE TRIGGER audit
ALTER TABLE orders DISABLE RULE loud
ALTER TABLE orders ENABLE ROW LEVEL SECURITY
ALTER TABLE orders REPLICA IDENTITY FULL
ALTER TABLE others INHERIT parents
ALTER TABLE children NO INHERIT parents
ALTER TABLE others OF pair
ALTER TABLE days ATTACH PARTITION days_2 FOR VALUES FROM (10) TO (20)
ALTER TABLE days DETACH PARTITION days_1
ALTER INDEX days_day ATTACH PARTITION days_1_day
ALTER INDEX orders_code RENAME TO by_code
ALTER INDEX orders_code SET (fillfactor = 70)
ALTER VIEW codes SET (security_barrier = true)
ALTER SEQUENCE numbers RESTART
ALTER TRIGGER audit ON orders RENAME TO watch
ALTER POLICY own ON orders USING (false)
ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 99)
ALTER DOMAIN email SET NOT NULL
ALTER DOMAIN title ADD CONSTRAINT short CHECK (length(VALUE) < 99) NOT VALID
ALTER DOMAIN title VALIDATE CONSTRAINT long
ALTER TYPE mood ADD VALUE 'mixed'
ALTER TYPE mood RENAME VALUE 'bad' TO 'worse'
CREATE TABLE fresh (id int REFERENCES customers)
CREATE TABLE fresh (LIKE orders)
CREATE TABLE fresh () INHERITS (parents)
CREATE TABLE fresh PARTITION OF days FOR VALUES FROM (20) TO (30)
CREATE TABLE fresh AS SELECT * FROM orders
CREATE INDEX fresh ON orders (note)
CREATE UNIQUE INDEX fresh ON orders (note)
DROP INDEX orders_code
REINDEX TABLE orders
REINDEX INDEX orders_code
CREATE TRIGGER fresh BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION guard()
DROP TRIGGER audit ON orders
CREATE RULE fresh AS ON INSERT TO orders DO ALSO NOTIFY orders
DROP RULE loud ON orders
CREATE POLICY fresh ON orders USING (true)
DROP POLICY own ON orders
CREATE STATISTICS fresh ON id, note FROM orders
DROP STATISTICS order_stats
CREATE PUBLICATION fresh FOR TABLE orders
CREATE OR REPLACE VIEW codes AS SELECT code, note FROM orders
REFRESH MATERIALIZED VIEW totals
REFRESH MATERIALIZED VIEW CONCURRENTLY totals
DROP MATERIALIZED VIEW totals
DROP VIEW codes
DROP SEQUENCE numbers
DROP TABLE others
TRUNCATE others
CLUSTER orders USING orders_code
ANALYZE orders
LOCK TABLE orders IN SHARE MODE
COMMENT ON TABLE orders IS 'x'
INSERT INTO others VALUES (1)
UPDATE orders SET note = '' WHERE id = 5
DELETE FROM others WHERE a = 5
SELECT * FROM orders
SELECT * FROM orders LIMIT 1 FOR UPDATE
COPY others FROM '/dev/null'
""".strip().splitlines()

NEWER = [
    ("ALTER TABLE orders ADD CONSTRAINT c NOT NULL note NOT VALID", 18),
    ("ALTER TABLE orders ADD COLUMN fresh int GENERATED ALWAYS AS (amount) VIRTUAL", 18),
    ("ALTER TABLE orders ADD CONSTRAINT c FOREIGN KEY (amount) REFERENCES customers NOT ENFORCED", 18),
    ("ALTER TABLE orders ALTER CONSTRAINT orders_customer_fkey NOT ENFORCED", 18),
    ("ALTER TABLE orders ALTER COLUMN twice SET EXPRESSION AS (amount * 3)", 17),
    ("MERGE INTO others USING (VALUES (1)) v (a) ON others.a = v.a WHEN MATCHED THEN DELETE", 15),
]

BEFORE = "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace"
HELD = "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation = ANY(%s)"
MODES = {mode.replace(" ", "").lower() + "lock": mode for mode in effects.LOCKS if mode}


@pytest.fixture(scope="module")
def connection(server) -> Iterator[psycopg.Connection]:
    with server.connect() as admin:
        admin.execute("CREATE DATABASE sql_rules")
    with server.connect("sql_rules") as made:
        for statement in SCHEMA.strip().split(";\n"):
            made.execute(statement)
        yield made
    with server.connect() as admin:
        admin.execute("DROP DATABASE sql_rules WITH (FORCE)")


def strongest_lock(connection: psycopg.Connection, statement: str) -> str:
    """On anything of the schema that was there before."""
    before = [row[0] for row in connection.execute(BEFORE)]
    with connection.transaction(force_rollback=True):
        connection.execute(statement)
        held = connection.execute(HELD, [before]).fetchall()
    return effects.strongest(MODES[mode.lower()] for (mode,) in held)


def reading(connection: psycopg.Connection, statement: str, *before: str) -> rules.Reading:
    """What the rules say, knowing the schema, and in a transaction what came ``before``."""
    scene = rules.Scene(server_version=connection.info.server_version)
    for each in SCHEMA.strip().split(";\n"):
        rules.read(parse.parse(Statement(number=1, line=1, text=each)), scene)
    scene.end()
    for each in before:
        rules.read(parse.parse(Statement(number=1, line=1, text=each)), scene)
    return rules.read(parse.parse(Statement(number=1, line=1, text=statement)), scene)


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", STATEMENTS)
def test_lock(connection, statement: str) -> None:
    assert reading(connection, statement).lock == strongest_lock(connection, statement)


@pytest.mark.parametrize(("statement", "version"), NEWER)
def test_lock_of_newer_syntax(connection, statement: str, version: int) -> None:
    """An older server refuses the syntax, as the rule says."""
    found = reading(connection, statement)
    refused = any(effect.rule == "newer-syntax" for effect in found.effects)
    assert refused == (connection.info.server_version < version * 10000)
    if refused:
        with pytest.raises(psycopg.errors.SyntaxError):
            strongest_lock(connection, statement)
    else:
        assert found.lock == strongest_lock(connection, statement)


# --- rewrites and scans -----------------------------------------------------------------------------------------------

REWRITES = {"add-column-rewrite", "change-column-type-rewrite", "rewrite-table"}

COLUMNS = """
ALTER TABLE orders ADD COLUMN fresh text
ALTER TABLE orders ADD COLUMN fresh text DEFAULT 'x'
ALTER TABLE orders ADD COLUMN fresh timestamptz NOT NULL DEFAULT now()
ALTER TABLE orders ADD COLUMN fresh text DEFAULT lower('X') || current_setting('work_mem')
ALTER TABLE orders ADD COLUMN fresh uuid DEFAULT gen_random_uuid()
ALTER TABLE orders ADD COLUMN fresh timestamptz DEFAULT clock_timestamp()
ALTER TABLE orders ADD COLUMN fresh text DEFAULT md5(random()::text)
ALTER TABLE orders ADD COLUMN fresh serial
ALTER TABLE orders ADD COLUMN fresh int GENERATED BY DEFAULT AS IDENTITY
ALTER TABLE orders ADD COLUMN fresh int GENERATED ALWAYS AS (amount + 1) STORED
ALTER TABLE orders ADD COLUMN fresh email
ALTER TABLE orders ADD COLUMN fresh nickname
ALTER TABLE orders ADD COLUMN fresh mood DEFAULT 'good'
ALTER TABLE orders ADD COLUMN fresh int REFERENCES customers
ALTER TABLE orders ALTER COLUMN short TYPE varchar(20)
ALTER TABLE orders ALTER COLUMN short TYPE varchar(40)
ALTER TABLE orders ALTER COLUMN short TYPE varchar(10)
ALTER TABLE orders ALTER COLUMN short TYPE varchar
ALTER TABLE orders ALTER COLUMN short TYPE text
ALTER TABLE orders ALTER COLUMN short TYPE char(20)
ALTER TABLE orders ALTER COLUMN note TYPE varchar(10)
ALTER TABLE orders ALTER COLUMN note TYPE varchar
ALTER TABLE orders ALTER COLUMN note TYPE text USING note || 'x'
ALTER TABLE orders ALTER COLUMN price TYPE numeric(12, 2)
ALTER TABLE orders ALTER COLUMN price TYPE numeric(12, 3)
ALTER TABLE orders ALTER COLUMN price TYPE numeric(5, 2)
ALTER TABLE orders ALTER COLUMN price TYPE numeric
ALTER TABLE orders ALTER COLUMN size TYPE bigint
ALTER TABLE orders ALTER COLUMN size TYPE text
ALTER TABLE orders ALTER COLUMN seen TYPE timestamp(3)
ALTER TABLE orders ALTER COLUMN exact TYPE timestamp(5)
ALTER TABLE orders ALTER COLUMN exact TYPE timestamp
ALTER TABLE orders ALTER COLUMN mood TYPE text
ALTER TABLE orders SET UNLOGGED
ALTER TABLE orders SET (fillfactor = 70)
ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL
ALTER TABLE orders ALTER COLUMN amount ADD GENERATED ALWAYS AS IDENTITY
CLUSTER orders USING orders_code
""".strip().splitlines()


def rewritten(connection: psycopg.Connection, statement: str, zone: str) -> bool:
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL timezone = '{zone}'")
        before = connection.execute("SELECT pg_relation_filenode('orders')").fetchone()
        connection.execute(statement)
        return before != connection.execute("SELECT pg_relation_filenode('orders')").fetchone()


def predicted(connection: psycopg.Connection, statement: str, *before: str) -> bool:
    return any(effect.rule in REWRITES for effect in reading(connection, statement, *before).effects)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("statement", COLUMNS)
def test_rewrite(connection, statement: str, zone: str) -> None:
    assert rewritten(connection, statement, zone) == predicted(connection, statement)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_rewrite_by_time_zone(connection, zone: str) -> None:
    statement = "ALTER TABLE orders ALTER COLUMN seen TYPE timestamptz"
    assert rewritten(connection, statement, zone) == predicted(connection, statement, f"SET LOCAL timezone = '{zone}'")
    assert predicted(connection, statement)


@pytest.mark.parametrize(
    ("statement", "scanned"),
    [
        ("ALTER TABLE orders ALTER COLUMN code SET NOT NULL", True),
        ("ALTER TABLE orders ALTER COLUMN note SET NOT NULL", False),
        ("ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0)", True),
        ("ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT VALID", False),
        ("ALTER TABLE orders ADD COLUMN fresh int CHECK (fresh > 0)", True),
        ("ALTER TABLE orders ADD COLUMN fresh int DEFAULT 1", False),
        ("ALTER TABLE orders ADD COLUMN fresh int REFERENCES orders", False),
        ("ALTER TABLE orders DROP COLUMN note", False),
    ],
)
def test_scan(connection, statement: str, scanned: bool) -> None:
    count = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'orders'"
    with connection.transaction(force_rollback=True):
        before = connection.execute(count).fetchone()
        connection.execute(statement)
        after = connection.execute(count).fetchone()
    assert (after != before) == scanned
    assert any(effect.table for effect in reading(connection, statement).effects) == scanned


# --- what the rules take from the server's own catalog ----------------------------------------------------------------


def test_functions_are_as_volatile_as_the_rules_say(connection) -> None:
    volatile = "SELECT proname FROM pg_proc WHERE provolatile = 'v' AND pronamespace = 'pg_catalog'::regnamespace"
    assert functions.NOT_VOLATILE & {row[0] for row in connection.execute(volatile)} == set()
    known = {row[0] for row in connection.execute("SELECT proname FROM pg_proc")}
    assert functions.HARMLESS - known <= {"any_value", "uuidv4", "uuidv7"}  # which newer servers have


def test_types_are_no_domains(connection) -> None:
    in_catalog = "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype <> 'd'"
    types = {row[0] for row in connection.execute(in_catalog)}
    assert " ".join(sorted(nodes.BUILT_IN - nodes.SERIAL - types)) == (
        "citext cube geography geometry halfvec hstore isbn lquery ltree raster seg sparsevec vector"
    )


def test_a_new_enum_value_cannot_be_used_in_its_transaction(connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("ALTER TYPE mood ADD VALUE 'mixed'")
        with pytest.raises(psycopg.errors.UnsafeNewEnumValueUsage):
            connection.execute("UPDATE orders SET mood = 'mixed'")
