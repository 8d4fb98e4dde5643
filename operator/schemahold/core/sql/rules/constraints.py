"""ALTER TABLE and its constraints: ADD, VALIDATE, ALTER, DROP.

A constraint does two things.  It is tested against every row, which takes as long as the table is large, and it binds every
writer from then on, NOT VALID or not: old code too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from schemahold.core.sql import parse
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.effects import (
    ACCESS_EXCLUSIVE,
    LATER,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Effect,
    finding,
    quiet,
)
from schemahold.core.sql.rules.nodes import Node

if TYPE_CHECKING:
    from schemahold.core.sql.rules.tables import Action, Handler

VALIDATE = "VALIDATE CONSTRAINT in a later file, which lets reads and writes go on."


def add(action: Action) -> Iterator[Effect]:
    """ADD CONSTRAINT."""
    constraint = parse.inner(getattr(action.command, "def")).node
    kind = parse.word(constraint, "contype")
    yield quiet(SHARE_ROW_EXCLUSIVE if kind == "CONSTR_FOREIGN" else ACCESS_EXCLUSIVE)
    if not action.new and kind in ADD:
        yield from ADD[kind](action, constraint)
    action.scene.add_constraint(action.table, constraint)


def _check(action: Action, constraint: Node) -> Iterator[Effect]:
    if not constraint.is_enforced:
        return
    if not constraint.skip_validation:
        yield finding(
            "add-check",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{action.table}' is read to test it while reads and writes wait.",
            fix=f"ADD CONSTRAINT … CHECK … NOT VALID; {VALIDATE}",
            table=action.table,
        )
    if not _true_of_null(action, constraint.raw_expr):
        yield _binding(action, constraint, ACCESS_EXCLUSIVE)


def _not_null(action: Action, constraint: Node) -> Iterator[Effect]:
    """ADD CONSTRAINT … NOT NULL column (18)."""
    column = nodes.dotted(constraint.keys)
    if action.scene.filled(action.table, column):
        return
    if not constraint.skip_validation:
        yield finding(
            "set-not-null-scan",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{action.table}' is read while reads and writes wait.",
            fix=f"ADD CONSTRAINT … NOT NULL {column} NOT VALID; {VALIDATE}",
            table=action.table,
        )
    yield _binding(action, constraint, ACCESS_EXCLUSIVE)


def _foreign(action: Action, constraint: Node) -> Iterator[Effect]:
    if not constraint.is_enforced:
        return
    parent = nodes.relation(constraint.pktable)
    if not constraint.skip_validation:
        yield finding(
            "add-foreign-key",
            SHARE_ROW_EXCLUSIVE,
            breaks=f"writes to '{action.table}' and '{parent}' wait while every row is looked up.",
            fix=f"ADD CONSTRAINT … FOREIGN KEY … NOT VALID; {VALIDATE}",
            table=action.table,
        )
    full = constraint.fk_matchtype == "f"
    if full or not _unknown_columns(action, nodes.words(constraint.fk_attrs)):
        yield _binding(action, constraint, SHARE_ROW_EXCLUSIVE)


def _unique(action: Action, constraint: Node) -> Iterator[Effect]:
    """UNIQUE and PRIMARY KEY; with USING INDEX the index is there already, and was judged when it was made."""
    primary = parse.word(constraint, "contype") == "CONSTR_PRIMARY"
    if constraint.indexname:
        if primary:
            yield finding(
                "primary-key-nulls",
                ACCESS_EXCLUSIVE,
                breaks=f"if one of its columns may be NULL, every row of '{action.table}' is read while everybody waits.",
                fix="see that they are NOT NULL already; otherwise SET NOT NULL first, proved by a validated CHECK.",
                table=action.table,
            )
        return
    using = "PRIMARY KEY USING INDEX, its columns being NOT NULL already" if primary else "UNIQUE USING INDEX"
    yield finding(
        "add-unique",
        ACCESS_EXCLUSIVE,
        breaks=f"the index is built while nobody can use '{action.table}'.",
        fix=f"CREATE UNIQUE INDEX CONCURRENTLY in a file of its own; then ADD CONSTRAINT … {using}.",
        table=action.table,
    )
    free = not primary and not constraint.nulls_not_distinct and _unknown_columns(action, nodes.words(constraint.keys))
    if not free:
        yield _binding(action, constraint, ACCESS_EXCLUSIVE)


def _exclusion(action: Action, constraint: Node) -> Iterator[Effect]:
    yield finding(
        "add-exclusion",
        ACCESS_EXCLUSIVE,
        breaks=f"the index is built while nobody can use '{action.table}'.",
        fix="there is no online form: a new table that has it, filled beside the old one.",
        table=action.table,
    )
    yield _binding(action, constraint, ACCESS_EXCLUSIVE)


def _binding(action: Action, constraint: Node, lock: str) -> Effect:
    name = f"'{constraint.conname}'" if constraint.conname else "the constraint"
    return finding(
        "new-constraint",
        lock,
        breaks=f"old code that writes to '{action.table}' what {name} forbids fails, NOT VALID or not.",
        fix="if old code complies already, say so in an override; otherwise " + LATER,
    )


def _unknown_columns(action: Action, columns: list[str]) -> bool:
    """Old code leaves one of the columns out, and NULL is stored there: no foreign key or unique index minds that."""
    new = [action.scene.new_column(action.table, column) for column in columns]
    return any(column is not None and not column.filled for column in new)


def _true_of_null(action: Action, expression: Node) -> bool:
    """Old code leaves all its columns out, and the expression is NULL then, which a CHECK accepts.

    Only plain comparisons: IS NOT NULL, COALESCE or a function may make something else of NULL.
    """
    columns = nodes.columns_in(expression)
    if not columns or not all(_unknown_columns(action, [column]) for column in columns):
        return False
    plain = {
        "a_expr",
        "a_const",
        "column_ref",
        "string",
        "type_cast",
        "type_name",
        "list",
        "integer",
        "float",
        "boolean",
        "",
    }
    found = list(parse.every(expression))
    distinct = any(
        tree.kind == "a_expr" and parse.word(tree.node, "kind") in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT") for tree in found
    )
    return not distinct and all(tree.kind in plain for tree in found)


ADD: Mapping[str, Callable[[Action, Node], Iterator[Effect]]] = {
    "CONSTR_CHECK": _check,
    "CONSTR_NOTNULL": _not_null,
    "CONSTR_FOREIGN": _foreign,
    "CONSTR_UNIQUE": _unique,
    "CONSTR_PRIMARY": _unique,
    "CONSTR_EXCLUSION": _exclusion,
}


# --- VALIDATE, ALTER, DROP --------------------------------------------------------------------------------------------


def validate(action: Action) -> Iterator[Effect]:
    yield quiet(SHARE_UPDATE_EXCLUSIVE)
    table, name = action.table, action.command.name
    held = set(action.scene.transaction.held)
    if (table, name) in action.scene.transaction.not_valid:
        held.add(table)
    if held and not action.new:
        names = ", ".join(f"'{each}'" for each in sorted(held))
        yield finding(
            "validate-together",
            SHARE_UPDATE_EXCLUSIVE,
            breaks=f"what this transaction has locked ({names}) stays locked while every row of '{table}' is read.",
            fix="VALIDATE CONSTRAINT in a file of its own.",
            table=table,
        )
    action.scene.validate(table, name)


def alter(action: Action) -> Iterator[Effect]:
    """ALTER CONSTRAINT: DEFERRABLE alone changes nothing until somebody defers it."""
    yield quiet(ACCESS_EXCLUSIVE)
    change = parse.inner(getattr(action.command, "def")).node
    if action.new:
        return
    if change.alter_enforceability and change.is_enforced:
        yield finding(
            "enforce-constraint",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{action.table}' is looked up while writes wait.",
            fix=f"a second constraint with NOT VALID, {VALIDATE[:-1]}; then drop the one that is not enforced.",
            table=action.table,
        )
    harmless = change.alter_deferrability and change.deferrable and not change.initdeferred
    if change.alter_enforceability or change.alter_inheritability or not harmless:
        yield finding(
            "alter-constraint",
            ACCESS_EXCLUSIVE,
            breaks=f"old code that writes to '{action.table}' meets errors of '{change.conname}' later, or new ones.",
        )


def drop(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    table, name = action.table, action.command.name
    if not action.new and (table, name) not in action.scene.transaction.constraints:
        yield finding(
            "drop-constraint",
            ACCESS_EXCLUSIVE,
            breaks=f"old code that relies on '{name}' of '{table}' (ON CONFLICT, ON DELETE CASCADE, no duplicates) breaks.",
            fix="if nothing relies on it, say so in an override; otherwise " + LATER,
        )
    action.scene.forget_constraint(table, name)


ACTIONS: Mapping[str, Handler] = {
    "AT_AddConstraint": add,
    "AT_ValidateConstraint": validate,
    "AT_AlterConstraint": alter,
    "AT_DropConstraint": drop,
}
