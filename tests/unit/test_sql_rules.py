"""The rules, statement by statement (the corpus) and in sequences, where an earlier one decides what a later one is."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import time
from collections.abc import Iterator

import postgast
import pytest

from schemahold.core.sql import parse, rules
from schemahold.core.sql.model import Class, Statement
from schemahold.core.sql.rules import columns, effects, nodes

NEWEST = 180004
CORPUS = pathlib.Path(__file__).parent / "corpus"
CASE = re.compile(r"^-- expect: (\w+)(?: (.+))?\n((?:(?!--).*\n)+)", re.MULTILINE)
SERVER = re.compile(r"^-- server: (\d+)$", re.MULTILINE)


def tree(sql: str) -> parse.Tree:
    return parse.parse(Statement(number=1, line=1, text=sql.strip().removesuffix(";")))


def read(*statements: str, scene: rules.Scene | None = None) -> rules.Reading:
    """The last statement's reading, behind the others."""
    scene = scene or rules.Scene(server_version=NEWEST)
    return [rules.read(tree(sql), scene) for sql in statements][-1]


def found(*statements: str, scene: rules.Scene | None = None) -> list[str]:
    return [effect.rule for effect in read(*statements, scene=scene).effects]


# --- the corpus -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    sql: str
    cls: str
    rules: tuple[str, ...]
    server: int


def corpus() -> Iterator[Case]:
    for file in sorted(CORPUS.glob("*.sql")):
        text = file.read_text()
        server = SERVER.search(text)
        for cls, names, sql in CASE.findall(text):
            expected = tuple(sorted(names.split(", "))) if names else ()
            yield Case(sql, cls, expected, int(server[1]) * 10000 if server else NEWEST)


CASES = list(corpus())


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.sql.split())[:90])
def test_corpus(case: Case) -> None:
    reading = read(case.sql, scene=rules.Scene(server_version=case.server))
    assert (str(reading.cls), tuple(sorted(effect.rule for effect in reading.effects))) == (case.cls, case.rules)


def test_corpus_is_read_whole() -> None:
    marks = sum(file.read_text().count("-- expect:") for file in CORPUS.glob("*.sql"))
    assert len(CASES) == marks > 300


def test_every_kind_of_statement_has_a_class() -> None:
    """All statements of Postgres's grammar; what only occurs inside others is none."""
    inside = {"raw_stmt", "set_operation_stmt", "return_stmt", "plassign_stmt", "replica_identity_stmt"}
    node = postgast.pg_query_pb2.Node.DESCRIPTOR
    kinds = {field.name for field in node.fields if field.name.endswith("_stmt")}
    assert kinds - inside == set(rules.HANDLERS)
    assert {parse.parse(Statement(number=1, line=1, text=case.sql)).kind for case in CASES} == kinds - inside


def test_every_kind_of_action_has_a_class() -> None:
    """All of ALTER TABLE's actions that a statement can say; the others are Postgres's own, for its second thoughts."""
    kinds = postgast.pg_query_pb2.AlterTableType.keys()
    inner = {"AT_AddColumnToView", "AT_CookedColumnDefault", "AT_AddIndex", "AT_AddIndexConstraint", "AT_ReplaceRelOptions"}
    said = {kind for kind in kinds if kind.startswith("AT_") and not kind.startswith("AT_ReAdd")} - inner
    used = {
        parse.word(parse.inner(command).node, "subtype")
        for case in CASES
        if (statement := tree(case.sql)).kind == "alter_table_stmt"
        for command in statement.node.cmds
    }
    assert used == said


def test_what_no_table_has_is_unsafe() -> None:
    reading = rules.read(parse.Tree("brand_new_stmt", tree("SELECT 1").node), rules.Scene())
    assert (reading.cls, [effect.rule for effect in reading.effects]) == (Class.UNSAFE, ["unknown-statement"])


def test_every_rule_has_a_case() -> None:
    """In the corpus or in the sequences below; so whoever removes a rule hears of it."""
    used = {rule for case in CASES for rule in case.rules}
    elsewhere = {"enum-value-used", "unknown-statement", "unused-allow"}
    assert used | elsewhere == set(rules.all_rules())
    assert not used & elsewhere


def test_findings_are_as_the_catalogue_says() -> None:
    for case in CASES:
        for effect in read(case.sql, scene=rules.Scene(server_version=case.server)).effects:
            rule = rules.RULES[effect.rule]
            assert effect.cls is rule.cls
            assert rule.sized or not effect.table
            assert effect.lock in effects.LOCKS
            # A sentence that says who is hurt, and one that says what to do.
            assert re.fullmatch(r"[^A-Z]?.*[^.]\.", effect.breaks), effect.breaks
            assert re.fullmatch(r".*[^.]\.", effect.fix), effect.fix
            assert len(effect.breaks) < 250 and len(effect.fix) < 250


def test_the_catalogue() -> None:
    for name, rule in rules.all_rules().items():
        assert rule.name == name
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert rule.sentence.endswith(".")


# --- sequences: the same transaction -----------------------------------------------------------------------------------

TABLE = "CREATE TABLE orders (id bigint PRIMARY KEY, code varchar(20) NOT NULL, note text, price numeric(10, 2))"

#: (statements before it, the statement, rules): all in one transaction.
TOGETHER = [
    # a new table is nobody's
    ([TABLE], "CREATE INDEX i ON orders (code)", []),
    ([TABLE], "CREATE UNIQUE INDEX i ON orders (code)", []),
    ([TABLE], "ALTER TABLE orders ADD COLUMN n bigserial", []),
    ([TABLE], "ALTER TABLE orders ADD COLUMN n text NOT NULL", []),
    ([TABLE], "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0)", []),
    ([TABLE], "ALTER TABLE orders ADD FOREIGN KEY (note) REFERENCES customers", []),
    ([TABLE], "ALTER TABLE orders ALTER note SET NOT NULL, ALTER id TYPE int, DROP COLUMN code CASCADE", []),
    ([TABLE], "ALTER TABLE orders RENAME note TO remark", []),
    ([TABLE], "ALTER TABLE orders ALTER code DROP NOT NULL, ALTER code SET DEFAULT 'x', ALTER code DROP DEFAULT", []),
    ([TABLE], "ALTER TABLE orders ALTER id ADD GENERATED ALWAYS AS IDENTITY, ALTER id DROP IDENTITY", []),
    ([TABLE], "ALTER TABLE orders ALTER id SET GENERATED ALWAYS, ALTER id RESTART, ALTER id SET EXPRESSION AS (1)", []),
    ([TABLE], "ALTER TABLE orders ALTER id DROP EXPRESSION, ADD UNIQUE (code), ADD EXCLUDE (code WITH =)", []),
    ([TABLE], "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0) NOT VALID, ALTER CONSTRAINT c NOT ENFORCED", []),
    ([TABLE], "ALTER TABLE orders DISABLE TRIGGER ALL, DISABLE RULE r, ENABLE RULE r, REPLICA IDENTITY NOTHING", []),
    ([TABLE], "ALTER TABLE orders NO INHERIT x, SET TABLESPACE fast, SET ACCESS METHOD heap", []),
    ([TABLE], "ALTER TABLE orders DETACH PARTITION p", []),
    ([TABLE], "ALTER TABLE parent DETACH PARTITION orders", []),
    ([TABLE], "ALTER TABLE orders DROP CONSTRAINT c", []),
    (["CREATE VIEW v AS SELECT 1"], "ALTER VIEW v SET (security_invoker)", []),
    (["CREATE FOREIGN TABLE f (a int) SERVER x"], "ALTER FOREIGN TABLE f OPTIONS (SET a 'b')", []),
    (["ALTER TABLE orders ADD n int NOT NULL DEFAULT 1"], "ALTER TABLE orders ALTER n DROP NOT NULL", []),
    ([TABLE], "ALTER TABLE orders OWNER TO app, ENABLE ROW LEVEL SECURITY, SET UNLOGGED", []),
    ([TABLE], "ALTER TABLE orders SET SCHEMA archive", []),
    ([TABLE], "DROP TABLE orders CASCADE", []),
    ([TABLE], "DROP TABLE orders, customers", ["drop-table"]),
    ([TABLE], "TRUNCATE orders", []),
    ([TABLE], "CLUSTER orders USING orders_pkey", []),
    ([TABLE], "REINDEX TABLE orders", []),
    ([TABLE], "LOCK TABLE orders", []),
    ([TABLE], "UPDATE orders SET note = ''", []),
    ([TABLE], "DELETE FROM orders", []),
    ([TABLE], "REVOKE ALL ON orders FROM PUBLIC", []),
    ([TABLE], "CREATE RULE r AS ON INSERT TO orders DO INSTEAD NOTHING", []),
    ([TABLE], "CREATE POLICY p ON orders AS RESTRICTIVE USING (true)", []),
    ([TABLE], "SELECT id FROM orders FOR UPDATE", []),
    ([TABLE], "INSERT INTO orders SELECT * FROM x ON CONFLICT (id) DO UPDATE SET note = ''", []),
    ([TABLE], "MERGE INTO orders USING x ON orders.id = x.id WHEN MATCHED THEN DELETE", []),
    ([TABLE], "ALTER TABLE parent ATTACH PARTITION orders DEFAULT", []),
    ([TABLE], "CREATE TABLE part PARTITION OF orders DEFAULT", []),
    ([TABLE], "CREATE INDEX i ON shop.orders (code)", ["create-index"]),
    (["CREATE TABLE copy AS SELECT 1"], "CREATE INDEX i ON copy (a)", []),
    (["SELECT 1 AS a INTO copy"], "CREATE INDEX i ON copy (a)", []),
    (["CREATE TABLE IF NOT EXISTS orders (id int)"], "CREATE INDEX i ON orders (id)", ["create-index"]),
    (["CREATE TABLE IF NOT EXISTS c AS SELECT 1"], "CREATE INDEX i ON c (id)", ["create-index"]),
    (["CREATE SCHEMA shop"], "CREATE INDEX i ON shop.orders (id)", []),
    (["CREATE SCHEMA IF NOT EXISTS shop"], "CREATE INDEX i ON shop.orders (id)", ["create-index"]),
    ([TABLE, "ALTER TABLE orders RENAME TO sales"], "CREATE INDEX i ON sales (code)", []),
    ([TABLE, "ALTER TABLE orders RENAME TO sales"], "CREATE INDEX i ON orders (code)", ["create-index"]),
    ([TABLE, "DROP TABLE orders"], "CREATE INDEX i ON orders (code)", ["create-index"]),
    ([TABLE, "SET LOCAL search_path = shop"], "CREATE INDEX i ON orders (code)", ["create-index"]),
    ([TABLE, "SELECT set_config('search_path', 'shop', true)"], "CREATE INDEX i ON orders (code)", ["create-index"]),
    # other new objects
    (["CREATE INDEX CONCURRENTLY i ON orders (code)"], "DROP INDEX i", []),
    (["CREATE INDEX CONCURRENTLY i ON shop.orders (code)"], "DROP INDEX shop.i", []),
    ([TABLE], "CREATE OR REPLACE TRIGGER x AFTER INSERT ON orders EXECUTE FUNCTION f()", []),
    ([TABLE], "ALTER POLICY p ON orders USING (true)", []),
    (["CREATE TABLE parent (a int)"], "ALTER TABLE parent ATTACH PARTITION orders DEFAULT", ["attach-partition"]),
    (["ALTER TABLE orders ADD n int", "CREATE TABLE x (a int)"], "ALTER TABLE orders DROP COLUMN n", []),
    (["CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (code)"], "DROP INDEX CONCURRENTLY i", ["drop-index"]),
    (["CREATE FUNCTION f(a int, OUT b text) LANGUAGE sql AS ''"], "DROP FUNCTION f(int)", []),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "CREATE OR REPLACE FUNCTION f(a int) RETURNS int RETURN 2", []),
    (["CREATE VIEW v AS SELECT 1"], "CREATE OR REPLACE VIEW v AS SELECT 2", []),
    (["CREATE VIEW v AS SELECT 1"], "DROP VIEW v", []),
    (["CREATE OR REPLACE VIEW v AS SELECT 1"], "DROP VIEW v", ["drop-view"]),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "DROP FUNCTION f(int)", []),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "DROP FUNCTION f(text)", ["drop-function"]),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "DROP FUNCTION f", ["drop-function"]),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "ALTER FUNCTION f(int) OWNER TO app", []),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "REVOKE ALL ON FUNCTION f(int) FROM PUBLIC", []),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "REVOKE ALL ON FUNCTION f(text) FROM PUBLIC", ["revoke"]),
    (["CREATE FUNCTION f(a int) RETURNS int RETURN 1"], "ALTER FUNCTION f(int) STABLE", []),
    (["CREATE OR REPLACE FUNCTION f() RETURNS int RETURN 1"], "DROP FUNCTION f()", ["drop-function"]),
    (["CREATE TYPE t AS ENUM ()"], "DROP TYPE t", []),
    (["CREATE TYPE t AS ENUM ('a')"], "ALTER TYPE t ADD VALUE 'b'", []),
    (["CREATE TYPE t AS ENUM ('a')"], "ALTER TYPE t RENAME VALUE 'a' TO 'b'", []),
    (["CREATE TYPE t AS (a int)"], "ALTER TYPE t ADD ATTRIBUTE b int", []),
    (["CREATE TYPE t AS (a int)"], "ALTER TYPE t RENAME ATTRIBUTE a TO b", []),
    (["CREATE DOMAIN d AS int"], "ALTER DOMAIN d SET NOT NULL", []),
    (["CREATE SEQUENCE s"], "ALTER SEQUENCE s RESTART WITH 5", []),
    (["CREATE SEQUENCE IF NOT EXISTS s"], "DROP SEQUENCE s", ["drop-object"]),
    (["CREATE SCHEMA s"], "DROP SCHEMA s CASCADE", []),
    (["CREATE SCHEMA s"], "ALTER SCHEMA s OWNER TO app", []),
    (["CREATE TRIGGER x AFTER INSERT ON orders EXECUTE FUNCTION f()"], "DROP TRIGGER x ON orders", []),
    (["CREATE POLICY p ON orders USING (true)"], "DROP POLICY p ON orders", []),
    (["CREATE POLICY p ON orders USING (true)"], "ALTER POLICY p ON orders USING (false)", []),
    (["CREATE MATERIALIZED VIEW m AS SELECT 1"], "REFRESH MATERIALIZED VIEW m", []),
    (["CREATE FOREIGN TABLE f (a int) SERVER x"], "DROP FOREIGN TABLE f", []),
    # a new column of an old table
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders ADD FOREIGN KEY (n) REFERENCES c NOT VALID", []),
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders DROP COLUMN n", []),
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders RENAME n TO m", []),
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders ALTER n SET DEFAULT 5", []),
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders ALTER n SET NOT NULL", ["set-not-null", "set-not-null-scan"]),
    (["ALTER TABLE orders ADD n int"], "CREATE UNIQUE INDEX CONCURRENTLY i ON orders (n)", []),
    (["ALTER TABLE orders ADD n int"],
     "CREATE UNIQUE INDEX CONCURRENTLY i ON orders (n) NULLS NOT DISTINCT", ["new-constraint"]),
    (["ALTER TABLE orders ADD n int DEFAULT 1"], "CREATE UNIQUE INDEX CONCURRENTLY i ON orders (n)", ["new-constraint"]),
    (["ALTER TABLE orders ADD IF NOT EXISTS n int"], "ALTER TABLE orders DROP COLUMN n", ["drop-column"]),
    # constraints
    (["ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID"], "ALTER TABLE orders DROP CONSTRAINT c", []),
    (["ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID"],
     "ALTER TABLE orders VALIDATE CONSTRAINT c", ["validate-together"]),
    (["ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID"], "ALTER TABLE sales VALIDATE CONSTRAINT c",
     ["validate-together"]),
    (["ALTER TABLE orders ADD n int"], "ALTER TABLE orders VALIDATE CONSTRAINT c", ["validate-together"]),
    (["LOCK TABLE orders IN SHARE MODE"], "ALTER TABLE orders VALIDATE CONSTRAINT c", ["validate-together"]),
    (["LOCK TABLE orders IN ACCESS SHARE MODE"], "ALTER TABLE orders VALIDATE CONSTRAINT c", []),
    (["CREATE TRIGGER x AFTER INSERT ON orders EXECUTE FUNCTION f()"], "ALTER TABLE sales VALIDATE CONSTRAINT c",
     ["validate-together"]),
    (["CREATE TABLE lines (o int REFERENCES orders)"], "ALTER TABLE sales VALIDATE CONSTRAINT c", ["validate-together"]),
    (["ALTER TABLE orders VALIDATE CONSTRAINT b"], "ALTER TABLE orders VALIDATE CONSTRAINT c", []),
    (["ALTER TABLE orders ALTER note SET STATISTICS 5"], "ALTER TABLE orders VALIDATE CONSTRAINT c", []),
    ([TABLE, "ALTER TABLE orders ADD n int"], "ALTER TABLE sales VALIDATE CONSTRAINT c", []),
    (["CREATE TABLE parent (id int)"], "ALTER TABLE orders ADD n int REFERENCES parent", []),
    (["CREATE TABLE parent (id int)"], "ALTER TABLE orders ADD n int DEFAULT 1 REFERENCES parent",
     ["add-column-references"]),
    (["ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "SET LOCAL search_path = x"],
     "ALTER TABLE orders VALIDATE CONSTRAINT c", ["validate-together"]),
    ([TABLE, "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0) NOT VALID"],
     "ALTER TABLE orders VALIDATE CONSTRAINT c", []),
    # enum values
    (["ALTER TYPE t ADD VALUE 'b'"], "UPDATE orders SET t = 'b' WHERE id = 1", ["enum-value-used"]),
    (["ALTER TYPE t ADD VALUE 'b'"], "INSERT INTO orders VALUES (1, 'b')", ["enum-value-used"]),
    (["ALTER TYPE t ADD VALUE 'b'"], "ALTER TABLE orders ALTER t SET DEFAULT 'b'", ["set-default", "enum-value-used"]),
    (["ALTER TYPE t ADD VALUE 'b'"], "UPDATE orders SET t = 'bb' WHERE id = 1", []),
    (["ALTER TYPE t ADD VALUE 'b'"], "ALTER TYPE t ADD VALUE 'c' AFTER 'b'", ["add-enum-value"]),
    (["CREATE TYPE t AS ENUM ('a')", "ALTER TYPE t ADD VALUE 'b'"], "UPDATE orders SET t = 'b' WHERE id = 1", []),
    (["ALTER TYPE t RENAME VALUE 'a' TO 'b'"], "UPDATE orders SET t = 'b' WHERE id = 1", []),
    # the time zone
    ([TABLE, "SET LOCAL timezone = 'UTC'"], "ALTER TABLE sales ALTER seen TYPE timestamptz",
     ["change-column-type", "change-column-type-rewrite"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "statement", "expected"), TOGETHER)
def test_in_one_transaction(before: list[str], statement: str, expected: list[str]) -> None:
    assert found(*before, statement) == expected


@pytest.mark.parametrize(("before", "statement", "expected"), [case for case in TOGETHER if not case[2]])
def test_alone_nothing_is_new(before: list[str], statement: str, expected: list[str]) -> None:
    """What only the transaction excuses is a finding as soon as each statement commits; what is excused for another
    reason is not."""
    excused = found(*before, statement, scene=rules.Scene(server_version=NEWEST, alone=True))
    blank = found(statement)
    assert excused == blank


def test_a_transaction_ends() -> None:
    scene = rules.Scene(server_version=NEWEST)
    read(TABLE, "ALTER TABLE sales ADD n int", "ALTER TYPE t ADD VALUE 'b'", scene=scene)
    read("ALTER TABLE sales ADD CONSTRAINT c CHECK (n > 0) NOT VALID", scene=scene)
    scene.end()
    assert found("ALTER TABLE sales VALIDATE CONSTRAINT c", scene=scene) == []
    assert found("CREATE INDEX i ON orders (code)", scene=scene) == ["create-index"]
    assert found("ALTER TABLE sales DROP COLUMN n", scene=scene) == ["drop-column"]
    assert found("UPDATE orders SET t = 'b' WHERE id = 1", scene=scene) == []


# --- sequences: earlier files ------------------------------------------------------------------------------------------

NOT_NULL = "ALTER TABLE orders ALTER note SET NOT NULL"
SCAN = ["set-not-null", "set-not-null-scan"]
CHECK = "ALTER TABLE orders ADD CONSTRAINT given CHECK (note IS NOT NULL)"
VALID = "ALTER TABLE orders VALIDATE CONSTRAINT given"
TYPE = ["change-column-type", "change-column-type-rewrite"]

#: (files before it, the statement, rules): every statement a file of its own.
EARLIER = [
    # SET NOT NULL, proved
    ([f"{CHECK} NOT VALID", VALID], NOT_NULL, []),
    ([CHECK], NOT_NULL, []),
    ([f"{CHECK} NOT VALID"], NOT_NULL, SCAN),
    ([f"{CHECK} NOT ENFORCED"], NOT_NULL, SCAN),
    ([f"{CHECK} NOT VALID", "ALTER TABLE orders VALIDATE CONSTRAINT other"], NOT_NULL, SCAN),
    (["ALTER TABLE orders ADD CONSTRAINT given CHECK (code IS NOT NULL)"], NOT_NULL, SCAN),
    (["ALTER TABLE orders ADD CONSTRAINT given CHECK (note IS NOT NULL OR id > 5)"], NOT_NULL, SCAN),
    (["ALTER TABLE sales ADD CONSTRAINT given CHECK (note IS NOT NULL)"], NOT_NULL, SCAN),
    ([CHECK, "ALTER TABLE orders DROP CONSTRAINT given"], NOT_NULL, SCAN),
    ([CHECK, "ALTER TABLE orders RENAME note TO remark"], NOT_NULL, SCAN),
    ([CHECK, "ALTER TABLE orders RENAME TO sales"], NOT_NULL, SCAN),
    ([CHECK, "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD note text"], NOT_NULL, SCAN),
    ([CHECK, "DROP TABLE orders"], NOT_NULL, SCAN),
    ([CHECK, "DROP SCHEMA shop CASCADE"], NOT_NULL, SCAN),
    ([CHECK, "DO $$ BEGIN END $$"], NOT_NULL, SCAN),
    ([CHECK, "CALL f()"], NOT_NULL, SCAN),
    ([CHECK, "SET LOCAL search_path = x"], NOT_NULL, SCAN),
    ([f"{CHECK} NOT VALID", "ALTER TABLE orders RENAME CONSTRAINT given TO x", VALID], NOT_NULL, SCAN),
    ([TABLE, CHECK, "ALTER TABLE orders DROP CONSTRAINT given"], "ALTER TABLE orders ALTER code SET NOT NULL", []),
    ([TABLE, CHECK, "ALTER TABLE orders DROP CONSTRAINT given"], "ALTER TABLE orders ALTER id SET NOT NULL", []),
    ([TABLE, CHECK, "ALTER TABLE orders DROP CONSTRAINT given"], NOT_NULL, SCAN),
    ([f"{CHECK} NOT VALID", "ALTER TABLE orders DROP COLUMN other", VALID], NOT_NULL, []),
    ([f"{CHECK} NOT VALID", "ALTER TABLE orders DROP COLUMN note", VALID], NOT_NULL, SCAN),
    ([f"{CHECK} NOT ENFORCED", VALID], NOT_NULL, SCAN),
    ([CHECK, "DROP TABLE other CASCADE"], NOT_NULL, SCAN),
    ([CHECK, "DROP SCHEMA shop"], NOT_NULL, SCAN),
    ([CHECK, "DROP TABLE other"], NOT_NULL, []),
    ([CHECK, "ALTER TABLE orders SET SCHEMA x"], NOT_NULL, SCAN),
    ([CHECK, "ALTER TYPE t SET SCHEMA x"], NOT_NULL, []),
    (["ALTER TABLE orders ADD CONSTRAINT given CHECK (note IS NULL)"], NOT_NULL, SCAN),
    (["ALTER TABLE orders ADD CONSTRAINT given CHECK (lower(note) IS NOT NULL)"], NOT_NULL, SCAN),
    (["ALTER TABLE orders ADD CONSTRAINT given CHECK (other.note IS NOT NULL)"], NOT_NULL, SCAN),
    ([CHECK], "ALTER TABLE orders ADD CONSTRAINT n NOT NULL note", []),
    (["ALTER TABLE orders ADD CONSTRAINT given NOT NULL note NOT VALID", VALID], NOT_NULL, []),
    (["ALTER TABLE orders ADD note text NOT NULL DEFAULT ''"], NOT_NULL, []),
    ([TABLE], "ALTER TABLE orders ALTER code SET NOT NULL", []),
    ([TABLE], "ALTER TABLE orders ALTER id SET NOT NULL", []),
    ([TABLE], NOT_NULL, SCAN),
    ([TABLE, "ALTER TABLE orders ALTER code DROP NOT NULL"], "ALTER TABLE orders ALTER code SET NOT NULL", SCAN),
    (["CREATE TABLE IF NOT EXISTS orders (note text NOT NULL)"], NOT_NULL, SCAN),
    (["CREATE TEMP TABLE orders (note text NOT NULL)"], NOT_NULL, SCAN),
    ([CHECK, "CREATE TEMP TABLE orders (note text NOT NULL)"], NOT_NULL, SCAN),
    # types that only grow
    ([TABLE], "ALTER TABLE orders ALTER code TYPE varchar(40)", []),
    ([TABLE], "ALTER TABLE orders ALTER code TYPE varchar", []),
    ([TABLE], "ALTER TABLE orders ALTER code TYPE text", []),
    ([TABLE], "ALTER TABLE orders ALTER note TYPE varchar", []),
    ([TABLE], "ALTER TABLE orders ALTER price TYPE numeric(12, 2)", []),
    ([TABLE], "ALTER TABLE orders ALTER price TYPE numeric", []),
    ([TABLE], "ALTER TABLE orders ALTER code TYPE varchar(10)", TYPE),
    ([TABLE], "ALTER TABLE orders ALTER note TYPE varchar(10)", TYPE),
    ([TABLE], "ALTER TABLE orders ALTER price TYPE numeric(12, 3)", TYPE),
    ([TABLE], "ALTER TABLE orders ALTER id TYPE numeric", TYPE),
    ([TABLE], "ALTER TABLE orders ALTER code TYPE varchar(40) USING upper(code)", TYPE),
    ([TABLE], 'ALTER TABLE orders ALTER code TYPE varchar(40) COLLATE "C"', TYPE),
    ([TABLE, "ALTER TABLE orders ALTER code TYPE varchar(90)"], "ALTER TABLE orders ALTER code TYPE varchar(40)", TYPE),
    (["CREATE TABLE orders (a varchar(5)[])"], "ALTER TABLE orders ALTER a TYPE varchar(9)[]", TYPE),
    # keys: the primary key that was seen, and no other column whatever it is called
    (["CREATE TABLE t (id int, code text PRIMARY KEY)"], "DELETE FROM t WHERE code = 'x'", []),
    (["CREATE TABLE t (id int, code text PRIMARY KEY)"], "DELETE FROM t WHERE id = 5", ["unbounded-write"]),
    (["CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))"], "DELETE FROM t WHERE a = 5", ["unbounded-write"]),
    (["CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))"], "DELETE FROM t WHERE a = 5 AND b IN (1, 2)", []),
    (["ALTER TABLE t ADD PRIMARY KEY (code)"], "DELETE FROM t WHERE code = 'x'", []),
    (["ALTER TABLE t ADD UNIQUE (code)"], "DELETE FROM t WHERE code = 'x'", ["unbounded-write"]),
    (["ALTER TABLE t ADD PRIMARY KEY USING INDEX i"], "DELETE FROM t", ["unbounded-write"]),
    (["CREATE TABLE t (a int, CONSTRAINT p PRIMARY KEY (a))", "ALTER TABLE t RENAME a TO b"], "DELETE FROM t WHERE a = 5",
     ["unbounded-write"]),
    # domains
    (["CREATE DOMAIN d AS int CHECK (VALUE > 0)"], "ALTER TABLE orders ADD n d", ["add-column-rewrite"]),
    (["CREATE DOMAIN d AS int"], "ALTER TABLE orders ADD n d", []),
    (["CREATE DOMAIN d AS int", "ALTER DOMAIN d SET NOT NULL"], "ALTER TABLE orders ADD n d", ["add-column-rewrite"]),
    (["CREATE TYPE t AS ENUM ('a')"], "ALTER TABLE orders ADD n t", []),
    (["CREATE TYPE box4 (INPUT = a, OUTPUT = b)"], "ALTER TABLE orders ADD n box4", []),
    (["CREATE COLLATION box4 (locale = 'C')"], "ALTER TABLE orders ADD n box4", ["add-column-type"]),
    (["CREATE TYPE t AS ENUM ('a')", "DROP TYPE t"], "ALTER TABLE orders ADD n t", ["add-column-type"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "statement", "expected"), EARLIER)
def test_after_earlier_files(files: list[str], statement: str, expected: list[str]) -> None:
    scene = rules.Scene(server_version=NEWEST)
    for each in files:
        read(each, scene=scene)
        scene.end()
    assert found(statement, scene=scene) == expected


def test_timestamps_keep_their_bytes_in_utc_only() -> None:
    kept = ["change-column-type"]
    for zone, change, expected in (
        ("UTC", "seen TYPE timestamptz", kept),
        ("Asia/Tokyo", "seen TYPE timestamptz", TYPE),
        ("UTC", "seen TYPE timestamptz USING seen AT TIME ZONE 'UTC'", TYPE),
        ("UTC", "seen TYPE timestamptz(3)", TYPE),
        ("UTC", "seen TYPE date", TYPE),
        ("UTC", "other TYPE timestamptz", TYPE),
    ):
        scene = rules.Scene(server_version=NEWEST)
        read("CREATE TABLE orders (seen timestamp)", scene=scene)
        scene.end()
        assert found(f"SET LOCAL TIME ZONE '{zone}'", f"ALTER TABLE orders ALTER {change}", scene=scene) == expected


# --- servers and sizes --------------------------------------------------------------------------------------------------


def test_an_unknown_server_is_the_oldest() -> None:
    sql = "ALTER TABLE orders ADD n int GENERATED ALWAYS AS (a) VIRTUAL"
    (effect,) = read(sql, scene=rules.Scene()).effects
    assert effect.rule == "newer-syntax"
    assert "Postgres before 18 does not know VIRTUAL generated columns" in effect.breaks
    assert "--pg-version 18" in effect.fix
    (effect,) = read(sql, scene=rules.Scene(server_version=160004)).effects
    assert "this server is 16" in effect.breaks


@pytest.mark.parametrize(("version", "expected"), [(0, 1), (130000, 1), (140012, 1), (150000, 0), (180000, 0)])
def test_syntax_is_read_from_its_version_on(version: int, expected: int) -> None:
    sql = "CREATE VIEW v WITH (security_invoker) AS SELECT 1"
    assert found(sql, scene=rules.Scene(server_version=version)).count("newer-syntax") == expected


def test_bounds_grow_with_what_is_large() -> None:
    sql = "DELETE FROM orders WHERE id BETWEEN 1 AND 5000"
    assert found(sql, scene=rules.Scene(large_table=10_000)) == []
    assert found(sql, scene=rules.Scene(large_table=1000)) == ["unbounded-write"]
    sql = "DELETE FROM orders WHERE id IN (SELECT id FROM orders LIMIT 5000)"
    assert found(sql, scene=rules.Scene(large_table=1000)) == ["unbounded-write"]


def test_the_strongest_lock_counts() -> None:
    assert read("ALTER TABLE orders VALIDATE CONSTRAINT c, DROP CONSTRAINT d").lock == "ACCESS EXCLUSIVE"
    assert read("CREATE TABLE t (a int REFERENCES c, b int)").lock == "SHARE ROW EXCLUSIVE"
    assert effects.strongest([]) == ""
    for weak, strong in itertools.pairwise(effects.LOCKS):
        assert effects.strongest([strong, weak]) == strong


def test_the_safe_form_is_one_that_the_server_knows() -> None:
    for version, words in ((170000, "CHECK (note IS NOT NULL) NOT VALID"), (NEWEST, "NOT NULL note NOT VALID")):
        scan = read(NOT_NULL, scene=rules.Scene(server_version=version)).effects[1]
        assert words in scan.fix


@pytest.mark.parametrize(
    ("definition", "reason", "fix"),
    [
        ("n serial", "number of its own (serial)", "CREATE SEQUENCE; add the column without it"),
        ("n int GENERATED ALWAYS AS IDENTITY", "number of its own (identity)", "CREATE SEQUENCE; add the column without it"),
        ("n int GENERATED ALWAYS AS (a) STORED", "STORED column is computed", "GENERATED … VIRTUAL, from Postgres 18 on"),
        (
            "n uuid DEFAULT gen_random_uuid()",
            "default is, or may be, another",
            "add the column without it; ALTER COLUMN SET DEF",
        ),
        ("n positive", "'positive' is a domain with constraints", "a column of the base type"),
        ("n positive DEFAULT 1", "'positive' is a domain with constraints", "a column of the base type"),
    ],
)
def test_why_a_new_column_rewrites(definition: str, reason: str, fix: str) -> None:
    (effect,) = read(
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)", f"ALTER TABLE orders ADD COLUMN {definition}"
    ).effects
    assert reason in effect.breaks
    assert effect.fix.startswith(fix)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("int", "int", True),
        ("int", "bigint", False),
        ("varchar(5)", "varchar(5)", True),
        ("varchar(5)", "varchar(6)", True),
        ("varchar(5)", "varchar(4)", False),
        ("varchar(5)", "varchar", True),
        ("varchar(5)", "text", True),
        ("varchar", "varchar(5)", False),
        ("text", "varchar", True),
        ("text", "varchar(5)", False),
        ("text", "citext", False),
        ("citext", "text", False),
        ("text", "xml", False),
        ("char(5)", "char(6)", False),
        ("char(5)", "text", False),
        ("varchar(5)[]", "varchar(6)[]", False),
        ("varchar(5)", "varchar(6)[]", False),
        ("varchar(5)[]", "varchar(6)", False),
        ("numeric(5, 2)", "numeric(6, 2)", True),
        ("numeric(5, 2)", "numeric(6, 3)", False),
        ("numeric(5, 2)", "numeric(4, 2)", False),
        ("numeric(5, 2)", "numeric", True),
        ("numeric", "numeric(5, 2)", False),
        ("numeric(5)", "numeric(6)", True),
        ("numeric(5)", "numeric(6, 0)", True),
        ("numeric(5)", "numeric(6, 1)", False),
        ("bit varying(5)", "bit varying(6)", True),
        ("bit varying(5)", "bit varying(4)", False),
        ("bit varying(5)", "bit varying", True),
        ("bit(5)", "bit(6)", False),
        ("timestamp(3)", "timestamp(6)", True),
        ("timestamp(3)", "timestamp(2)", False),
        ("timestamp(3)", "timestamp", True),
        ("timestamp", "timestamp(3)", False),
        ("timestamp", "timestamptz", False),
        ("time(3)", "time(6)", True),
        ("interval(3)", "interval(6)", False),
        ("mood", "mood", True),
    ],
)
def test_types_that_only_grow(old: str, new: str, expected: bool) -> None:
    one, other = (nodes.type_of(_column(f"ALTER TABLE t ADD c {kind}").type_name) for kind in (old, new))
    assert columns.widens(one, other) == expected


def _column(sql: str) -> nodes.Node:
    return parse.inner(getattr(parse.inner(tree(sql).node.cmds[0]).node, "def")).node


def test_if_not_exists_is_named_as_what_stands_in_the_way() -> None:
    (effect,) = read("CREATE TABLE IF NOT EXISTS orders (id int)", "CREATE INDEX i ON orders (id)").effects
    assert effect.fix.endswith("Or make 'orders' without IF NOT EXISTS: what a transaction has made is free to change.")


def test_a_schema_of_thousands_of_tables_takes_no_time() -> None:
    scene = rules.Scene(server_version=NEWEST)
    columns = ", ".join(f"c{number} int NOT NULL" for number in range(20))
    began = time.process_time()  # whatever else the machine is doing
    for number in range(1000):
        read(f"CREATE TABLE t{number} ({columns})", scene=scene)
    assert time.process_time() - began < 3


def test_messages_name_what_they_speak_of() -> None:
    (effect,) = read("CREATE INDEX i ON shop.orders (code)").effects
    assert (effect.table, effect.lock) == ("shop.orders", "SHARE")
    assert "'shop.orders'" in effect.breaks
    unique, binding = read("ALTER TABLE orders ADD CONSTRAINT one UNIQUE (code)").effects
    assert unique.fix.endswith("then ADD CONSTRAINT … UNIQUE USING INDEX.") and "'one'" in binding.breaks
    unique, binding = read("ALTER TABLE orders ADD PRIMARY KEY (code)").effects
    assert unique.fix.endswith("PRIMARY KEY USING INDEX, its columns being NOT NULL already.")
    assert "the constraint" in binding.breaks
    for sql, words in {
        "ALTER TABLE orders RENAME note TO remark": "column 'orders.note'",
        "ALTER TABLE orders RENAME TO sales": "table 'orders'",
        "ALTER SCHEMA shop RENAME TO store": "schema 'shop'",
        "ALTER TYPE t RENAME TO u": "type 't'",
        "DROP MATERIALIZED VIEW m": "materialized view 'm'",
        "ALTER ROLE ALL SET work_mem = '1MB'": "another 'work_mem'",
        "ALTER ROLE app RESET ALL": "another 'setting'",
        "REINDEX SCHEMA shop": "one table after the other",
        "VACUUM FULL": "every table",
        "REFRESH MATERIALIZED VIEW m WITH NO DATA": "fail from now on",
    }.items():
        assert words in read(sql).effects[0].breaks
    (effect,) = read('DROP TABLE "Orders"').effects
    assert effect.breaks == "old code that uses table 'Orders' fails."
