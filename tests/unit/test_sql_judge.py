"""The judgement of files: phases, sizes, overrides, transactions; and that it keeps nothing it has read."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator

import pytest

from schemahold.core.sql import judge as judgement
from schemahold.core.sql import parse
from schemahold.core.sql.model import Allow, Class, Finding, Name, Phase, Severity, SourceError, Statement, Surroundings

LINT = Surroundings(server_version=180004)


def name(number: int = 1, phase: Phase = Phase.EXPAND) -> Name:
    suffix = ".contract.sql" if phase is Phase.CONTRACT else ".sql"
    return Name(key=(number,), phase=phase, name=f"{number:04}_x{suffix}")


def statements(*texts: str, allows: Iterable[tuple[str, str]] = ()) -> list[Statement]:
    """``allows`` (rule, reason) stand above the last one."""
    made = [Statement(number=number, line=number * 10, text=text) for number, text in enumerate(texts, 1)]
    *others, last = made
    above = tuple(Allow(rule=rule, reason=reason, line=last.line - 1) for rule, reason in allows)
    return [*others, Statement(number=last.number, line=last.line, text=last.text, allows=above)]


def judge(
    *texts: str,
    phase: Phase = Phase.EXPAND,
    allows: Iterable[tuple[str, str]] = (),
    surroundings: Surroundings = LINT,
) -> tuple[Finding, ...]:
    """One file of ``phase``."""
    return judgement.judge([(name(phase=phase), statements(*texts, allows=allows))], phase=phase, surroundings=surroundings)


def brief(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.rule, str(finding.severity)) for finding in findings]


INDEX = "CREATE INDEX i ON orders (code)"
DROP = "ALTER TABLE orders DROP COLUMN note"
TABLE = "CREATE TABLE orders (id int)"


# --- phases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expand", "contract"),
    [
        ("ALTER TABLE orders ADD COLUMN note text", [], []),
        (DROP, [("drop-column", "error")], []),
        (INDEX, [("create-index", "error")], [("create-index", "error")]),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", [("replace-view", "warning")], [("replace-view", "warning")]),
        (
            "ALTER TABLE orders ALTER note SET NOT NULL",
            [("set-not-null", "error"), ("set-not-null-scan", "error")],
            [("set-not-null-scan", "error")],
        ),
        ("INSERT INTO orders VALUES (1, 'x')", [], []),
        ("DO $$ BEGIN END $$", [("unknown-code", "error")], [("unknown-code", "error")]),
    ],
)
def test_phases(text: str, expand: list[tuple[str, str]], contract: list[tuple[str, str]]) -> None:
    assert brief(judge(text)) == expand
    assert brief(judge(text, phase=Phase.CONTRACT)) == contract


def test_a_finding_says_all() -> None:
    (finding,) = judge(TABLE.replace("orders", "other"), INDEX)
    assert finding == Finding(
        file="0001_x.sql",
        line=20,
        statement=2,
        rule="create-index",
        severity=Severity.ERROR,
        cls=Class.UNSAFE,
        lock="SHARE",
        breaks="writes to 'orders' wait until the index is built.",
        fix=finding.fix,
        table="orders",
    )
    assert finding.fix.startswith("CREATE INDEX CONCURRENTLY, in a file of its own.")
    assert str(finding).startswith("0001_x.sql:20: create-index: unsafe (SHARE lock): writes to 'orders' wait")


def test_files_of_the_other_phase_make_known_and_are_not_judged() -> None:
    check = "ALTER TABLE orders ADD CONSTRAINT c CHECK (note IS NOT NULL)"
    files = [
        (name(1), statements(check)),
        (name(2, Phase.CONTRACT), statements("ALTER TABLE orders ALTER note SET NOT NULL", INDEX)),
    ]
    assert brief(judgement.judge(files, phase=Phase.CONTRACT, surroundings=LINT)) == [("create-index", "error")]
    assert [each.rule for each in judgement.judge(files, phase=Phase.EXPAND, surroundings=LINT)] == [
        "add-check",
        "new-constraint",
    ]


def test_only_the_same_file_is_the_same_transaction() -> None:
    files = [(name(1), statements(TABLE)), (name(2), statements(INDEX))]
    assert brief(judgement.judge(files, phase=Phase.EXPAND, surroundings=LINT)) == [("create-index", "error")]
    assert judge(TABLE, INDEX) == ()


# --- files that are not one transaction -------------------------------------------------------------------------------

CONCURRENTLY = "CREATE INDEX CONCURRENTLY j ON sales (code)"


@pytest.mark.parametrize(
    "alone",
    [
        CONCURRENTLY,
        "DROP INDEX CONCURRENTLY j",
        "REINDEX TABLE CONCURRENTLY sales",
        "REINDEX SCHEMA CONCURRENTLY shop",
        "REINDEX SCHEMA shop",
        "CLUSTER",
        "VACUUM sales",
        "ALTER TABLE sales DETACH PARTITION p CONCURRENTLY",
    ],
)
def test_nothing_is_new_where_each_statement_commits(alone: str) -> None:
    """Wherever in the file the statement stands that cannot run in a transaction."""
    for texts in ([alone, TABLE, INDEX], [TABLE, alone, INDEX], [TABLE, INDEX, alone]):
        assert "create-index" in [finding.rule for finding in judge(*texts)]


@pytest.mark.parametrize("shared", ["ANALYZE sales", "REINDEX TABLE sales", "CLUSTER sales USING i", "DROP INDEX j"])
def test_what_can_share_a_transaction(shared: str) -> None:
    assert "create-index" not in [finding.rule for finding in judge(TABLE, INDEX, shared)]


def test_nothing_is_together_where_each_statement_commits() -> None:
    loose = "ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID"
    valid = "ALTER TABLE orders VALIDATE CONSTRAINT c"
    assert [finding.rule for finding in judge(loose, valid)] == ["new-constraint", "validate-together"]
    assert [finding.rule for finding in judge(loose, valid, CONCURRENTLY)] == ["new-constraint"]
    assert [finding.rule for finding in judge("ALTER TYPE t ADD VALUE 'b'", "INSERT INTO x VALUES ('b')", CONCURRENTLY)] == [
        "add-enum-value"
    ]


def test_a_plain_insert_is_read_when_it_names_a_new_value() -> None:
    add = "ALTER TYPE t ADD VALUE 'b'"
    assert parse.plain_insert("INSERT INTO orders VALUES ('b')")
    assert [finding.rule for finding in judge(add, "INSERT INTO orders VALUES ('b')")] == [
        "add-enum-value",
        "enum-value-used",
    ]
    assert [finding.rule for finding in judge(add, "INSERT INTO orders VALUES ('c')")] == ["add-enum-value"]


# --- sizes ------------------------------------------------------------------------------------------------------------


def pod(**rows: int) -> Surroundings:
    return Surroundings(server_version=180004, rows=rows, large_table=1000)


@pytest.mark.parametrize(
    ("surroundings", "expected"),
    [
        (LINT, ["create-index"]),
        (pod(orders=999), []),
        (pod(orders=1000), ["create-index"]),
        (pod(orders=0), []),
        (pod(orders=-1), ["create-index"]),
        (pod(), ["create-index"]),
        (pod(other=5), ["create-index"]),
    ],
)
def test_what_only_size_makes_dangerous(surroundings: Surroundings, expected: list[str]) -> None:
    assert [finding.rule for finding in judge(INDEX, surroundings=surroundings)] == expected


@pytest.mark.parametrize(
    ("text", "small", "large"),
    [
        ("UPDATE orders SET note = ''", [], ["unbounded-write"]),
        ("ALTER TABLE orders ALTER note SET NOT NULL", ["set-not-null"], ["set-not-null", "set-not-null-scan"]),
        (
            "ALTER TABLE orders ALTER id TYPE bigint",
            ["change-column-type"],
            ["change-column-type", "change-column-type-rewrite"],
        ),
        ("ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0)", ["new-constraint"], ["add-check", "new-constraint"]),
        ("ALTER TABLE parent ATTACH PARTITION orders DEFAULT", [], ["attach-partition"]),
        ("ALTER TABLE orders ADD note kind", [], ["add-column-type"]),
        ("TRUNCATE orders", ["truncate"], ["truncate"]),
        ("DROP INDEX i", ["drop-index", "drop-index-blocking"], ["drop-index", "drop-index-blocking"]),
        ("REINDEX SCHEMA shop", ["reindex"], ["reindex"]),
        ("REINDEX TABLE orders", [], ["reindex"]),
        ("REINDEX INDEX orders", ["reindex"], ["reindex"]),
        ("ALTER INDEX orders SET TABLESPACE fast", ["rewrite-table"], ["rewrite-table"]),
        (DROP, ["drop-column"], ["drop-column"]),
    ],
)
def test_what_breaks_old_code_does_so_whatever_the_size(text: str, small: list[str], large: list[str]) -> None:
    assert [finding.rule for finding in judge(text, surroundings=pod(orders=10))] == small
    assert [finding.rule for finding in judge(text, surroundings=pod(orders=10_000))] == large


def test_sizes_are_said() -> None:
    (finding,) = judge(INDEX, surroundings=pod(orders=1_234_567))
    assert finding.breaks.endswith(" It has about 1,234,567 rows.")
    (finding,) = judge(INDEX, surroundings=pod())
    assert finding.breaks.endswith(" How many rows it has is not known.")


def test_a_table_that_a_file_still_to_run_makes_is_empty() -> None:
    """On a fresh database no table is in the catalog yet."""
    files = [(name(1), statements(TABLE)), (name(2), statements(INDEX, DROP))]
    assert brief(judgement.judge(files, phase=Phase.EXPAND, surroundings=pod())) == [("drop-column", "error")]
    renamed = [(name(1), statements(TABLE)), (name(2), statements("ALTER TABLE orders RENAME TO sales"))]
    index = (name(3), statements("CREATE INDEX i ON sales (id)", INDEX))
    assert [each.table for each in judgement.judge([*renamed, index], phase=Phase.EXPAND, surroundings=pod())] == [
        "",
        "orders",
    ]
    assert brief(judgement.judge(files, phase=Phase.EXPAND, surroundings=pod(orders=5000))) == [
        ("create-index", "error"),
        ("drop-column", "error"),
    ]


def test_tables_to_ask_for() -> None:
    texts = [
        INDEX,
        'UPDATE shop."Orders" SET a = 1',
        "ALTER TABLE a ADD CONSTRAINT c CHECK (x > 0) NOT VALID",
        "ALTER TABLE a VALIDATE CONSTRAINT c",
        "ALTER TABLE b ADD note text",
        "CREATE TABLE fresh (id int)",
        "CREATE INDEX i ON fresh (id)",
        "INSERT INTO plain VALUES (1)",
        "ALTER TABLE d ALTER x TYPE bigint, ADD y serial",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "ALTER TABLE e ADD n positive",
        "TRUNCATE f",
        "DELETE FROM g WHERE id = 5",
    ]
    assert judgement.tables(statements(*texts)) == {"orders", "shop.Orders", "a", "fresh", "d", "e"}


@pytest.mark.parametrize("excuse", [TABLE, "CREATE TABLE orders (id int); "])
def test_tables_whatever_excuses_them(excuse: str) -> None:
    """The files are not told apart here, so what one file excuses may count in another."""
    assert judgement.tables(statements(excuse.rstrip("; "), INDEX)) == {"orders"}


# --- overrides --------------------------------------------------------------------------------------------------------


def test_an_override_lifts_an_error() -> None:
    (finding,) = judge(INDEX, allows=[("create-index", "built at night")])
    assert (finding.severity, finding.allowed, finding.rule) == (Severity.WARNING, "built at night", "create-index")


def test_an_override_lifts_its_rule_only() -> None:
    text = "ALTER TABLE orders ALTER note SET NOT NULL"
    assert brief(judge(text, allows=[("set-not-null", "nobody writes NULL")])) == [
        ("set-not-null", "warning"),
        ("set-not-null-scan", "error"),
    ]


def test_an_override_lifts_all_findings_of_its_rule() -> None:
    assert brief(judge("DROP TABLE a, b", allows=[("drop-table", "never used")])) == [("drop-table", "warning")] * 2


def test_an_override_is_for_its_statement() -> None:
    assert brief(judge(DROP, INDEX, allows=[("create-index", "x")])) == [
        ("drop-column", "error"),
        ("create-index", "warning"),
    ]


@pytest.mark.parametrize(
    ("text", "rule", "phase", "breaks", "fix"),
    [
        (INDEX, "create-indx", Phase.EXPAND, "there is no rule 'create-indx'.", "name what is there: create-index."),
        (
            INDEX,
            "drop-table",
            Phase.EXPAND,
            "the statement has no finding 'drop-table', and an override that lifts nothing hides the next one.",
            "name what is there: create-index.",
        ),
        (
            "INSERT INTO orders VALUES (1)",
            "create-index",
            Phase.EXPAND,
            "the statement has no finding",
            "remove the override.",
        ),
        (DROP, "drop-column", Phase.CONTRACT, "'drop-column' needs no override in a contract file", "remove the override."),
    ],
)
def test_an_override_that_lifts_nothing_is_an_error(text: str, rule: str, phase: Phase, breaks: str, fix: str) -> None:
    finding = next(each for each in judge(text, phase=phase, allows=[(rule, "x")]) if each.rule == judgement.UNUSED)
    assert (finding.severity, finding.line, finding.fix) == (Severity.ERROR, 9, fix)
    assert finding.breaks.startswith(breaks)


@pytest.mark.parametrize(
    "surroundings", [LINT, Surroundings(), pod(orders=1), pod(orders=10**9), Surroundings(server_version=130000)]
)
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (INDEX, "create-index"),
        ("ALTER TABLE orders ADD n int GENERATED ALWAYS AS (a) VIRTUAL", "newer-syntax"),
        ("ALTER TABLE orders DETACH PARTITION p", "detach-partition-blocking"),
    ],
)
def test_an_override_is_used_everywhere_or_nowhere(surroundings: Surroundings, text: str, rule: str) -> None:
    """Right on the laptop, it must not stop the pod, whose table is small or whose server is new."""
    assert judgement.UNUSED not in [each.rule for each in judge(text, allows=[(rule, "x")], surroundings=surroundings)]


def test_an_override_of_what_a_new_table_excuses_may_stay() -> None:
    assert judge(TABLE, INDEX, allows=[("create-index", "x")]) == ()


# --- reading ----------------------------------------------------------------------------------------------------------


class Text(str):
    """A string that can be watched."""

    __slots__ = ("__weakref__",)


def test_statements_are_not_kept() -> None:
    alive: list[weakref.ref[Text]] = []

    def many() -> Iterator[Statement]:
        for number in range(1, 500):
            gc.collect(0)
            assert sum(each() is not None for each in alive) < 5
            text = Text("INSERT INTO orders VALUES (1, 'x')" if number % 2 else "UPDATE orders SET note = lower('x')")
            alive.append(weakref.ref(text))
            yield Statement(number=number, line=number, text=text)

    findings = judgement.judge([(name(), many())], phase=Phase.EXPAND, surroundings=LINT)
    assert len(findings) == 249


def test_what_cannot_be_read_says_where() -> None:
    with pytest.raises(SourceError) as caught:
        judge(TABLE, "CREATE TABEL x (id int)")
    assert (caught.value.file, caught.value.line) == ("0001_x.sql", 20)
