"""ALTER TABLE, column by column: ADD, DROP, TYPE, NOT NULL, DEFAULT, identity and generated columns.

PostgreSQL: ALTER TABLE, Notes, says what rewrites a table; ``tests/database/test_sql_rules.py`` sees it do so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from schemahold.core.sql import parse
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.effects import ACCESS_EXCLUSIVE, LATER, Effect, finding, quiet
from schemahold.core.sql.rules.functions import NOT_VOLATILE
from schemahold.core.sql.rules.nodes import Column, Type
from schemahold.core.sql.rules.scene import Scene

if TYPE_CHECKING:
    from schemahold.core.sql.rules.tables import Action, Handler

BACKFILL = "add the column without it; ALTER COLUMN SET DEFAULT, for new rows; fill the old ones in batches"


# --- ADD COLUMN -------------------------------------------------------------------------------------------------------


def add(action: Action) -> Iterator[Effect]:
    """ADD COLUMN: one brief lock, unless each row gets a value of its own or is looked at."""
    column = nodes.column(parse.inner(getattr(action.command, "def")).node)
    yield quiet(ACCESS_EXCLUSIVE)
    if action.new:
        action.scene.add_column(action.table, column)
        return
    yield from _rewrite(action, column)
    yield from _not_null(action, column)
    yield from _constrained(action, column)
    if not action.command.missing_ok:
        action.scene.add_column(action.table, column)
        if not action.scene.alone:
            action.scene.transaction.columns[action.table, column.name] = column


def _rewrite(action: Action, column: Column) -> Iterator[Effect]:
    reason = _why_rewritten(column, action.scene)
    if reason:
        yield finding(
            "add-column-rewrite",
            ACCESS_EXCLUSIVE,
            breaks=f"{reason}, so '{action.table}' and its indexes are rewritten while reads and writes wait.",
            fix=_instead(column),
            table=action.table,
        )
    elif action.scene.may_be_constrained(column.type) is None:
        yield finding(
            "add-column-type",
            ACCESS_EXCLUSIVE,
            breaks=f"if '{column.type.name}' is a domain with constraints, '{action.table}' is rewritten meanwhile.",
            fix="for a domain, its base type and a CHECK of its own; an enum or another type may stay as it is.",
            table=action.table,
        )


def _why_rewritten(column: Column, scene: Scene) -> str:
    if column.serial:
        return f"each row gets a number of its own ({column.type.name})"
    if column.identity:
        return "each row gets a number of its own (identity)"
    if column.generated == "s":
        return "a STORED column is computed for each row"
    if column.default is not None and volatile(column.default):
        return "the default is, or may be, another for each row"
    if scene.may_be_constrained(column.type):
        return f"'{column.type.name}' is a domain with constraints"
    return ""


def _instead(column: Column) -> str:
    if column.generated:
        return "GENERATED … VIRTUAL, from Postgres 18 on; before, a plain column that a trigger fills, and a backfill."
    if column.serial or column.identity:
        return f"CREATE SEQUENCE; {BACKFILL}."
    if column.default is not None and volatile(column.default):
        return f"{BACKFILL}."
    return "a column of the base type, and a CHECK with NOT VALID, validated later."


def volatile(expression: nodes.Node) -> bool:
    """Whether a default may differ from row to row: it calls a function that is not known to be STABLE or IMMUTABLE."""
    return any(name not in NOT_VOLATILE for name in nodes.functions_in(expression))


def _not_null(action: Action, column: Column) -> Iterator[Effect]:
    if (column.not_null or column.primary) and not column.filled:
        yield finding(
            "add-column-not-null",
            ACCESS_EXCLUSIVE,
            breaks=f"it fails if '{action.table}' has rows, and old code's INSERTs, without '{column.name}', fail too.",
            fix="give it a constant DEFAULT; or add it without NOT NULL, fill it, and SET NOT NULL in a contract file.",
        )


def _constrained(action: Action, column: Column) -> Iterator[Effect]:
    table = action.table
    if column.check or (column.generated == "v" and column.not_null):
        yield finding(
            "add-column-check",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{table}' is read to test it while reads and writes wait.",
            fix="add the column; ADD CONSTRAINT … CHECK … NOT VALID; VALIDATE CONSTRAINT in a later file.",
            table=table,
        )
    # The lock on a table that nobody else sees, or that is locked anyway, holds up nobody; NULLs need no look.
    if column.references and (column.default is not None or not _free(action, column.references)):
        yield finding(
            "add-column-references",
            ACCESS_EXCLUSIVE,
            breaks=(
                f"nobody can use '{table}' while it waits for SHARE ROW EXCLUSIVE on '{column.references}', "
                "whose writers wait in turn."
            ),
            fix="add the column; ADD CONSTRAINT … FOREIGN KEY … NOT VALID; VALIDATE CONSTRAINT in a later file.",
            table=table,
        )
    if column.unique or column.primary:
        yield finding(
            "add-column-unique",
            ACCESS_EXCLUSIVE,
            breaks=f"the index is built while nobody can use '{table}'.",
            fix="add the column; CREATE UNIQUE INDEX CONCURRENTLY in a file of its own; ADD CONSTRAINT … USING INDEX.",
            table=table,
        )
    if _binds_old_code(column):
        yield finding(
            "new-constraint", ACCESS_EXCLUSIVE, breaks=f"code that does not know '{column.name}' may break its constraint."
        )


def _free(action: Action, parent: str) -> bool:
    return parent == action.table or action.scene.new(parent)


def _binds_old_code(column: Column) -> bool:
    """Old code writes the default, or NULL.  ADD COLUMN itself has tested that value, unless other columns matter."""
    if any(nodes.columns_in(each) - {column.name} for each in column.check):
        return True
    constant = column.default is not None and not volatile(column.default)
    return column.unique and (constant or column.nulls_not_distinct)


# --- DROP COLUMN, DEFAULT, NOT NULL -----------------------------------------------------------------------------------


def drop(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    name = action.command.name
    if not action.new and not action.scene.new_column(action.table, name):
        yield finding("drop-column", ACCESS_EXCLUSIVE, breaks=f"old code that names '{action.table}.{name}' fails.")
    action.scene.forget_column(action.table, name)


def default(action: Action) -> Iterator[Effect]:
    """SET DEFAULT and DROP DEFAULT, which have one node."""
    yield quiet(ACCESS_EXCLUSIVE)
    name = action.command.name
    new = action.scene.new_column(action.table, name)
    if action.new:
        return
    if nodes.null(getattr(action.command, "def")):
        # What is new and may be NULL is NULL to old code, which does not know it.
        if new is None or new.not_null:
            yield from _unfilled(action)
    elif new is None:
        yield finding(
            "set-default",
            ACCESS_EXCLUSIVE,
            breaks=f"rows that old code writes get the new default of '{action.table}.{name}'.",
            fix="see that old code can live with such rows; otherwise " + LATER,
        )


def _unfilled(action: Action) -> Iterator[Effect]:
    name = f"{action.table}.{action.command.name}"
    yield finding(
        "drop-default", ACCESS_EXCLUSIVE, breaks=f"INSERTs of old code that leave '{name}' out store NULL there, or fail."
    )


def drop_identity(action: Action) -> Iterator[Effect]:
    """DROP IDENTITY and DROP EXPRESSION: the column stays, and nothing fills it."""
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield from _unfilled(action)


def set_not_null(action: Action) -> Iterator[Effect]:
    """SET NOT NULL: Postgres reads no row when a valid CHECK proves it, and then no writer was left to break either."""
    yield quiet(ACCESS_EXCLUSIVE)
    table, name = action.table, action.command.name
    if not action.new and not action.scene.filled(table, name):
        yield finding(
            "set-not-null",
            ACCESS_EXCLUSIVE,
            breaks=f"old code that writes NULL to '{table}.{name}', or leaves it out, fails.",
        )
        yield finding(
            "set-not-null-scan",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{table}' is read while reads and writes wait.",
            fix=_proof(name, action.scene),
            table=table,
        )
    action.scene.fill(table, name)


def _proof(column: str, scene: Scene) -> str:
    if scene.older_than(18):
        return (
            f"ADD CONSTRAINT … CHECK ({column} IS NOT NULL) NOT VALID; VALIDATE CONSTRAINT in a later file; "
            "SET NOT NULL after that, which then reads nothing."
        )
    return f"ADD CONSTRAINT … NOT NULL {column} NOT VALID; VALIDATE CONSTRAINT in a later file."


def drop_not_null(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    table, name = action.table, action.command.name
    if not action.new and not action.scene.new_column(table, name):
        yield finding(
            "drop-not-null",
            ACCESS_EXCLUSIVE,
            breaks=f"old code that reads '{table}.{name}' meets NULL as soon as new code writes it.",
            fix="see that old code can live with it, or that new code writes no NULL yet; otherwise " + LATER,
        )
    action.scene.unfill(table, name)


# --- identity and generated columns -----------------------------------------------------------------------------------


def _generated(action: Action, what: str) -> Effect:
    return finding("generated-column", ACCESS_EXCLUSIVE, breaks=f"{what} '{action.table}.{action.command.name}'.")


def add_identity(action: Action) -> Iterator[Effect]:
    """ADD GENERATED … AS IDENTITY on an existing column: no row is touched."""
    yield quiet(ACCESS_EXCLUSIVE)
    constraint = parse.inner(getattr(action.command, "def")).node
    if not action.new and constraint.generated_when == "a":
        yield _generated(action, "GENERATED ALWAYS refuses the values that old code writes into")


def set_identity(action: Action) -> Iterator[Effect]:
    """SET GENERATED, RESTART, SET INCREMENT, …"""
    yield quiet(ACCESS_EXCLUSIVE)
    if action.new:
        return
    given = nodes.options(parse.inner(getattr(action.command, "def")).node.items)
    if given.get("generated") == str(ord("a")):
        yield _generated(action, "GENERATED ALWAYS refuses the values that old code writes into")
    elif set(given) - {"generated", "cache"}:
        yield finding("alter-sequence", ACCESS_EXCLUSIVE, breaks="the numbers that old code gets may collide or run out.")


def set_expression(action: Action) -> Iterator[Effect]:
    """SET EXPRESSION (17): computes a STORED column anew for all rows."""
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield _generated(action, "old code reads other values in")
        yield finding(
            "rewrite-table",
            ACCESS_EXCLUSIVE,
            breaks=f"'{action.table}' is rewritten while reads and writes wait, unless the column is VIRTUAL.",
            fix="add a column with the new expression, and move to it.",
            table=action.table,
        )


# --- TYPE -------------------------------------------------------------------------------------------------------------


def change_type(action: Action) -> Iterator[Effect]:
    """ALTER COLUMN TYPE: a rewrite, except where Postgres sees that every stored value is one of the new type already."""
    yield quiet(ACCESS_EXCLUSIVE)
    table, name = action.table, action.command.name
    definition = parse.inner(getattr(action.command, "def")).node
    kind, old = nodes.type_of(definition.type_name), action.scene.column_type(table, name)
    converted = definition.HasField("raw_default") or definition.HasField("coll_clause")
    if not action.new and not (old and not converted and widens(old, kind)):
        yield finding(
            "change-column-type",
            ACCESS_EXCLUSIVE,
            breaks=f"old code reads and writes '{table}.{name}' as {old or 'what it was'}, and it becomes {kind}.",
            fix="add a new column, fill both by a trigger, backfill, move the code, drop the old one. "
            "If a varchar or numeric only grows, say so in an override.",
        )
        if not (action.scene.transaction.utc and not converted and zoned(old, kind)):
            yield finding(
                "change-column-type-rewrite",
                ACCESS_EXCLUSIVE,
                breaks=f"'{table}' and its indexes are rewritten while reads and writes wait.",
                fix="add a new column, and fill it in batches. If a varchar or numeric only grows, nothing is rewritten.",
                table=table,
            )
    action.scene.add_column(table, Column(name=name, type=kind))


def widens(old: Type, new: Type) -> bool:
    """Every value of ``old`` is stored as the same bytes in ``new``: no rewrite, and nothing for code to notice."""
    if old == new:
        return True
    if old.array or new.array:
        return False
    if old.name in ("varchar", "text") and new.name in ("varchar", "text"):
        return not new.modifiers or _at_least(old.modifiers, new.modifiers)
    if old.name != new.name:
        return False
    if old.name == "numeric":
        return not new.modifiers or _more_digits(old.modifiers, new.modifiers)
    return old.name in ("varbit", "time", "timetz", "timestamp", "timestamptz") and (
        not new.modifiers or _at_least(old.modifiers, new.modifiers)
    )


def _at_least(old: tuple[int | None, ...], new: tuple[int | None, ...]) -> bool:
    return len(old) == len(new) == 1 and old[0] is not None and new[0] is not None and new[0] >= old[0]


def _more_digits(old: tuple[int | None, ...], new: tuple[int | None, ...]) -> bool:
    """More precision, same scale; a scale that is not written is 0."""
    if not old or None in old or None in new:
        return False
    before, after = (*old, 0)[:2], (*new, 0)[:2]
    return _at_least(before[:1], after[:1]) and before[1] == after[1]


def zoned(old: Type | None, new: Type) -> bool:
    """timestamp ↔ timestamptz: the same bytes when the session's time zone is UTC."""
    return old is not None and {old.name, new.name} == {"timestamp", "timestamptz"} and old.modifiers == new.modifiers


ACTIONS: Mapping[str, Handler] = {
    "AT_AddColumn": add,
    "AT_DropColumn": drop,
    "AT_ColumnDefault": default,
    "AT_SetNotNull": set_not_null,
    "AT_DropNotNull": drop_not_null,
    "AT_AddIdentity": add_identity,
    "AT_SetIdentity": set_identity,
    "AT_DropIdentity": drop_identity,
    "AT_SetExpression": set_expression,
    "AT_DropExpression": drop_identity,
    "AT_AlterColumnType": change_type,
}
