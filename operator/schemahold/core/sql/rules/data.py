"""Rows: INSERT, UPDATE, DELETE, MERGE, SELECT, COPY; and what they do inside WITH."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.rules import bounds, nodes
from schemahold.core.sql.rules.effects import (
    ACCESS_EXCLUSIVE,
    ACCESS_SHARE,
    EXCLUSIVE,
    ROW_EXCLUSIVE,
    ROW_SHARE,
    Effect,
    finding,
    quiet,
)
from schemahold.core.sql.rules.functions import HARMLESS
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import Scene

BATCHES = (
    "batches, each a transaction of its own: WHERE by primary key (id = 1, id BETWEEN 1 AND 10000), or id IN (SELECT id … "
    "LIMIT 1000)."
)


def _unbounded(table: str, what: str, lock: str) -> Effect:
    return finding(
        "unbounded-write",
        lock,
        breaks=f"{what} every row of '{table}' that it matches, however many, and their other writers wait to the end.",
        fix=BATCHES,
        table=table,
    )


def _ctes(node: Node, scene: Scene) -> Iterator[Effect]:
    """WITH d AS (DELETE …): these write, too."""
    if node.HasField("with_clause"):
        for cte in (parse.inner(each).node for each in node.with_clause.ctes):
            tree = parse.inner(cte.ctequery)
            if tree.kind in ("insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"):
                yield from HANDLERS[tree.kind](tree.node, scene)


def insert(node: Node, scene: Scene) -> Iterator[Effect]:
    """New rows are in nobody's way; ON CONFLICT DO UPDATE writes old ones, as many as its source has."""
    yield quiet(ROW_EXCLUSIVE)
    yield from _ctes(node, scene)
    source = parse.inner(node.select_stmt)
    if source.kind == "select_stmt":
        yield from _ctes(source.node, scene)
    table = nodes.relation(node.relation)
    updates = node.HasField("on_conflict_clause") and parse.word(node.on_conflict_clause, "action") == "ONCONFLICT_UPDATE"
    if updates and not scene.new(table):
        ctes = bounds.sources_of(node, (), scene.large_table).ctes
        if not bounds.few(node.select_stmt, ctes, scene.large_table):
            yield _unbounded(table, "ON CONFLICT DO UPDATE writes", ROW_EXCLUSIVE)


def update(node: Node, scene: Scene) -> Iterator[Effect]:
    yield from _written(node, node.from_clause, "UPDATE writes", scene)


def delete(node: Node, scene: Scene) -> Iterator[Effect]:
    yield from _written(node, node.using_clause, "DELETE removes", scene)


def _written(node: Node, sources: list[Node], what: str, scene: Scene) -> Iterator[Effect]:
    yield quiet(ROW_EXCLUSIVE)
    yield from _ctes(node, scene)
    table = nodes.relation(node.relation)
    on = bounds.target(node.relation, scene, bounds.sources_of(node, sources, scene.large_table))
    if not scene.new(table) and not bounds.bounded(node.where_clause, on):
        yield _unbounded(table, what, ROW_EXCLUSIVE)


def merge(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(ROW_EXCLUSIVE)
    yield from _ctes(node, scene)
    table = nodes.relation(node.relation)
    clauses = [parse.inner(each).node for each in node.merge_when_clauses]
    changes = [each for each in clauses if parse.word(each, "command_type") in ("CMD_UPDATE", "CMD_DELETE")]
    if not changes or scene.new(table):
        return
    on = bounds.target(node.relation, scene, bounds.sources_of(node, [node.source_relation], scene.large_table))
    whole = any(parse.word(each, "match_kind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE" for each in changes)
    if whole or not bounds.bounded(node.join_condition, on):
        yield _unbounded(table, "MERGE writes", ROW_EXCLUSIVE)


def select(node: Node, scene: Scene) -> Iterator[Effect]:
    """A SELECT whose rows nobody reads is there for what its functions do: unknown ones may do anything."""
    yield quiet(ROW_SHARE if node.locking_clause else ACCESS_SHARE)
    yield from _ctes(node, scene)
    for name in dict.fromkeys(nodes.functions_in(node)):
        if name not in HARMLESS:
            yield finding(
                "unknown-function",
                breaks=f"nobody can tell from the text what '{name}' does, or what it locks.",
                fix="write what it does as statements; or see what it does, and say so in an override.",
            )
    if node.locking_clause and not bounds.few(node, frozenset(), scene.large_table):
        below = [tree for each in node.from_clause for tree in parse.every(each)]
        for table in [tree.node for tree in below if tree.kind == "range_var"]:
            on = bounds.target(table, scene)
            if not scene.new(nodes.relation(table)) and not bounds.bounded(node.where_clause, on):
                yield _unbounded(nodes.relation(table), "FOR UPDATE or FOR SHARE locks", ROW_SHARE)


def copy(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(ROW_EXCLUSIVE if node.is_from else ACCESS_SHARE)
    if node.is_program:
        yield unknown(f"the program '{node.filename}' runs on the database server")
    query = parse.inner(node.query)
    if query.kind in HANDLERS:
        yield from HANDLERS[query.kind](query.node, scene)


def unknown(why: str) -> Effect:
    return finding(
        "unknown-code",
        breaks=f"{why}: nobody can tell from the text what it locks, changes or breaks.",
        fix="write what it does as statements of their own; or see what it does, and say so in an override.",
    )


def explain(node: Node, scene: Scene) -> Iterator[Effect]:
    """EXPLAIN ANALYZE runs the statement."""
    query = parse.inner(node.query)
    if nodes.on(nodes.options(node.options), "analyze") and query.kind in HANDLERS:
        yield from HANDLERS[query.kind](query.node, scene)
    elif nodes.on(nodes.options(node.options), "analyze") and query.kind == "execute_stmt":
        yield unknown("EXPLAIN ANALYZE EXECUTE runs a prepared statement")
    else:
        yield quiet(ACCESS_SHARE)


def do(node: Node, scene: Scene) -> Iterator[Effect]:
    yield unknown("DO runs code")


def call(node: Node, scene: Scene) -> Iterator[Effect]:
    yield unknown(f"CALL runs the procedure '{nodes.dotted(node.funccall.funcname)}'")


def execute(node: Node, scene: Scene) -> Iterator[Effect]:
    yield unknown(f"EXECUTE runs the prepared statement '{node.name}'")


def refresh(node: Node, scene: Scene) -> Iterator[Effect]:
    name = nodes.relation(node.relation)
    if node.concurrent:
        yield quiet(EXCLUSIVE)
        return
    yield quiet(ACCESS_EXCLUSIVE)
    if not scene.new(name):
        yield finding(
            "refresh-view",
            ACCESS_EXCLUSIVE,
            breaks=f"reads of '{name}' fail from now on."
            if node.skip_data
            else f"reads of '{name}' wait until it is filled.",
            fix="REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index on it.",
            table="" if node.skip_data else name,
        )


HANDLERS: Mapping[str, Callable[[Node, Scene], Iterator[Effect]]] = {
    "insert_stmt": insert,
    "update_stmt": update,
    "delete_stmt": delete,
    "merge_stmt": merge,
    "select_stmt": select,
    "copy_stmt": copy,
    "explain_stmt": explain,
    "do_stmt": do,
    "call_stmt": call,
    "execute_stmt": execute,
    "refresh_mat_view_stmt": refresh,
}
