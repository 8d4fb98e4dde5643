"""Names, types and columns, read from libpg_query's messages.

Names are as the statement writes them, folded to lower case unless quoted, with the schema if it was written: they are not
resolved, so ``t`` and ``public.t`` are two names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from schemahold.core.sql import parse

Node = Any  # a message of libpg_query, which has no types of its own worth having


def relation(range_var: Node) -> str:
    """``t`` or ``s.t``."""
    return f"{range_var.schemaname}.{range_var.relname}" if range_var.schemaname else str(range_var.relname)


def words(items: Iterable[Node]) -> list[str]:
    """The strings in a list of ``String`` nodes; ``*`` where there is another node."""
    found = (parse.inner(item) for item in items)
    return [tree.node.sval if tree.kind == "string" else "*" for tree in found]


def dotted(items: Iterable[Node]) -> str:
    """A name in several parts: ``s.t``."""
    return ".".join(words(items))


# --- types ------------------------------------------------------------------------------------------------------------

SERIAL = frozenset({"serial", "serial2", "serial4", "serial8", "bigserial", "smallserial"})

_BUILT_IN = """
    bit bool box bpchar bytea char cidr circle date datemultirange daterange float4 float8 inet int2 int4 int4multirange
    int4range int8 int8multirange int8range interval json jsonb jsonpath line lseg macaddr macaddr8 money name numeric
    nummultirange numrange oid path pg_lsn pg_snapshot point polygon regclass regconfig regproc regprocedure regrole regtype
    text time timestamp timestamptz timetz tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector txid_snapshot uuid
    varbit varchar xid xid8 xml
    citext cube geography geometry halfvec hstore isbn ltree lquery raster seg sparsevec vector
"""

#: Types of Postgres and of common extensions: none of them is a domain.
BUILT_IN = SERIAL | frozenset(_BUILT_IN.split())


@dataclasses.dataclass(frozen=True)
class Type:
    """``name`` without ``pg_catalog``; ``modifiers``: the numbers in brackets, None for what is no number."""

    name: str
    modifiers: tuple[int | None, ...] = ()
    array: bool = False

    @property
    def built_in(self) -> bool:
        return self.name in BUILT_IN

    def __str__(self) -> str:
        numbers = ",".join(str(each) for each in self.modifiers)
        return self.name + (f"({numbers})" if numbers else "") + ("[]" if self.array else "")


def type_of(type_name: Node) -> Type:
    """A ``TypeName``."""
    parts = words(type_name.names)
    if parts[:1] == ["pg_catalog"]:
        parts = parts[1:]
    modifiers = tuple(integer(each) for each in type_name.typmods)
    return Type(".".join(parts), modifiers, array=bool(type_name.array_bounds))


def integer(wrapper: Node) -> int | None:
    """The integer that a node is, or None."""
    tree = parse.inner(wrapper)
    if tree.kind == "a_const" and tree.node.WhichOneof("val") == "ival":
        return int(tree.node.ival.ival)
    if tree.kind == "a_const" and tree.node.WhichOneof("val") == "fval" and tree.node.fval.fval.lstrip("-").isdigit():
        return int(tree.node.fval.fval)  # too large for 32 bits
    return None


def literal(wrapper: Node) -> bool:
    """A constant that is not NULL, also with a cast."""
    tree = parse.inner(wrapper)
    if tree.kind == "type_cast":
        return literal(tree.node.arg)
    return tree.kind == "a_const" and not tree.node.isnull


def null(wrapper: Node) -> bool:
    """NULL, also with a cast; or nothing at all."""
    tree = parse.inner(wrapper)
    if tree.kind == "type_cast":
        return null(tree.node.arg)
    return tree.node is None or (tree.kind == "a_const" and bool(tree.node.isnull))


# --- routines ---------------------------------------------------------------------------------------------------------


def routine(function: Node) -> str:
    """``f(int4,text)`` of a ``CreateFunctionStmt``: the name with the arguments that tell it from others."""
    kinds = ("FUNC_PARAM_OUT", "FUNC_PARAM_TABLE")
    given = (parse.inner(each).node for each in function.parameters)
    types = [str(type_of(each.arg_type)) for each in given if parse.word(each, "mode") not in kinds]
    return f"{dotted(function.funcname)}({','.join(types)})"


def routine_named(object_with_args: Node) -> str:
    """The same of the one that DROP or ALTER names; without arguments, a name that no other equals."""
    if object_with_args.args_unspecified:
        return f"{dotted(object_with_args.objname)}(?)"
    types = [str(type_of(parse.inner(each).node)) for each in object_with_args.objargs]
    return f"{dotted(object_with_args.objname)}({','.join(types)})"


# --- columns and expressions ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A column as CREATE TABLE or ADD COLUMN defines it.

    ``default``: its expression, None for none or NULL.  ``identity``: ``a`` always, ``d`` by default.  ``generated``: ``s``
    stored, ``v`` virtual.  ``references``: the other table.  ``check``: the expressions.
    """

    name: str
    type: Type
    default: Node | None = None
    not_null: bool = False
    identity: str = ""
    generated: str = ""
    expression: Node | None = None
    references: str = ""
    check: tuple[Node, ...] = ()
    unique: bool = False
    primary: bool = False
    nulls_not_distinct: bool = False

    @property
    def serial(self) -> bool:
        return self.type.name in SERIAL

    @property
    def filled(self) -> bool:
        """No INSERT that leaves it out stores NULL."""
        return self.default is not None or self.serial or bool(self.identity) or bool(self.generated)


def column(definition: Node) -> Column:
    """A ``ColumnDef``."""
    found: dict[str, Any] = {}
    for constraint in (parse.inner(each).node for each in definition.constraints):
        _read_constraint(constraint, found)
    return Column(name=definition.colname, type=type_of(definition.type_name), **found)


def _read_constraint(constraint: Node, found: dict[str, Any]) -> None:
    kind = parse.word(constraint, "contype")
    if kind == "CONSTR_DEFAULT" and not null(constraint.raw_expr):
        found["default"] = constraint.raw_expr
    elif kind == "CONSTR_NOTNULL":
        found["not_null"] = True
    elif kind == "CONSTR_IDENTITY":
        found["identity"] = constraint.generated_when
    elif kind == "CONSTR_GENERATED":
        found["generated"], found["expression"] = constraint.generated_kind, constraint.raw_expr
    elif kind == "CONSTR_FOREIGN":
        found["references"] = relation(constraint.pktable)
    elif kind == "CONSTR_CHECK":
        found["check"] = (*found.get("check", ()), constraint.raw_expr)
    elif kind == "CONSTR_UNIQUE":
        found["unique"], found["nulls_not_distinct"] = True, bool(constraint.nulls_not_distinct)
    elif kind == "CONSTR_PRIMARY":
        found["primary"] = True


def columns_in(expression: Node) -> set[str]:
    """The columns that an expression names; ``*`` among them for a whole row."""
    return {words(tree.node.fields)[-1] for tree in parse.every(expression) if tree.kind == "column_ref"}


def not_null_column(expression: Node) -> str:
    """``c`` when the expression is ``c IS NOT NULL`` and nothing else, otherwise ""."""
    tree = parse.inner(expression)
    if tree.kind != "null_test" or parse.word(tree.node, "nulltesttype") != "IS_NOT_NULL":
        return ""
    argument = parse.inner(tree.node.arg)
    if argument.kind != "column_ref" or len(argument.node.fields) != 1:
        return ""
    return words(argument.node.fields)[0]


def functions_in(expression: Node) -> Iterator[str]:
    """The names of all functions that an expression calls, without ``pg_catalog``."""
    for tree in parse.every(expression):
        if tree.kind == "func_call":
            parts = words(tree.node.funcname)
            yield ".".join(parts[1:] if parts[0] == "pg_catalog" else parts)


def options(items: Iterable[Node]) -> dict[str, str]:
    """``DefElem``s by name: their argument as text, ``""`` when there is none or it is no word or number."""
    return {each.defname: _argument(each) for each in (parse.inner(item).node for item in items)}


def _argument(element: Node) -> str:
    tree = parse.inner(element.arg)
    if tree.kind == "string":
        return str(tree.node.sval)
    if tree.kind == "integer":
        return str(tree.node.ival)
    if tree.kind == "boolean":
        return "true" if tree.node.boolval else "false"
    if tree.kind == "type_name":
        return str(type_of(tree.node))
    return ""


def on(given: dict[str, str], name: str) -> bool:
    """An option that is there and not switched off, as Postgres reads booleans."""
    return name in given and given[name].lower() not in ("false", "off", "no", "0")
