"""Which rows a statement can touch, as far as its text tells: is there a bound?

Bounded means one of these, by a column that is a key: equal to literals (``=``, ``IN``, ``= ANY``); a range of integers
with both ends, no wider than ``largeTable``; equal to a scalar subselect; in a subselect, CTE or VALUES list that is itself
bounded, by a LIMIT no larger than ``largeTable`` or by its text.  Key columns: the primary key where CREATE TABLE was seen;
otherwise, by convention, ``id``, ``uuid``, ``<table>_id``; and ``ctid``.  Everything else counts as unbounded: ``WHERE
status = 'new'`` may be one row or all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from schemahold.core.sql import parse
from schemahold.core.sql.parse import Tree
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import Scene


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a statement reads that has few rows: ``ctes`` by the name that a FROM can use, ``rows`` by the name that
    qualifies their columns."""

    ctes: frozenset[str] = frozenset()
    rows: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Target:
    """The table that is written.  ``names``: how its columns are qualified, "" for not at all.  ``keys``: sets of columns
    that each pin one row."""

    names: frozenset[str]
    keys: tuple[frozenset[str], ...]
    sources: Sources
    most: int

    def column(self, wrapper: Node) -> str:
        """The name of the target's column that a node is, or ""."""
        tree = parse.inner(wrapper)
        if tree.kind != "column_ref":
            return ""
        *qualifier, name = nodes.words(tree.node.fields)
        return name if ".".join(qualifier) in self.names else ""

    def of_few(self, wrapper: Node) -> bool:
        """A column of a source that has few rows."""
        tree = parse.inner(wrapper)
        return tree.kind == "column_ref" and ".".join(nodes.words(tree.node.fields)[:-1]) in self.sources.rows

    def few(self, select: Node) -> bool:
        return few(select, self.sources.ctes, self.most)


def target(relation: Node, scene: Scene, sources: Sources | None = None) -> Target:
    table = nodes.relation(relation)
    name = relation.alias.aliasname if relation.HasField("alias") else relation.relname
    known = scene.known.keys.get(table)
    usual = {"id", "uuid", f"{relation.relname}_id", f"{relation.relname.removesuffix('s')}_id"}
    keys = [known] if known else [frozenset({each}) for each in usual]
    return Target(frozenset({"", name}), (*keys, frozenset({"ctid"})), sources or Sources(), scene.large_table)


def bounded(where: Node, on: Target) -> bool:
    """Whether WHERE (or ON) holds for few rows only."""
    tests = list(_all_of(where))
    if any(test.kind == "current_of_expr" for test in tests):
        return True
    pinned = {column for test in tests for column in _pinned(test, on)} | _ranges(tests, on)
    return any(key <= pinned for key in on.keys)


def _all_of(where: Node) -> Iterator[Tree]:
    """What AND puts together."""
    tree = parse.inner(where)
    if tree.kind == "bool_expr" and parse.word(tree.node, "boolop") == "AND_EXPR":
        for each in tree.node.args:
            yield from _all_of(each)
    elif tree.node is not None:
        yield tree


def _pinned(test: Tree, on: Target) -> Iterator[str]:
    """The column that a test leaves few values."""
    if test.kind == "sub_link":
        # IN has no operator, = ANY has one.
        any_of = parse.word(test.node, "sub_link_type") == "ANY_SUBLINK" and nodes.dotted(test.node.oper_name) in ("", "=")
        if any_of and on.few(test.node.subselect):
            yield on.column(test.node.testexpr)
    elif test.kind == "a_expr" and nodes.words(test.node.name) == ["="]:
        kind = parse.word(test.node, "kind")
        for column, value in ((test.node.lexpr, test.node.rexpr), (test.node.rexpr, test.node.lexpr)):
            if COMPARE.get(kind, _never)(value, on):
                yield on.column(column)


def _never(value: Node, on: Target) -> bool:
    return False


def _one_value(value: Node, on: Target) -> bool:
    tree = parse.inner(value)
    scalar = tree.kind == "sub_link" and parse.word(tree.node, "sub_link_type") == "EXPR_SUBLINK"
    return nodes.literal(value) or on.of_few(value) or scalar


def _one_of(value: Node, on: Target) -> bool:
    tree = parse.inner(value)
    return tree.kind == "list" and all(nodes.literal(each) for each in tree.node.items)


def _any_of(value: Node, on: Target) -> bool:
    tree = parse.inner(value)
    if tree.kind == "sub_link":
        return parse.word(tree.node, "sub_link_type") == "ARRAY_SUBLINK" and on.few(tree.node.subselect)
    if tree.kind == "type_cast":
        return _any_of(tree.node.arg, on)
    array = tree.kind == "a_array_expr" and all(nodes.literal(each) for each in tree.node.elements)
    return array or nodes.literal(value)


COMPARE = {"AEXPR_OP": _one_value, "AEXPR_IN": _one_of, "AEXPR_OP_ANY": _any_of}


def _ranges(tests: Iterable[Tree], on: Target) -> set[str]:
    """The columns that are between two integers which are not far apart."""
    lower: dict[str, int] = {}
    upper: dict[str, int] = {}
    for test in tests:
        for column, sign, value in _limits(test):
            (lower if sign == ">" else upper)[on.column(column)] = value
    return {column for column in lower if column in upper and upper[column] - lower[column] <= on.most}


def _limits(test: Tree) -> Iterator[tuple[Node, str, int]]:
    """``column > integer`` and the like, as (column, sign, integer)."""
    if test.kind != "a_expr":
        return
    kind, operator = parse.word(test.node, "kind"), nodes.dotted(test.node.name)
    if kind == "AEXPR_BETWEEN":
        ends = [nodes.integer(each) for each in parse.inner(test.node.rexpr).node.items]
        for sign, end in zip("><", ends, strict=True):
            if end is not None:
                yield test.node.lexpr, sign, end
    elif kind == "AEXPR_OP" and operator in ("<", "<=", ">", ">="):
        left, right = nodes.integer(test.node.lexpr), nodes.integer(test.node.rexpr)
        if right is not None:
            yield test.node.lexpr, operator[0], right
        elif left is not None:
            yield test.node.rexpr, ">" if operator[0] == "<" else "<", left


# --- sources ----------------------------------------------------------------------------------------------------------


def few(select: Node, ctes: frozenset[str], most: int) -> bool:
    """Whether a SELECT gives few rows: by LIMIT, by VALUES, by having no FROM, or because its only source is such a CTE."""
    tree = parse.inner(select)
    if tree.kind != "select_stmt" or parse.word(tree.node, "op") != "SETOP_NONE":
        return False
    limit = nodes.integer(tree.node.limit_count)
    if limit is not None and limit <= most and parse.word(tree.node, "limit_option") != "LIMIT_OPTION_WITH_TIES":
        return True
    if tree.node.values_lists:
        return True
    sources = [parse.inner(each) for each in tree.node.from_clause]
    if not sources:
        return not any(name in ("generate_series", "unnest") for name in nodes.functions_in(tree.node))
    # Its own WITH may give the name to something else.
    return len(sources) == 1 and _cte(sources[0], ctes) and not tree.node.HasField("with_clause")


def _cte(source: Tree, ctes: frozenset[str]) -> bool:
    return source.kind == "range_var" and not source.node.schemaname and source.node.relname in ctes


def sources_of(statement: Node, read: Iterable[Node], most: int) -> Sources:
    """Of a statement whose FROM or USING is ``read``."""
    ctes: frozenset[str] = frozenset()
    if statement.HasField("with_clause"):
        for cte in (parse.inner(each).node for each in statement.with_clause.ctes):
            if few(cte.ctequery, ctes, most):
                ctes |= {cte.ctename}
    found = [parse.inner(each) for each in read]
    return Sources(ctes, frozenset(_alias(each) for each in found if _few_rows(each, ctes, most)) - {""})


def _few_rows(source: Tree, ctes: frozenset[str], most: int) -> bool:
    return _cte(source, ctes) or (source.kind == "range_subselect" and few(source.node.subquery, ctes, most))


def _alias(source: Tree) -> str:
    if source.node.HasField("alias"):
        return str(source.node.alias.aliasname)
    return str(source.node.relname) if source.kind == "range_var" else ""
