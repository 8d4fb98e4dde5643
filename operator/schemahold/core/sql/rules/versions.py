"""Syntax that came with a version of Postgres after 13: older servers cannot read it.

From the release notes of PostgreSQL 14 to 18.  The grammar that parses the files is that of 18, so nothing else would tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.parse import Tree
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.effects import Effect, finding
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import Scene

Found = Iterator[tuple[int, str]]  #: (major version that first reads it, what it is)


def newer(tree: Tree, scene: Scene) -> Iterator[Effect]:
    """What the server cannot read; with an unknown server, whatever 13 cannot."""
    if not scene.older_than(18) or tree.kind not in SYNTAX:
        return
    for major, what in dict.fromkeys(SYNTAX[tree.kind](tree.node)):
        if scene.older_than(major):
            known = scene.server_version // 10_000
            server = f"this server is {known}" if known else "the server's version is not known here"
            yield finding(
                "newer-syntax",
                breaks=f"Postgres before {major} does not know {what}, and {server}.",
                fix=("" if known else f"tell the version (lint: --pg-version {major}), or ") + "write it in an older form.",
            )


def _constraint(constraint: Node) -> Found:
    kind = parse.word(constraint, "contype")
    if kind in ("CONSTR_CHECK", "CONSTR_FOREIGN") and not constraint.is_enforced:
        yield 18, "NOT ENFORCED"
    if constraint.without_overlaps:
        yield 18, "WITHOUT OVERLAPS"
    if constraint.fk_with_period:
        yield 18, "PERIOD in a foreign key"
    if kind == "CONSTR_GENERATED" and constraint.generated_kind == "v":
        yield 18, "VIRTUAL generated columns"
    if constraint.nulls_not_distinct:
        yield 15, "NULLS NOT DISTINCT"
    if constraint.fk_del_set_cols:
        yield 15, "ON DELETE SET NULL with columns"


def _table_constraint(constraint: Node) -> Found:
    yield from _constraint(constraint)
    if parse.word(constraint, "contype") == "CONSTR_NOTNULL":
        yield 18, "NOT NULL as a constraint of the table"


def _column(definition: Node) -> Found:
    for each in definition.constraints:
        yield from _constraint(parse.inner(each).node)
    if definition.storage_name:
        yield 16, "STORAGE of a new column"
    if definition.compression:
        yield 14, "COMPRESSION"


def _elements(elements: list[Node]) -> Found:
    for element in (parse.inner(each) for each in elements):
        if element.kind == "column_def":
            yield from _column(element.node)
        elif element.kind == "constraint":
            yield from _table_constraint(element.node)


def _create_foreign(node: Node) -> Found:
    yield from _elements(node.base_stmt.table_elts)
    if any(parse.inner(each).kind == "table_like_clause" for each in node.base_stmt.table_elts):
        yield 18, "LIKE in CREATE FOREIGN TABLE"


def _alter(node: Node) -> Found:
    for command in (parse.inner(each).node for each in node.cmds):
        subtype = parse.word(command, "subtype")
        if subtype in ACTIONS:
            yield ACTIONS[subtype]
        definition = parse.inner(getattr(command, "def"))
        yield from _elements([getattr(command, "def")])
        if definition.kind == "atalter_constraint" and definition.node.alter_enforceability:
            yield 18, "ALTER CONSTRAINT … ENFORCED"
        if definition.kind == "atalter_constraint" and definition.node.alter_inheritability:
            yield 18, "ALTER CONSTRAINT … INHERIT"
        if definition.kind == "partition_cmd" and definition.node.concurrent:
            yield 14, "DETACH PARTITION CONCURRENTLY"
        if subtype == "AT_SetStorage" and definition.kind == "string" and definition.node.sval == "default":
            yield 16, "SET STORAGE DEFAULT"
        if subtype == "AT_SetAccessMethod" and not command.name:
            yield 17, "SET ACCESS METHOD DEFAULT"
        if definition.kind == "list" and "security_invoker" in nodes.options(definition.node.items):
            yield 15, "security_invoker"


ACTIONS: Mapping[str, tuple[int, str]] = {
    "AT_SetExpression": (17, "SET EXPRESSION"),
    "AT_SetAccessMethod": (15, "SET ACCESS METHOD"),
    "AT_SetCompression": (14, "SET COMPRESSION"),
    "AT_DetachPartitionFinalize": (14, "DETACH PARTITION FINALIZE"),
}


def _index(node: Node) -> Found:
    if node.nulls_not_distinct:
        yield 15, "NULLS NOT DISTINCT"


def _merge(node: Node) -> Found:
    yield 15, "MERGE"
    if node.HasField("returning_clause"):
        yield 17, "MERGE … RETURNING"
    for clause in (parse.inner(each).node for each in node.merge_when_clauses):
        if parse.word(clause, "match_kind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE":
            yield 17, "WHEN NOT MATCHED BY SOURCE"


def _returning(node: Node) -> Found:
    if node.HasField("returning_clause") and node.returning_clause.options:
        yield 18, "RETURNING WITH (OLD, NEW)"


def _function(node: Node) -> Found:
    if node.HasField("sql_body"):
        yield 14, "an SQL body (BEGIN ATOMIC, RETURN)"


def _trigger(node: Node) -> Found:
    if node.replace:
        yield 14, "CREATE OR REPLACE TRIGGER"


def _statistics(node: Node) -> Found:
    if any(parse.inner(each).node.HasField("expr") for each in node.exprs):
        yield 14, "statistics on expressions"
    if not node.defnames:
        yield 16, "CREATE STATISTICS without a name"


def _range(node: Node) -> Found:
    if "multirange_type_name" in nodes.options(node.params):
        yield 14, "MULTIRANGE_TYPE_NAME"


def _reindex(node: Node) -> Found:
    if "tablespace" in nodes.options(node.params):
        yield 14, "REINDEX (TABLESPACE …)"


def _grant(node: Node) -> Found:
    if any(parse.inner(each).node.priv_name == "maintain" for each in node.privileges):
        yield 17, "the privilege MAINTAIN"
    if parse.word(node, "objtype") == "OBJECT_PARAMETER_ACL":
        yield 15, "GRANT … ON PARAMETER"


def _publication(node: Node) -> Found:
    for each in (parse.inner(item).node for item in node.pubobjects):
        if parse.word(each, "pubobjtype").startswith("PUBLICATIONOBJ_TABLES_IN"):
            yield 15, "TABLES IN SCHEMA"
        if each.pubtable.HasField("where_clause") or each.pubtable.columns:
            yield 15, "row filters and column lists of publications"


def _view(node: Node) -> Found:
    if "security_invoker" in nodes.options(node.options):
        yield 15, "security_invoker"


SYNTAX: Mapping[str, Callable[[Node], Found]] = {
    "create_stmt": lambda node: _elements(node.table_elts),
    "create_foreign_table_stmt": _create_foreign,
    "alter_table_stmt": _alter,
    "index_stmt": _index,
    "merge_stmt": _merge,
    "insert_stmt": _returning,
    "update_stmt": _returning,
    "delete_stmt": _returning,
    "create_function_stmt": _function,
    "create_trig_stmt": _trigger,
    "create_stats_stmt": _statistics,
    "create_range_stmt": _range,
    "reindex_stmt": _reindex,
    "grant_stmt": _grant,
    "create_publication_stmt": _publication,
    "alter_publication_stmt": _publication,
    "view_stmt": _view,
    "alter_database_refresh_coll_stmt": lambda node: iter([(15, "REFRESH COLLATION VERSION of a database")]),
}
