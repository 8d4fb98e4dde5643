"""Tables: CREATE, ALTER action by action, partitions, TRUNCATE, LOCK, and whatever writes a table anew.

PostgreSQL: ALTER TABLE says ACCESS EXCLUSIVE unless another lock is named; ``tests/database/test_sql_rules.py`` looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.rules import columns, constraints, data, nodes
from schemahold.core.sql.rules.effects import (
    ACCESS_EXCLUSIVE,
    ACCESS_SHARE,
    LATER,
    LOCKS,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Effect,
    finding,
    keeps_writers_out,
    quiet,
)
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import TYPE, Scene

#: SET (…) of a table that takes less than ACCESS EXCLUSIVE: fillfactor, toast, autovacuum and planner parameters.
GENTLE_OPTIONS = (
    "fillfactor",
    "toast_tuple_target",
    "parallel_workers",
    "autovacuum_",
    "log_autovacuum_",
    "toast.",
    "vacuum_",
)


@dataclasses.dataclass(frozen=True)
class Action:
    """One action of an ALTER TABLE (INDEX, VIEW, …): ``command`` is its ``AlterTableCmd``, ``object`` what ALTER names."""

    table: str
    object: str
    command: Node
    scene: Scene

    @property
    def new(self) -> bool:
        """Made in this transaction: nobody else can see it, and whatever happens to it takes no time."""
        return self.scene.new(self.table)


Handler = Callable[[Action], Iterator[Effect]]


# --- CREATE TABLE -----------------------------------------------------------------------------------------------------


def create(node: Node, scene: Scene) -> Iterator[Effect]:
    """Nobody knows the new table; but what it refers to is locked."""
    for element in (parse.inner(each) for each in node.table_elts):
        yield from _created_with(element, scene)
    for parent in (nodes.relation(parse.inner(each).node) for each in node.inh_relations):
        if scene.new(parent):
            continue
        if not node.HasField("partbound"):
            yield quiet(SHARE_UPDATE_EXCLUSIVE)
            continue
        yield finding(
            "create-partition",
            ACCESS_EXCLUSIVE,
            breaks=f"reads and writes of '{parent}' queue behind it, and wait while a default partition of it is scanned.",
            fix=f"CREATE TABLE … (LIKE {parent} INCLUDING ALL); then ALTER TABLE {parent} ATTACH PARTITION.",
            table=parent,
        )


def _created_with(element: parse.Tree, scene: Scene) -> Iterator[Effect]:
    parent = ""
    if element.kind == "table_like_clause":
        yield quiet(ACCESS_SHARE)
    elif element.kind == "column_def":
        parent = nodes.column(element.node).references
    elif element.kind == "constraint" and parse.word(element.node, "contype") == "CONSTR_FOREIGN":
        parent = nodes.relation(element.node.pktable)
    if parent and not scene.new(parent):
        scene.hold(parent, SHARE_ROW_EXCLUSIVE)
        yield quiet(SHARE_ROW_EXCLUSIVE)


def create_foreign(node: Node, scene: Scene) -> Iterator[Effect]:
    yield from create(node.base_stmt, scene)


def create_as(node: Node, scene: Scene) -> Iterator[Effect]:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW: they read, and block nobody."""
    yield quiet(ACCESS_SHARE)
    query = parse.inner(node.query)
    if query.kind == "execute_stmt":
        yield from data.execute(query.node, scene)


# --- ALTER TABLE ------------------------------------------------------------------------------------------------------


def alter(node: Node, scene: Scene) -> Iterator[Effect]:
    """Each action in turn, for one may depend on the one before it."""
    kind, table = parse.word(node, "objtype"), nodes.relation(node.relation)
    actions = [Action(table, kind, parse.inner(each).node, scene) for each in node.cmds]
    # The strongest lock that an action needs is taken for all of them, so a gentle one stands behind the others.
    for action in sorted(actions, key=lambda action: parse.word(action.command, "subtype") == "AT_ValidateConstraint"):
        for effect in _act(action):
            scene.hold(table, effect.lock)
            # A foreign table has no rows here: nothing is scanned, rewritten or tested.
            if kind != "OBJECT_FOREIGN_TABLE" or not (effect.table or effect.rule == "add-column-not-null"):
                yield effect


def _act(action: Action) -> Iterator[Effect]:
    subtype = parse.word(action.command, "subtype")
    if action.object == "OBJECT_TYPE":
        yield from _composite(action)
    elif subtype in QUIET:
        yield quiet(QUIET[subtype])
    elif subtype in ACTIONS:
        yield from ACTIONS[subtype](action)
    else:
        yield finding(
            "unknown-statement",
            ACCESS_EXCLUSIVE,
            breaks=f"what {subtype.removeprefix('AT_')} does to '{action.table}' is not known here.",
            fix="see what it locks and breaks, and say so in an override.",
        )
    if parse.word(action.command, "behavior") == "DROP_CASCADE" and not action.new and action.object != "OBJECT_TYPE":
        yield cascade(f"'{action.table}.{action.command.name}'", ACCESS_EXCLUSIVE)


def cascade(what: str, lock: str) -> Effect:
    return finding(
        "drop-cascade",
        lock,
        breaks=f"whatever depends on {what} goes with it: views, foreign keys, functions that the text does not name.",
        fix="drop each dependent object by a statement of its own, without CASCADE.",
    )


def _composite(action: Action) -> Iterator[Effect]:
    """ALTER TYPE … ADD, DROP, ALTER ATTRIBUTE."""
    if not action.scene.made(TYPE, action.table):
        yield finding(
            "alter-type", breaks=f"old code that reads or writes values of '{action.table}' meets other attributes."
        )


def _rewrite(action: Action, what: str, fix: str) -> Effect:
    return finding(
        "rewrite-table",
        ACCESS_EXCLUSIVE,
        breaks=f"{what} writes all of '{action.table}' anew while reads and writes wait.",
        fix=fix,
        table="" if action.object == "OBJECT_INDEX" else action.table,  # an index has no rows to count
    )


def _logged(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if action.new or action.object == "OBJECT_SEQUENCE":
        return
    if parse.word(action.command, "subtype") == "AT_SetUnLogged":
        yield finding(
            "set-unlogged",
            ACCESS_EXCLUSIVE,
            breaks=f"after a crash '{action.table}' is empty, and on replicas it is always.",
            fix="keep it logged; for rows that may be lost, a new table made with CREATE UNLOGGED TABLE.",
        )
    yield _rewrite(action, "SET LOGGED or UNLOGGED", "a new table of the other kind, filled beside the old one.")


def _storage(action: Action) -> Iterator[Effect]:
    """SET TABLESPACE, SET ACCESS METHOD."""
    yield quiet(ACCESS_EXCLUSIVE)
    if action.new:
        return
    if action.object == "OBJECT_INDEX":
        yield _rewrite(action, "SET TABLESPACE", "REINDEX (TABLESPACE …, CONCURRENTLY), from Postgres 14 on.")
    else:
        yield _rewrite(action, "SET TABLESPACE or ACCESS METHOD", "a new table there, filled beside the old one.")


def _options(action: Action) -> Iterator[Effect]:
    given = nodes.options(parse.inner(getattr(action.command, "def")).node.items)
    gentle = action.object != "OBJECT_VIEW" and all(
        f"{name}.".startswith(GENTLE_OPTIONS) or name.startswith(GENTLE_OPTIONS) for name in given
    )
    yield quiet(SHARE_UPDATE_EXCLUSIVE if gentle else ACCESS_EXCLUSIVE)
    if "security_invoker" in given and not action.new:
        yield finding(
            "alter-object",
            ACCESS_EXCLUSIVE,
            breaks=f"code that reads '{action.table}' is checked against other rights, and may be refused.",
        )


def _owner(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield change_owner(action.table, ACCESS_EXCLUSIVE)


def change_owner(name: str, lock: str = "") -> Effect:
    return finding(
        "change-owner",
        lock,
        breaks=f"old code that connects as the former owner of '{name}' loses its rights to it.",
        fix="if no code connects as the former owner, say so in an override; otherwise " + LATER,
    )


def _disable(action: Action) -> Iterator[Effect]:
    trigger = "Trig" in parse.word(action.command, "subtype")
    lock = SHARE_ROW_EXCLUSIVE if trigger else ACCESS_EXCLUSIVE
    yield quiet(lock)
    if not action.new:
        what = "triggers, foreign keys among them with ALL," if trigger else "rule"
        yield finding(
            "disable-trigger", lock, breaks=f"what the {what} of '{action.table}' did for old code is no longer done."
        )


def _enable_rule(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield finding(
            "create-rule",
            ACCESS_EXCLUSIVE,
            breaks=f"old code's statements on '{action.table}' do something else from now on.",
        )


def _security(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield row_security(action.table)


def row_security(table: str) -> Effect:
    return finding(
        "row-security", ACCESS_EXCLUSIVE, breaks=f"old code sees other rows of '{table}', or may no longer write some."
    )


def _replica_identity(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    identity = parse.inner(getattr(action.command, "def")).node.identity_type
    if identity == "n" and not action.new:
        yield finding(
            "replica-identity",
            ACCESS_EXCLUSIVE,
            breaks=f"UPDATE and DELETE on '{action.table}' fail if a publication contains it.",
        )


def _no_inherit(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield finding(
            "no-inherit",
            ACCESS_EXCLUSIVE,
            breaks=f"old code that reads the parent no longer sees the rows of '{action.table}'.",
        )


def _foreign_options(action: Action) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not action.new:
        yield finding(
            "alter-object", ACCESS_EXCLUSIVE, breaks=f"old code reads '{action.table}' from somewhere else, or not."
        )


# --- partitions -------------------------------------------------------------------------------------------------------


def _attach(action: Action) -> Iterator[Effect]:
    """SHARE UPDATE EXCLUSIVE on the parent, ACCESS EXCLUSIVE on what is attached and on a default partition."""
    part = nodes.relation(parse.inner(getattr(action.command, "def")).node.name)
    if action.object == "OBJECT_INDEX":
        yield quiet(ACCESS_EXCLUSIVE)
        return
    yield quiet(SHARE_UPDATE_EXCLUSIVE)
    if not action.scene.new(part):
        yield finding(
            "attach-partition",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{part}', and of a default partition, is read while nobody can use that table.",
            fix="a validated CHECK on it that says what the bounds say: then nothing is read.",
            table=part,
        )


def _detach(action: Action) -> Iterator[Effect]:
    command = parse.inner(getattr(action.command, "def")).node
    part, gentle = nodes.relation(command.name), command.concurrent
    lock = SHARE_UPDATE_EXCLUSIVE if gentle else ACCESS_EXCLUSIVE
    yield quiet(lock)
    if action.new or action.scene.new(part):
        return
    yield finding(
        "detach-partition", lock, breaks=f"old code that reads '{action.table}' no longer sees the rows of '{part}'."
    )
    # Before 14 there is no other way; an unknown server can be one that has it.
    if not gentle and not (0 < action.scene.server_version < 140_000):
        yield finding(
            "detach-partition-blocking",
            lock,
            breaks=f"reads and writes of '{action.table}' and of all its partitions queue behind it.",
            fix="DETACH PARTITION … CONCURRENTLY, in a file of its own.",
        )


def detaches_concurrently(command: Node) -> bool:
    """Whether an action of ALTER TABLE is DETACH PARTITION … CONCURRENTLY."""
    definition = parse.inner(getattr(command, "def"))
    return definition.kind == "partition_cmd" and bool(definition.node.concurrent)


def _finalize(action: Action) -> Iterator[Effect]:
    """What an interrupted DETACH CONCURRENTLY began: old code sees the partition no more already."""
    yield quiet(SHARE_UPDATE_EXCLUSIVE)


QUIET: Mapping[str, str] = {
    "AT_SetStatistics": SHARE_UPDATE_EXCLUSIVE,
    "AT_SetOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_ResetOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_SetStorage": ACCESS_EXCLUSIVE,
    "AT_SetCompression": ACCESS_EXCLUSIVE,
    "AT_ClusterOn": SHARE_UPDATE_EXCLUSIVE,
    "AT_DropCluster": SHARE_UPDATE_EXCLUSIVE,
    "AT_DropOids": ACCESS_EXCLUSIVE,
    "AT_EnableTrig": SHARE_ROW_EXCLUSIVE,
    "AT_EnableAlwaysTrig": SHARE_ROW_EXCLUSIVE,
    "AT_EnableReplicaTrig": SHARE_ROW_EXCLUSIVE,
    "AT_EnableTrigAll": SHARE_ROW_EXCLUSIVE,
    "AT_EnableTrigUser": SHARE_ROW_EXCLUSIVE,
    "AT_AddInherit": ACCESS_EXCLUSIVE,
    "AT_AddOf": ACCESS_EXCLUSIVE,
    "AT_DropOf": ACCESS_EXCLUSIVE,
}

ACTIONS: Mapping[str, Handler] = {
    **columns.ACTIONS,
    **constraints.ACTIONS,
    "AT_SetLogged": _logged,
    "AT_SetUnLogged": _logged,
    "AT_SetTableSpace": _storage,
    "AT_SetAccessMethod": _storage,
    "AT_SetRelOptions": _options,
    "AT_ResetRelOptions": _options,
    "AT_ChangeOwner": _owner,
    "AT_DisableTrig": _disable,
    "AT_DisableTrigAll": _disable,
    "AT_DisableTrigUser": _disable,
    "AT_DisableRule": _disable,
    "AT_EnableRule": _enable_rule,
    "AT_EnableAlwaysRule": _enable_rule,
    "AT_EnableReplicaRule": _enable_rule,
    "AT_EnableRowSecurity": _security,
    "AT_DisableRowSecurity": _security,
    "AT_ForceRowSecurity": _security,
    "AT_NoForceRowSecurity": _security,
    "AT_ReplicaIdentity": _replica_identity,
    "AT_DropInherit": _no_inherit,
    "AT_GenericOptions": _foreign_options,
    "AT_AlterColumnGenericOptions": _foreign_options,
    "AT_AttachPartition": _attach,
    "AT_DetachPartition": _detach,
    "AT_DetachPartitionFinalize": _finalize,
}


# --- whole tables -----------------------------------------------------------------------------------------------------


def truncate(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    old = [name for name in (nodes.relation(parse.inner(each).node) for each in node.relations) if not scene.new(name)]
    for name in old:
        yield finding(
            "truncate",
            ACCESS_EXCLUSIVE,
            breaks=f"every row of '{name}' is gone, for old code and for a rollback too.",
            fix="if that is what is meant, say so in an override; DELETE in batches keeps reads and writes going.",
        )
    if old and parse.word(node, "behavior") == "DROP_CASCADE":
        yield cascade(f"'{old[0]}' by a foreign key", ACCESS_EXCLUSIVE)


def lock(node: Node, scene: Scene) -> Iterator[Effect]:
    mode = LOCKS[node.mode]
    yield quiet(mode)
    names = (nodes.relation(parse.inner(each).node) for each in node.relations)
    for name in names if keeps_writers_out(mode) else ():
        scene.hold(name, mode)
        if not scene.new(name):
            yield finding(
                "lock-table",
                mode,
                breaks=f"the application waits for '{name}' until the transaction ends.",
                fix="leave it out: each statement takes the lock that it needs.",
            )


def _written_anew(what: str, table: str, *, new: bool) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    if not new:
        yield finding(
            "rewrite-table",
            ACCESS_EXCLUSIVE,
            breaks=f"{what} writes all of {repr(table) if table else 'every table'} anew while reads and writes wait.",
            fix="VACUUM, which waits for nobody; pg_repack or pg_squeeze give space back without the lock.",
            table=table,
        )


def cluster(node: Node, scene: Scene) -> Iterator[Effect]:
    table = nodes.relation(node.relation) if node.HasField("relation") else ""
    yield from _written_anew("CLUSTER", table, new=scene.new(table))


def vacuum(node: Node, scene: Scene) -> Iterator[Effect]:
    """VACUUM and ANALYZE, which are one node."""
    yield quiet(SHARE_UPDATE_EXCLUSIVE)
    if not (node.is_vacuumcmd and nodes.on(nodes.options(node.options), "full")):
        return
    for table in [nodes.relation(parse.inner(each).node.relation) for each in node.rels] or [""]:
        yield from _written_anew("VACUUM FULL", table, new=False)


def move_all(node: Node, scene: Scene) -> Iterator[Effect]:
    yield finding(
        "beyond-schema",
        ACCESS_EXCLUSIVE,
        breaks=f"everything in tablespace '{node.orig_tablespacename}' is copied while nobody can use it.",
        fix="one object at a time, each with its own override.",
    )


HANDLERS: Mapping[str, Callable[[Node, Scene], Iterator[Effect]]] = {
    "create_stmt": create,
    "create_foreign_table_stmt": create_foreign,
    "create_table_as_stmt": create_as,
    "alter_table_stmt": alter,
    "truncate_stmt": truncate,
    "lock_stmt": lock,
    "cluster_stmt": cluster,
    "vacuum_stmt": vacuum,
    "alter_table_move_all_stmt": move_all,
}
