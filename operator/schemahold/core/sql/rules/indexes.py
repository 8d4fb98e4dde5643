"""Indexes: CREATE, DROP, REINDEX.  What CONCURRENTLY is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.effects import (
    ACCESS_EXCLUSIVE,
    LATER,
    SHARE,
    SHARE_UPDATE_EXCLUSIVE,
    Effect,
    finding,
    quiet,
)
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import Scene


def create(node: Node, scene: Scene) -> Iterator[Effect]:
    table = nodes.relation(node.relation)
    lock = SHARE_UPDATE_EXCLUSIVE if node.concurrent else SHARE
    yield quiet(lock)
    if scene.new(table):
        return
    # ON ONLY is how an index on a partitioned table is begun without building it anywhere.
    if not node.concurrent and node.relation.inh:
        yield finding(
            "create-index",
            lock,
            breaks=f"writes to '{table}' wait until the index is built.",
            fix="CREATE INDEX CONCURRENTLY, in a file of its own. On a partitioned table: CREATE INDEX ON ONLY, then "
            "CONCURRENTLY on each partition, then ALTER INDEX … ATTACH PARTITION.",
            table=table,
        )
    if node.unique and not _misses_old_code(node, table, scene):
        yield finding(
            "new-constraint",
            lock,
            breaks=f"old code that writes duplicates to '{table}' fails.",
            fix="if old code writes none, say so in an override; otherwise " + LATER,
        )


def _misses_old_code(node: Node, table: str, scene: Scene) -> bool:
    """Old code stores NULL in a column that it does not know, and NULLs are distinct."""
    if node.nulls_not_distinct:
        return False
    names = [parse.inner(each).node.name for each in node.index_params]
    found = [scene.new_column(table, name) for name in names if name]
    return any(column is not None and not column.filled for column in found)


def drop(names: list[str], *, concurrent: bool, scene: Scene) -> Iterator[Effect]:
    """DROP INDEX, of indexes that this transaction has not made."""
    lock = SHARE_UPDATE_EXCLUSIVE if concurrent else ACCESS_EXCLUSIVE
    yield quiet(lock)
    for name in names:
        yield finding(
            "drop-index",
            lock,
            breaks=f"old code's queries that use '{name}' become slow, and ON CONFLICT that needs it fails.",
            fix="if nothing uses it (pg_stat_user_indexes), or it is invalid, say so in an override; otherwise " + LATER,
        )
        if not concurrent:
            yield finding(
                "drop-index-blocking",
                lock,
                breaks=f"reads and writes of the table of '{name}' queue behind it.",
                fix="DROP INDEX CONCURRENTLY, in a file of its own.",
            )


def concurrently(params: Iterable[Node]) -> bool:
    """Whether REINDEX's options say so."""
    return nodes.on(nodes.options(params), "concurrently")


def reindex(node: Node, scene: Scene) -> Iterator[Effect]:
    if concurrently(node.params):
        yield quiet(SHARE_UPDATE_EXCLUSIVE)
        return
    # The index itself is locked against everybody, and the planner looks at every index of a table.
    name = nodes.relation(node.relation) if node.HasField("relation") else ""
    yield quiet(ACCESS_EXCLUSIVE)
    if not scene.new(name):
        yield finding(
            "reindex",
            ACCESS_EXCLUSIVE,
            breaks=f"reads and writes wait until {repr(name) if name else 'one table after the other'} is built anew.",
            fix="REINDEX … CONCURRENTLY, in a file of its own.",
            table=name if parse.word(node, "kind") == "REINDEX_OBJECT_TABLE" else "",  # an index has no rows to count
        )


HANDLERS: Mapping[str, Callable[[Node, Scene], Iterator[Effect]]] = {"index_stmt": create, "reindex_stmt": reindex}
