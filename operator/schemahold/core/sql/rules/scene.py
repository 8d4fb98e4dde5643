"""What the statements so far have made known: what is new in this transaction, and what is known of older tables.

Names are not resolved (:mod:`.nodes`), so a table written once as ``t`` and once as ``public.t`` is not recognised, which
costs a finding and hides none.  What could make a name mean something else, ``search_path`` or code that nobody can read,
makes everything forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.rules import nodes
from schemahold.core.sql.rules.effects import keeps_writers_out
from schemahold.core.sql.rules.nodes import Column, Node, Type

RELATION, TYPE, ROUTINE, SCHEMA = "relation", "type", "routine", "schema"


@dataclasses.dataclass
class Transaction:
    """What this transaction has made: nobody else sees it yet.

    ``made``: objects as (group, name).  ``maybe``: tables made with IF NOT EXISTS.  ``columns``, ``constraints``:
    (table, name) of those given to older tables; ``not_valid``: the constraints among them that are.  ``held``: older tables
    that nobody can write to until the transaction ends.  ``enum_values``: value → its type.  ``utc``: the session's time
    zone is UTC.
    """

    made: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    maybe: set[str] = dataclasses.field(default_factory=set)
    columns: dict[tuple[str, str], Column] = dataclasses.field(default_factory=dict)
    constraints: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    not_valid: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    held: set[str] = dataclasses.field(default_factory=set)
    enum_values: dict[str, str] = dataclasses.field(default_factory=dict)
    utc: bool = False


@dataclasses.dataclass
class Known:
    """What outlives the transaction, by the names that statements write.

    By table: ``columns``, whose definition was seen; ``keys``, the primary key; ``filled``, the columns proved to hold no
    NULL; ``checks``, constraint → column of a CHECK (column IS NOT NULL) that is not validated yet.  ``domains``: whether
    one has constraints.  ``types``: other types.  ``tables``: those made by files that are still to run.
    """

    columns: dict[str, dict[str, Column]] = dataclasses.field(default_factory=dict)
    keys: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    filled: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    checks: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    domains: dict[str, bool] = dataclasses.field(default_factory=dict)
    types: set[str] = dataclasses.field(default_factory=set)
    tables: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class Scene:
    """Where a statement stands.  ``read`` changes it: the next statement stands behind this one.

    ``server_version`` 0: not known, and the oldest counts.  ``large_table``: rows from which on size counts.
    ``alone``: each statement is a transaction of its own, so nothing is ever new.
    """

    server_version: int = 0
    large_table: int = 100_000
    alone: bool = False
    transaction: Transaction = dataclasses.field(default_factory=Transaction)
    known: Known = dataclasses.field(default_factory=Known)

    def end(self) -> None:
        """The transaction is over."""
        self.transaction = Transaction()

    def doubt(self) -> None:
        """Code that nobody can read has run: what was known of tables may be so no longer."""
        self.known = Known(tables=self.known.tables)

    def forget(self) -> None:
        """Names may mean something else from here on.  What makes findings, and does not prevent them, stays."""
        old = self.transaction
        self.transaction = Transaction(not_valid=old.not_valid, held=old.held, enum_values=old.enum_values)
        self.known = Known()

    def older_than(self, major: int) -> bool:
        return self.server_version < major * 10_000

    # --- asking ---

    def made(self, group: str, name: str) -> bool:
        """This transaction has made it, or the schema it is in."""
        schema, _, _ = name.rpartition(".")
        return (group, name) in self.transaction.made or (bool(schema) and (SCHEMA, schema) in self.transaction.made)

    def new(self, table: str) -> bool:
        return self.made(RELATION, table)

    def new_column(self, table: str, column: str) -> Column | None:
        """A column that this transaction gave to an older table: no other code knows it."""
        return self.transaction.columns.get((table, column))

    def filled(self, table: str, column: str) -> bool:
        return column in self.known.filled.get(table, ())

    def column_type(self, table: str, column: str) -> Type | None:
        found = self.known.columns.get(table, {}).get(column)
        return found.type if found else None

    def may_be_constrained(self, kind: Type) -> bool | None:
        """Whether a type is a domain with constraints; None when nobody has said."""
        if kind.array or kind.built_in or kind.name in self.known.types:
            return False
        return self.known.domains.get(kind.name)

    def hears_of(self, text: str) -> bool:
        """A statement that names an enum value which this transaction adds."""
        return any(value in text for value in self.transaction.enum_values)

    # --- learning ---

    def hold(self, table: str, lock: str) -> None:
        """The transaction has taken ``lock``, and keeps it."""
        if keeps_writers_out(lock) and not self.alone and not self.new(table):
            self.transaction.held.add(table)

    def make(self, group: str, name: str) -> None:
        if not self.alone:
            self.transaction.made.add((group, name))

    def add_column(self, table: str, column: Column) -> None:
        self.known.columns.setdefault(table, {})[column.name] = column
        if column.not_null or column.primary:
            self.fill(table, column.name)

    def fill(self, table: str, *columns: str) -> None:
        """They hold no NULL."""
        self.known.filled.setdefault(table, set()).update(columns)

    def unfill(self, table: str, column: str) -> None:
        self.known.filled.get(table, set()).discard(column)

    def forget_column(self, table: str, column: str) -> None:
        self.known.columns.get(table, {}).pop(column, None)
        self.unfill(table, column)
        self.transaction.columns.pop((table, column), None)
        if column in self.known.keys.get(table, ()):
            del self.known.keys[table]
        checks = self.known.checks.get(table, {})
        for constraint in [name for name, checked in checks.items() if checked == column]:
            del checks[constraint]

    def forget_constraint(self, table: str, constraint: str) -> None:
        """It may have been the one that proved a column to hold no NULL: only what the table's definition said is left."""
        self.known.checks.get(table, {}).pop(constraint, None)
        columns = self.known.columns.get(table, {}).values()
        self.known.filled[table] = {column.name for column in columns if column.not_null or column.primary}

    def forget_table(self, table: str) -> None:
        """The name means another table from now on, or none."""
        for known in (self.known.columns, self.known.filled, self.known.checks, self.known.keys):
            known.pop(table, None)
        self.known.tables.discard(table)
        self.transaction.made.discard((RELATION, table))
        self.transaction.maybe.discard(table)
        for key in [key for key in self.transaction.columns if key[0] == table]:
            del self.transaction.columns[key]

    def add_constraint(self, table: str, constraint: Node) -> None:
        """What a constraint of ALTER TABLE or CREATE TABLE makes known."""
        kind, key = parse.word(constraint, "contype"), (table, constraint.conname)
        if not self.alone:
            self.transaction.constraints.add(key)
            if constraint.skip_validation:
                self.transaction.not_valid.add(key)
        column = ""
        if kind == "CONSTR_CHECK" and constraint.is_enforced:
            column = nodes.not_null_column(constraint.raw_expr)
        elif kind == "CONSTR_NOTNULL":
            column = nodes.dotted(constraint.keys)
        elif kind == "CONSTR_PRIMARY" and constraint.keys:
            self._add_key(table, nodes.words(constraint.keys))
        if column and constraint.skip_validation:
            self.known.checks.setdefault(table, {})[constraint.conname] = column
        elif column:
            self.fill(table, column)

    def _add_key(self, table: str, columns: Iterable[str]) -> None:
        self.known.keys[table] = frozenset(columns)
        self.fill(table, *self.known.keys[table])

    def validate(self, table: str, constraint: str) -> None:
        column = self.known.checks.get(table, {}).pop(constraint, "")
        if column:
            self.fill(table, column)

    def learn(self, kind: str, node: Node) -> None:
        """What a statement makes known.  ALTER TABLE is learnt action by action, where it is judged."""
        if kind in LEARN:
            LEARN[kind](self, node)


# --- by kind of statement ---------------------------------------------------------------------------------------------


def _table(scene: Scene, node: Node) -> None:
    name = nodes.relation(node.relation)
    if node.if_not_exists:
        # It may have been there, with other columns: nothing is known of it but that it exists.
        if not scene.alone:
            scene.transaction.maybe.add(name)
        scene.known.tables.add(name)
        return
    scene.forget_table(name)
    scene.make(RELATION, name)
    if node.relation.relpersistence == "t":
        return  # it is gone with the session, and the name is another's again
    scene.known.tables.add(name)
    for element in (parse.inner(each) for each in node.table_elts):
        if element.kind == "column_def":
            column = nodes.column(element.node)
            scene.add_column(name, column)
            if column.primary:
                scene.known.keys[name] = frozenset({column.name})
        elif element.kind == "constraint":
            scene.add_constraint(name, element.node)


def _table_as(scene: Scene, node: Node) -> None:
    _relation(scene, nodes.relation(node.into.rel), replaced=node.if_not_exists)


def _select(scene: Scene, node: Node) -> None:
    if node.HasField("into_clause"):
        _relation(scene, nodes.relation(node.into_clause.rel), replaced=False)
    if "set_config" in nodes.functions_in(node):
        scene.forget()


def _relation(scene: Scene, name: str, *, replaced: bool) -> None:
    if not replaced:
        scene.forget_table(name)
        scene.make(RELATION, name)


def _index(scene: Scene, node: Node) -> None:
    if node.idxname and not node.if_not_exists:
        # An index is where its table is.
        schema = f"{node.relation.schemaname}." if node.relation.schemaname else ""
        scene.make(RELATION, schema + node.idxname)


def _domain(scene: Scene, node: Node) -> None:
    name = nodes.dotted(node.domainname)
    scene.make(TYPE, name)
    scene.known.domains[name] = bool(node.constraints)


def _altered_domain(scene: Scene, node: Node) -> None:
    if node.subtype in "CO":  # ADD CONSTRAINT, SET NOT NULL
        scene.known.domains[nodes.dotted(node.type_name)] = True


def _type(scene: Scene, name: str) -> None:
    scene.make(TYPE, name)
    scene.known.types.add(name)


def _routine(scene: Scene, node: Node) -> None:
    if not node.replace:
        scene.make(ROUTINE, nodes.routine(node))


def _schema(scene: Scene, node: Node) -> None:
    if not node.if_not_exists:
        scene.make(SCHEMA, node.schemaname)


def _define(scene: Scene, node: Node) -> None:
    if parse.word(node, "kind") == "OBJECT_TYPE":
        _type(scene, nodes.dotted(node.defnames))


def _trigger(scene: Scene, node: Node) -> None:
    if not node.replace:
        scene.make("OBJECT_TRIGGER", f"{nodes.relation(node.relation)}.{node.trigname}")


def _policy(scene: Scene, node: Node) -> None:
    scene.make("OBJECT_POLICY", f"{nodes.relation(node.table)}.{node.policy_name}")


def _drop(scene: Scene, node: Node) -> None:
    for each in node.objects:
        name = dropped_name(each)
        scene.forget_table(name)
        scene.known.domains.pop(name, None)
        scene.known.types.discard(name)
        for group in (TYPE, ROUTINE, SCHEMA):
            scene.transaction.made.discard((group, name))
    if parse.word(node, "remove_type") == "OBJECT_SCHEMA" or parse.word(node, "behavior") == "DROP_CASCADE":
        scene.doubt()


def dropped_name(wrapper: Node) -> str:
    """The name of one object of DROP, COMMENT and the like, as :class:`Transaction` writes it."""
    tree = parse.inner(wrapper)
    if tree.kind == "object_with_args":
        return nodes.routine_named(tree.node)
    if tree.kind == "type_name":
        return nodes.dotted(tree.node.names)
    if tree.kind == "list":
        return nodes.dotted(tree.node.items)
    return str(tree.node.sval) if tree.kind == "string" else "?"


def _rename(scene: Scene, node: Node) -> None:
    kind, table = parse.word(node, "rename_type"), nodes.relation(node.relation)
    if kind == "OBJECT_COLUMN":
        scene.forget_column(table, node.subname)
    elif kind == "OBJECT_TABCONSTRAINT":
        scene.known.checks.get(table, {}).pop(node.subname, None)
        scene.transaction.not_valid.discard((table, node.subname))
        scene.transaction.constraints.discard((table, node.subname))
    elif kind in (
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_MATVIEW",
        "OBJECT_SEQUENCE",
        "OBJECT_INDEX",
        "OBJECT_FOREIGN_TABLE",
    ):
        schema = f"{node.relation.schemaname}." if node.relation.schemaname else ""
        new, pending = scene.new(table), table in scene.known.tables
        scene.forget_table(table)
        scene.forget_table(schema + node.newname)
        if new:
            scene.make(RELATION, schema + node.newname)
        if pending:
            scene.known.tables.add(schema + node.newname)
    else:
        scene.doubt()


def _move(scene: Scene, node: Node) -> None:
    if node.HasField("relation"):
        scene.forget_table(nodes.relation(node.relation))


def _set(scene: Scene, node: Node) -> None:
    if node.name == "search_path" or parse.word(node, "kind") == "VAR_RESET_ALL":
        scene.forget()
    elif node.name == "timezone" and not scene.alone:
        values = [parse.inner(each).node for each in node.args]
        scene.transaction.utc = [each.sval.sval.upper() for each in values if hasattr(each, "sval")] in (
            ["UTC"],
            ["ETC/UTC"],
        )


def _enum_value(scene: Scene, node: Node) -> None:
    name = nodes.dotted(node.type_name)
    if not node.old_val and not scene.alone and not scene.made(TYPE, name):
        scene.transaction.enum_values[node.new_val] = name


def _doubt(scene: Scene, _: Node) -> None:
    scene.doubt()


LEARN: Mapping[str, Callable[[Scene, Node], None]] = {
    "create_stmt": _table,
    "create_foreign_table_stmt": lambda scene, node: _table(scene, node.base_stmt),
    "create_table_as_stmt": _table_as,
    "select_stmt": _select,
    "view_stmt": lambda scene, node: _relation(scene, nodes.relation(node.view), replaced=node.replace),
    "create_seq_stmt": lambda scene, node: _relation(scene, nodes.relation(node.sequence), replaced=node.if_not_exists),
    "index_stmt": _index,
    "create_domain_stmt": _domain,
    "alter_domain_stmt": _altered_domain,
    "create_enum_stmt": lambda scene, node: _type(scene, nodes.dotted(node.type_name)),
    "create_range_stmt": lambda scene, node: _type(scene, nodes.dotted(node.type_name)),
    "composite_type_stmt": lambda scene, node: _type(scene, nodes.relation(node.typevar)),
    "define_stmt": _define,
    "create_function_stmt": _routine,
    "create_schema_stmt": _schema,
    "create_trig_stmt": _trigger,
    "create_policy_stmt": _policy,
    "drop_stmt": _drop,
    "rename_stmt": _rename,
    "alter_object_schema_stmt": _move,
    "variable_set_stmt": _set,
    "alter_enum_stmt": _enum_value,
    "do_stmt": _doubt,
    "call_stmt": _doubt,
    "execute_stmt": _doubt,
}
