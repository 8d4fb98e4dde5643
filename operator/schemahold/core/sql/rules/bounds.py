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


@dataclasses.dataclass
class Target:
    """The table that is written.  ``names``: how its columns are qualified, "" for not at all.  ``keys``: sets of columns
    that each pin one row.  ``small``: names of sources that have few rows."""

    names: frozenset[str]
    keys: tuple[frozenset[str], ...]
    small: frozenset[str]
    most: int

    def column(self, wrapper: Node) -> str:
        """The name of the target's column that a node is, or ""."""
        tree = parse.inner(wrapper)
        if tree.kind != "column_ref":
            return ""
        parts = nodes.words(tree.node.fields)
        return parts[-1] if ".".join(parts[:-1]) in self.names else ""

    def of_small(self, wrapper: Node) -> bool:
        """A column of a source that has few rows."""
        tree = parse.inner(wrapper)
        if tree.kind != "column_ref" or len(tree.node.fields) != 2:
            return False
        return nodes.words(tree.node.fields)[0] in self.small


def target(relation: Node, scene: Scene, small: frozenset[str] = frozenset()) -> Target:
    table = nodes.relation(relation)
    name = relation.alias.aliasname if relation.HasField("alias") else relation.relname
    known = scene.known.keys.get(table)
    usual = {"id", "uuid", f"{relation.relname}_id", f"{relation.relname.removesuffix('s')}_id"}
    keys = [known] if known else [frozenset({each}) for each in usual]
    return Target(frozenset({"", name}), (*keys, frozenset({"ctid"})), small, scene.large_table)


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
    if test.kind == "sub_link" and parse.word(test.node, "sub_link_type") == "ANY_SUBLINK" and not test.node.oper_name:
        if small(test.node.subselect, on.small, on.most):
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
    return nodes.literal(value) or on.of_small(value) or scalar


def _one_of(value: Node, on: Target) -> bool:
    tree = parse.inner(value)
    return tree.kind == "list" and all(nodes.literal(each) for each in tree.node.items)


def _any_of(value: Node, on: Target) -> bool:
    tree = parse.inner(value)
    if tree.kind == "sub_link":
        return parse.word(tree.node, "sub_link_type") == "ARRAY_SUBLINK" and small(tree.node.subselect, on.small, on.most)
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


def small(select: Node, names: frozenset[str], most: int) -> bool:
    """Whether a SELECT gives few rows: by LIMIT, by VALUES, by having no FROM, or because its only source does."""
    tree = parse.inner(select)
    if tree.kind != "select_stmt" or parse.word(tree.node, "op") != "SETOP_NONE":
        return False
    limit = nodes.integer(tree.node.limit_count)
    if limit is not None and limit <= most:
        return True
    if tree.node.values_lists:
        return True
    sources = [parse.inner(each) for each in tree.node.from_clause]
    if not sources:
        return not any(name in ("generate_series", "unnest") for name in nodes.functions_in(tree.node))
    return len(sources) == 1 and sources[0].kind == "range_var" and sources[0].node.relname in names


def small_sources(statement: Node, sources: Iterable[Node], most: int) -> frozenset[str]:
    """The names in a statement, of its CTEs and of its FROM or USING, that have few rows."""
    found: set[str] = set()
    if statement.HasField("with_clause"):
        for cte in (parse.inner(each).node for each in statement.with_clause.ctes):
            if small(cte.ctequery, frozenset(found), most):
                found.add(cte.ctename)
    names = frozenset(found)
    for source in (parse.inner(each) for each in sources):
        if source.kind == "range_subselect" and small(source.node.subquery, names, most):
            found.add(source.node.alias.aliasname)
        elif source.kind == "range_var" and source.node.relname in names and not source.node.schemaname:
            found.add(source.node.alias.aliasname if source.node.HasField("alias") else source.node.relname)
    return frozenset(found)
