"""What the catalog knows: how large tables are, and what became of a statement that could not run in a transaction.

Such a statement leaves its traces in the catalog whether or not anybody heard how it ended.  :func:`effect` says for each
kind what has to be noted before it runs (:meth:`Effect.before`), and reads later, from the note and the catalog, what is to
be done (:meth:`Effect.examine`).  Names are found by the role's own search path, as the statement finds them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from schemahold.core.sql import parse
from schemahold.core.sql.model import Statement
from schemahold.database import session

# --- how large tables are ---------------------------------------------------------------------------------------------

_WITHIN = 1.0  # seconds for one look; it takes longer only when somebody has the table locked
_ROWS_PER_PAGE = 226  # of a table that can be neither judged nor counted: as many as ever fit


class Rows(Mapping[str, int]):
    """Estimated rows of every table that exists, with its partitions and children; looked up when asked for, and kept.

    What was analyzed counts by its density then and its pages now, as for the planner.  What never was (a table of the last
    minutes, or a small one) says nothing of itself, and pages say little about rows: it is counted, up to ``enough``, which
    is right and takes milliseconds.  Where that fails (no right to read it, a lock), its pages are taken to be full of small
    rows: rather a finding too many.
    """

    def __init__(self, on: session.Session, *, enough: int) -> None:
        self._on = on
        self._enough = enough
        self._known: dict[str, int | None] = {}

    def __getitem__(self, table: str) -> int:
        if table not in self._known:
            parts = _parts(self._on, table)
            self._known[table] = sum(_estimate(self._on, *part, enough=self._enough) for part in parts) if parts else None
        found = self._known[table]
        if found is None:
            raise KeyError(table)
        return found

    def __iter__(self) -> Iterator[str]:
        return (table for table, rows in self._known.items() if rows is not None)

    def __len__(self) -> int:
        return len(list(iter(self)))


def _parts(on: session.Session, table: str) -> list[tuple[Any, ...]]:
    """The table and all below it; none when there is no such table."""
    schema, _, name = table.rpartition(".")
    found = on.attempt(
        f"WITH RECURSIVE below(oid) AS (SELECT {_LOOK_UP} UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i"
        " JOIN below ON i.inhparent = below.oid)"
        " SELECT c.oid::pg_catalog.int8, c.relnamespace::regnamespace::text, c.relname::text, c.relkind::text,"
        " c.reltuples::float8, c.relpages FROM below JOIN pg_catalog.pg_class c ON c.oid = below.oid",
        {"schema": schema, "name": name},
        within=_WITHIN,
    )
    return found or []


def _estimate(
    on: session.Session, oid: int, schema: str, name: str, kind: str, tuples: float, pages: int, *, enough: int
) -> int:
    if kind not in ("r", "m"):
        return 0
    now = _value(on, f"SELECT pg_relation_size({oid}) / current_setting('block_size')::int")
    now = pages if now is None else now
    if pages > 0 and tuples >= 0:
        return round(tuples / pages * now)
    if now == 0:
        return 0
    table = f"{schema}.{_identifier(name)}"
    counted = _value(on, f"SELECT count(*) FROM (SELECT FROM ONLY {table} LIMIT {enough + 1}) first")
    return now * _ROWS_PER_PAGE if counted is None else int(counted)


def _value(on: session.Session, query: str) -> Any:
    found = on.attempt(query, within=_WITHIN)
    return found[0][0] if found else None


# --- what became of a statement ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Done:
    """It has had its effect."""


@dataclasses.dataclass(frozen=True)
class Go:
    """To be run.  ``instead``: other words that bring an interrupted one to its end.  ``leftovers``: invalid indexes, as the
    table's oid and the index's name in full, which have to go first."""

    instead: str = ""
    leftovers: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Unclear:
    """Neither: a person has to look."""

    why: str


Fate = Done | Go | Unclear


class Effect:
    """Of a statement that leaves nothing to tell it by (VACUUM, CLUSTER): it is run again.

    ``patient``: while it waits for a lock it holds up nobody but other changes of the schema, so it may wait long; and a
    timeout would throw away what it has built.
    """

    patient = False

    def __init__(self, node: Any, text: str) -> None:
        self.node = node
        self.text = text

    def before(self, on: session.Session) -> str:
        """To be noted before it runs."""
        return ""

    def examine(self, on: session.Session, before: str, *, begun: bool) -> Fate:
        """What is to be done now.  ``begun``: it may have run already, since ``before`` was noted."""
        return Go()

    def missing(self, on: session.Session) -> str:
        """What is not there although Postgres reported success, "" if nothing is missing."""
        return ""


@dataclasses.dataclass(frozen=True)
class _Found:
    """What has an index's name.  ``table``: of the index, 0 if it is none.  ``ours``: on the statement's table."""

    oid: int
    name: str
    table: int
    valid: bool
    ours: bool


class _Index(Effect):
    """CREATE INDEX CONCURRENTLY.  It appears in the catalog first, and becomes valid last."""

    patient = True

    def before(self, on: session.Session) -> str:
        found = self._find(on)
        return str(found.oid) if found else ""

    def examine(self, on: session.Session, before: str, *, begun: bool) -> Fate:
        found = self._find(on)
        if found is None:
            return Go()
        if found.ours and not found.valid:
            # Never trust IF NOT EXISTS: to Postgres an invalid index exists.
            return Go(leftovers=((found.table, found.name),))
        if str(found.oid) == before:
            return Go()  # Postgres says what is to be said: that it exists already
        if found.ours and self._as_written(on, found):
            return Done()
        return Unclear(f"{found.name} is not what this statement makes, and was not there before it began")

    def missing(self, on: session.Session) -> str:
        found = self._find(on)
        return "" if found and found.valid else f"Postgres reported success, and there is no valid index {self.node.idxname}"

    def _find(self, on: session.Session) -> _Found | None:
        table = self.node.relation
        found = _ask(
            on,
            f"SELECT c.oid::int8, {_FULL_NAME}, coalesce(i.indrelid, 0)::int8,"
            " coalesce(i.indisvalid AND i.indisready AND i.indislive, false), coalesce(i.indrelid = r.oid, false)"
            f" FROM pg_catalog.pg_class r JOIN pg_catalog.pg_class c ON r.oid = {_LOOK_UP}"
            f" AND c.relnamespace = r.relnamespace AND c.relname = %(index)s {_WITH_SCHEMA}"
            " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid",
            {"schema": table.schemaname, "name": table.relname, "index": self.node.idxname},
        )
        return _Found(*found[0]) if found else None

    def _as_written(self, on: session.Session, found: _Found) -> bool:
        """Whether that index is what the statement makes: it is made once more, on an empty table with the same columns.

        Where that is not to be had (no right to make temporary tables), it has the name, the table and the time to be it.
        """
        rest = _behind_table(self.text, self.node.relation.location)
        clone = _identifier(self.node.relation.relname)
        unique = "UNIQUE " if self.node.unique else ""
        definition = "pg_catalog.split_part(pg_catalog.pg_get_indexdef({}.indexrelid), ' USING ', 2)"
        same = rest and on.attempt(
            f"CREATE TEMP TABLE {clone} (LIKE {full_name(on, found.table)}) ON COMMIT DROP;"
            f"CREATE {unique}INDEX schemahold_clone ON pg_temp.{clone} {rest};"
            f"SELECT a.indisunique = b.indisunique AND {definition.format('a')} = {definition.format('b')}"
            " FROM pg_catalog.pg_index a, pg_catalog.pg_index b"
            f" WHERE a.indexrelid = 'pg_temp.schemahold_clone'::regclass AND b.indexrelid = {found.oid}",
            within=_WITHIN,
        )
        return bool(same[0][0]) if same else True


class _DropIndex(Effect):
    """DROP INDEX CONCURRENTLY.  The index becomes invalid first, and goes last."""

    patient = True

    def before(self, on: session.Session) -> str:
        parts = [parse.inner(item).node.sval for item in parse.inner(self.node.objects[0]).node.items]
        params = {"schema": parts[-2] if len(parts) > 1 else "", "name": parts[-1]}
        [(oid,)] = _ask(on, f"SELECT {_LOOK_UP}::text", params)
        return oid or ""

    def examine(self, on: session.Session, before: str, *, begun: bool) -> Fate:
        if not begun or not before:
            return Go()
        return Go() if _ask(on, f"SELECT true FROM pg_catalog.pg_class WHERE oid = {int(before)}") else Done()


class _Reindex(Effect):
    """REINDEX … CONCURRENTLY, or of a whole schema.  It may leave invalid indexes behind, with a name of its own."""

    def __init__(self, node: Any, text: str) -> None:
        super().__init__(node, text)
        self.patient = any(parse.inner(option).node.defname == "concurrently" for option in node.params)

    def examine(self, on: session.Session, before: str, *, begun: bool) -> Fate:
        return Go(leftovers=self._leftovers(on)) if begun else Go()

    def _leftovers(self, on: session.Session) -> tuple[tuple[int, str], ...]:
        found = _ask(
            on,
            f"WITH RECURSIVE t(oid) AS ({self._tables()}"
            "  UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN t ON h.inhparent = t.oid)"
            f" SELECT i.indrelid::int8, {_FULL_NAME} FROM t"
            " JOIN pg_catalog.pg_index i ON i.indrelid = t.oid AND NOT i.indisvalid"
            f" JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relname ~ '_cc(new|old)[0-9]*$' {_WITH_SCHEMA}",
            {"schema": self.node.relation.schemaname, "name": self.node.relation.relname or self.node.name},
        )
        return tuple((table, name) for table, name in found)

    def _tables(self) -> str:
        match parse.word(self.node, "kind"):
            case "REINDEX_OBJECT_INDEX":
                return f"SELECT x.indrelid FROM pg_catalog.pg_index x WHERE x.indexrelid = {_LOOK_UP}"
            case "REINDEX_OBJECT_TABLE":
                return f"SELECT {_LOOK_UP}"
            case "REINDEX_OBJECT_SCHEMA":
                return (
                    "SELECT x.oid FROM pg_catalog.pg_class x JOIN pg_catalog.pg_namespace s ON s.oid = x.relnamespace"
                    " WHERE s.nspname = %(name)s"
                )
        return "SELECT x.oid FROM pg_catalog.pg_class x"


class _Detach(Effect):
    """ALTER TABLE … DETACH PARTITION … CONCURRENTLY: marked first, detached when nobody uses it, or by FINALIZE."""

    def before(self, on: session.Session) -> str:
        found = self._find(on)
        return f"{found[0]} {found[1]}" if found else ""

    def examine(self, on: session.Session, before: str, *, begun: bool) -> Fate:
        if not begun or not before:
            return Go()
        parent, child = map(int, before.split())
        found = _ask(
            on,
            "SELECT coalesce(pg_catalog.to_jsonb(h)->>'inhdetachpending', 'false') FROM pg_catalog.pg_inherits h"
            f" WHERE h.inhparent = {parent} AND h.inhrelid = {child}",
        )
        if not found:
            return Done()
        if found[0][0] == "true":
            return Go(instead=f"ALTER TABLE {full_name(on, parent)} DETACH PARTITION {full_name(on, child)} FINALIZE")
        return Go()

    def _find(self, on: session.Session) -> tuple[int, int] | None:
        """Oids of the parent and of the partition, if it is one."""
        command = next(parse.inner(one).node for one in self.node.cmds)
        child = parse.inner(getattr(command, "def")).node.name
        oids = [
            _ask(on, f"SELECT coalesce({_LOOK_UP}, 0)::int8", {"schema": name.schemaname, "name": name.relname})[0][0]
            for name in (self.node.relation, child)
        ]
        attached = f"SELECT true FROM pg_catalog.pg_inherits WHERE inhparent = {oids[0]} AND inhrelid = {oids[1]}"
        return (oids[0], oids[1]) if _ask(on, attached) else None


_KINDS: dict[str, type[Effect]] = {
    "index_stmt": _Index,
    "drop_stmt": _DropIndex,
    "reindex_stmt": _Reindex,
    "alter_table_stmt": _Detach,
}


def effect(statement: Statement, *, file: str) -> Effect:
    """Of a statement that cannot run in a transaction."""
    tree = parse.parse(statement, file=file)
    return _KINDS.get(tree.kind, Effect)(tree.node, statement.text)


def is_invalid(on: session.Session, name: str) -> bool:
    """Whether the index ``name`` (in full) is there and not valid."""
    query = "SELECT true FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(%(name)s) AND NOT indisvalid"
    return bool(_ask(on, query, {"name": name}))


# --- asking -----------------------------------------------------------------------------------------------------------

# The oid of what a name means to the role, NULL when it is nothing.
_LOOK_UP = (
    "pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(nullif(%(schema)s, '')) || '.',"
    " pg_catalog.quote_ident(%(name)s)))::oid"
)
_FULL_NAME = "pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname))"
_WITH_SCHEMA = "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"


def _ask(on: session.Session, query: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return on.fetch(f"SET LOCAL search_path TO DEFAULT; {query}", params)


def full_name(on: session.Session, oid: int) -> str:
    """Schema and name, quoted."""
    return str(_ask(on, f"SELECT {_FULL_NAME} FROM pg_catalog.pg_class c {_WITH_SCHEMA} WHERE c.oid = {oid}")[0][0])


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string(None)


# A name as it is written, with what may stand between its parts.
_BLANK = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_WORD = rb'(?:"(?:[^"]|"")*"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)'
_NAME = re.compile(rb"%b(?:%b\.%b%b)*" % (_WORD, _BLANK, _BLANK, _WORD), re.DOTALL)


def _behind_table(text: str, location: int) -> str:
    """What follows the table's name, which stands at byte ``location``; "" when that cannot be told."""
    data = text.encode()
    found = _NAME.match(data, location)
    return data[found.end() :].decode() if found else ""
