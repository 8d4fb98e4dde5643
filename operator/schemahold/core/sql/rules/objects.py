"""Everything that is neither a table's own business nor rows: DROP, RENAME, rights, views, routines, types, servers.

What cannot be told from the text whether it breaks anybody (CREATE OR REPLACE, ADD VALUE) is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.rules import data, indexes, nodes, tables
from schemahold.core.sql.rules.effects import (
    ACCESS_EXCLUSIVE,
    LATER,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Effect,
    finding,
    quiet,
)
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import RELATION, ROUTINE, SCHEMA, TYPE, Scene, dropped_name

Handler = Callable[[Node, Scene], Iterator[Effect]]

EACH = "name each object by a statement of its own."

#: libpg_query's object types → the group under which a transaction remembers what it made.
GROUPS: Mapping[str, str] = {
    **dict.fromkeys(
        ("OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_INDEX", "OBJECT_FOREIGN_TABLE"),
        RELATION,
    ),
    **dict.fromkeys(("OBJECT_TYPE", "OBJECT_DOMAIN"), TYPE),
    **dict.fromkeys(("OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"), ROUTINE),
    "OBJECT_SCHEMA": SCHEMA,
}


def spoken(object_type: str) -> str:
    """``event trigger`` for ``OBJECT_EVENT_TRIGGER``."""
    short = {
        "MATVIEW": "materialized view",
        "STATISTIC_EXT": "statistics",
        "TABCONSTRAINT": "constraint",
        "DOMCONSTRAINT": "constraint",
        "FDW": "foreign-data wrapper",
        "OPCLASS": "operator class",
        "OPFAMILY": "operator family",
        "TSCONFIGURATION": "text search configuration",
        "TSDICTIONARY": "text search dictionary",
        "TSPARSER": "text search parser",
        "TSTEMPLATE": "text search template",
    }
    word = object_type.removeprefix("OBJECT_")
    return short.get(word, word.replace("_", " ").lower())


# --- DROP -------------------------------------------------------------------------------------------------------------

#: kind → (rule, lock, what old code does with it)
DROPS: Mapping[str, tuple[str, str, str]] = {
    "OBJECT_TABLE": ("drop-table", ACCESS_EXCLUSIVE, "uses"),
    "OBJECT_FOREIGN_TABLE": ("drop-table", ACCESS_EXCLUSIVE, "uses"),
    "OBJECT_VIEW": ("drop-view", ACCESS_EXCLUSIVE, "reads"),
    "OBJECT_MATVIEW": ("drop-view", ACCESS_EXCLUSIVE, "reads"),
    "OBJECT_SEQUENCE": ("drop-object", ACCESS_EXCLUSIVE, "draws from"),
    "OBJECT_FUNCTION": ("drop-function", "", "calls"),
    "OBJECT_PROCEDURE": ("drop-function", "", "calls"),
    "OBJECT_ROUTINE": ("drop-function", "", "calls"),
    "OBJECT_AGGREGATE": ("drop-function", "", "calls"),
    "OBJECT_TYPE": ("drop-type", "", "uses"),
    "OBJECT_DOMAIN": ("drop-type", "", "uses"),
    "OBJECT_TRIGGER": ("drop-object", ACCESS_EXCLUSIVE, "relies on"),
    "OBJECT_RULE": ("drop-object", ACCESS_EXCLUSIVE, "relies on"),
}


def drop(node: Node, scene: Scene) -> Iterator[Effect]:
    kind = parse.word(node, "remove_type")
    group = GROUPS.get(kind, kind)
    old = [name for name in map(dropped_name, node.objects) if not scene.made(group, name)]
    cascades = old and parse.word(node, "behavior") == "DROP_CASCADE"
    if kind == "OBJECT_INDEX":
        yield from indexes.drop(old, concurrent=node.concurrent, scene=scene)
    elif kind == "OBJECT_POLICY":
        yield quiet(ACCESS_EXCLUSIVE)
        for name in old:
            yield tables.row_security(name.rpartition(".")[0])
    elif kind == "OBJECT_STATISTIC_EXT":
        yield quiet(SHARE_UPDATE_EXCLUSIVE)
        return
    else:
        rule, lock, does = DROPS.get(kind, ("drop-object", "", "uses"))
        yield quiet(lock)
        for name in old:
            yield finding(rule, lock, breaks=f"old code that {does} {spoken(kind)} '{name}' fails.")
    if cascades:
        yield tables.cascade(f"{spoken(kind)} '{old[0]}'", DROPS.get(kind, ("", "", ""))[1])


def _drop_named(kind: str, field: str) -> Handler:
    """The DROPs that have a node of their own."""

    def handler(node: Node, scene: Scene) -> Iterator[Effect]:
        yield finding("drop-object", breaks=f"old code that uses {kind} '{getattr(node, field)}' fails.")

    return handler


def drop_role(node: Node, scene: Scene) -> Iterator[Effect]:
    for role in (parse.inner(each).node.rolename for each in node.roles):
        yield finding("drop-object", breaks=f"old code that connects as role '{role}' fails.")


def _beyond(breaks: str, fix: str = "do it by hand, outside migrations.") -> Handler:
    def handler(node: Node, scene: Scene) -> Iterator[Effect]:
        yield finding("beyond-schema", breaks=breaks, fix=fix)

    return handler


# --- RENAME, SET SCHEMA, OWNER ----------------------------------------------------------------------------------------

#: Nobody names these in a query.  kind → lock
NAMELESS: Mapping[str, str] = {
    "OBJECT_INDEX": SHARE_UPDATE_EXCLUSIVE,
    "OBJECT_TRIGGER": ACCESS_EXCLUSIVE,
    "OBJECT_POLICY": ACCESS_EXCLUSIVE,
    "OBJECT_RULE": ACCESS_EXCLUSIVE,
    "OBJECT_DOMCONSTRAINT": "",
    "OBJECT_STATISTIC_EXT": "",
    "OBJECT_EVENT_TRIGGER": "",
    "OBJECT_OPCLASS": "",
    "OBJECT_OPFAMILY": "",
    "OBJECT_TABLESPACE": "",
}


def rename(node: Node, scene: Scene) -> Iterator[Effect]:
    kind = parse.word(node, "rename_type")
    if kind in NAMELESS:
        yield quiet(NAMELESS[kind])
        return
    if node.HasField("relation"):
        owner = nodes.relation(node.relation)
        lock, group, name = ACCESS_EXCLUSIVE, RELATION, f"{owner}.{node.subname}" if node.subname else owner
        new = scene.new(owner) or scene.made(TYPE, owner) or scene.new_column(owner, node.subname) is not None
    else:
        name = node.subname or dropped_name(node.object)
        lock, group = "", GROUPS.get(kind, kind)
        new = scene.made(group, name)
    yield quiet("" if kind == "OBJECT_ATTRIBUTE" else lock)
    if not new:
        fix = "keep both names alive (a view; a second column), and drop the old one in a *.contract.sql file."
        yield finding("rename", lock, breaks=f"old code that uses {spoken(kind)} '{name}' fails.", fix=fix)


def set_schema(node: Node, scene: Scene) -> Iterator[Effect]:
    kind = parse.word(node, "object_type")
    name, lock = _named(node)
    yield quiet(lock)
    if not scene.made(GROUPS.get(kind, kind), name):
        yield finding(
            "set-schema",
            lock,
            breaks=f"old code that finds {spoken(kind)} '{name}' where it is fails.",
            fix="leave a view with the old name behind; otherwise " + LATER,
        )


def change_owner(node: Node, scene: Scene) -> Iterator[Effect]:
    kind = parse.word(node, "object_type")
    name, lock = _named(node)
    if not scene.made(GROUPS.get(kind, kind), name):
        yield tables.change_owner(name, lock)


def _named(node: Node) -> tuple[str, str]:
    """(name, lock) of what a statement names by ``relation`` or ``object``."""
    if node.HasField("relation"):
        return nodes.relation(node.relation), ACCESS_EXCLUSIVE
    return dropped_name(node.object), ""


# --- rights -----------------------------------------------------------------------------------------------------------


def grant(node: Node, scene: Scene) -> Iterator[Effect]:
    if node.is_grant or _all_new(node, scene):
        yield quiet()
    else:
        yield finding("revoke", breaks="old code that uses the right fails.")


def _all_new(node: Node, scene: Scene) -> bool:
    if parse.word(node, "targtype") != "ACL_TARGET_OBJECT":
        return False
    group = GROUPS.get(parse.word(node, "objtype"), "")
    found = (parse.inner(each) for each in node.objects)
    return all(
        scene.made(group, nodes.relation(tree.node) if tree.kind == "range_var" else dropped_name(tree.node))
        for tree in found
    )


def grant_role(node: Node, scene: Scene) -> Iterator[Effect]:
    if node.is_grant:
        yield quiet()
    else:
        yield finding("revoke", breaks="old code that uses a right of the role fails.")


def alter_role(node: Node, scene: Scene) -> Iterator[Effect]:
    yield finding("alter-role", breaks=f"old code that connects as '{node.role.rolename}' may be refused.")


def _setting(node: Node, scene: Scene) -> Iterator[Effect]:
    yield finding(
        "change-setting",
        breaks=f"new connections of old code get another '{node.setstmt.name or 'setting'}'.",
        fix="see that old code can live with it; otherwise " + LATER,
    )


def alter_database(node: Node, scene: Scene) -> Iterator[Effect]:
    given = nodes.options(node.options)
    if "tablespace" in given:
        yield from _beyond("the database is copied, and nobody may be connected to it.")(node, scene)
    else:
        yield finding("alter-object", breaks=f"old code may no longer be able to connect to '{node.dbname}'.")


# --- views, routines, triggers, rules, policies -----------------------------------------------------------------------


def view(node: Node, scene: Scene) -> Iterator[Effect]:
    name = nodes.relation(node.view)
    if node.replace and not scene.new(name):
        yield finding(
            "replace-view",
            ACCESS_EXCLUSIVE,
            breaks=f"old code reads the new '{name}' at once: only columns appended at its end leave it as it was.",
            fix="append columns only; for anything else a view with a new name.",
        )


def _replaced(what: str) -> Effect:
    return finding(
        "replace-function",
        breaks=f"old code gets the new {what} at once.",
        fix="see that old code can live with it; otherwise give it a new name.",
    )


def function(node: Node, scene: Scene) -> Iterator[Effect]:
    if node.replace and not scene.made(ROUTINE, nodes.routine(node)):
        yield _replaced(f"'{nodes.dotted(node.funcname)}'")


def alter_function(node: Node, scene: Scene) -> Iterator[Effect]:
    if not scene.made(ROUTINE, nodes.routine_named(node.func)):
        yield _replaced(f"'{nodes.dotted(node.func.objname)}'")


def define(node: Node, scene: Scene) -> Iterator[Effect]:
    """CREATE AGGREGATE, OPERATOR, TYPE, COLLATION, TEXT SEARCH …"""
    if node.replace:
        yield _replaced(f"'{nodes.dotted(node.defnames)}'")


def replaceable(node: Node, scene: Scene) -> Iterator[Effect]:
    """CREATE OR REPLACE LANGUAGE, TRANSFORM."""
    if node.replace:
        yield _replaced("definition")


def trigger(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(SHARE_ROW_EXCLUSIVE)
    scene.hold(nodes.relation(node.relation), SHARE_ROW_EXCLUSIVE)
    if node.replace and not scene.new(nodes.relation(node.relation)):
        yield _replaced(f"trigger '{node.trigname}' of '{nodes.relation(node.relation)}'")


def rule(node: Node, scene: Scene) -> Iterator[Effect]:
    """CREATE RULE.  ``DO ALSO`` adds to what old code does, like a trigger."""
    yield quiet(ACCESS_EXCLUSIVE)
    table = nodes.relation(node.relation)
    if not scene.new(table) and (node.instead or node.replace):
        yield finding(
            "create-rule", ACCESS_EXCLUSIVE, breaks=f"old code's statements on '{table}' do something else from now on."
        )


def create_policy(node: Node, scene: Scene) -> Iterator[Effect]:
    """A permissive policy lets more through than before, a restrictive one less."""
    yield quiet(ACCESS_EXCLUSIVE)
    table = nodes.relation(node.table)
    if not node.permissive and not scene.new(table):
        yield tables.row_security(table)


def alter_policy(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(ACCESS_EXCLUSIVE)
    table = nodes.relation(node.table)
    if not scene.new(table) and not scene.made("OBJECT_POLICY", f"{table}.{node.policy_name}"):
        yield tables.row_security(table)


def create_cast(node: Node, scene: Scene) -> Iterator[Effect]:
    if parse.word(node, "context") != "COERCION_EXPLICIT":
        yield finding(
            "create-cast",
            breaks="queries of old code that were an error, or meant another operator, may be read by it.",
            fix="without AS IMPLICIT and AS ASSIGNMENT, and an explicit cast in new code.",
        )


# --- types ------------------------------------------------------------------------------------------------------------


def alter_enum(node: Node, scene: Scene) -> Iterator[Effect]:
    name = nodes.dotted(node.type_name)
    if scene.made(TYPE, name):
        return
    if node.old_val:
        yield finding(
            "rename",
            breaks=f"old code that reads or writes '{node.old_val}' of '{name}' fails.",
            fix="ADD VALUE, move the rows in batches, and let nobody use the old value.",
        )
    else:
        yield finding(
            "add-enum-value",
            breaks=f"old code that does not expect '{node.new_val}' in '{name}' reads it as soon as new code writes it.",
            fix="see that old code can live with it, or that new code does not write it yet.",
        )


def alter_domain(node: Node, scene: Scene) -> Iterator[Effect]:
    name = nodes.dotted(node.type_name)
    if not scene.made(TYPE, name):
        yield from ALTER_DOMAIN[node.subtype](name, node, scene)


def _domain_scan(name: str) -> Effect:
    return finding(
        "domain-scan",
        SHARE,
        breaks=f"writes to every table that has a column of '{name}' wait while it is read.",
        fix="a CHECK on each of these tables instead, with NOT VALID, validated in a later file.",
    )


def _domain_binds(name: str) -> Effect:
    return finding("new-constraint", breaks=f"old code that writes to a column of '{name}' what is forbidden now fails.")


def _domain_default(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    if nodes.null(getattr(node, "def")):
        yield finding("drop-default", breaks=f"INSERTs of old code that leave a column of '{name}' out store NULL, or fail.")
    else:
        yield finding(
            "set-default",
            breaks=f"rows that old code writes get the new default of '{name}'.",
            fix="see that old code can live with such rows; otherwise " + LATER,
        )


def _domain_not_null(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    yield _domain_scan(name)
    yield _domain_binds(name)


def _domain_nullable(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    yield finding(
        "drop-not-null",
        breaks=f"old code that reads columns of '{name}' meets NULL as soon as new code writes it.",
        fix="see that old code can live with it, or that new code writes no NULL yet; otherwise " + LATER,
    )


def _domain_constraint(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    if not parse.inner(getattr(node, "def")).node.skip_validation:
        yield _domain_scan(name)
    yield _domain_binds(name)


def _domain_validate(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    """Unlike that of a table, it blocks writes."""
    yield _domain_scan(name)


def _domain_drop(name: str, node: Node, scene: Scene) -> Iterator[Effect]:
    yield finding(
        "drop-constraint", breaks=f"old code that relies on '{node.name}' of '{name}' meets values it does not expect."
    )


#: By ``AlterDomainStmt.subtype``.
ALTER_DOMAIN: Mapping[str, Callable[[str, Node, Scene], Iterator[Effect]]] = {
    "T": _domain_default,
    "N": _domain_nullable,
    "O": _domain_not_null,
    "C": _domain_constraint,
    "V": _domain_validate,
    "X": _domain_drop,
}


# --- sequences, publications, extensions, sessions --------------------------------------------------------------------


def alter_sequence(node: Node, scene: Scene) -> Iterator[Effect]:
    """AS, OWNED BY and CACHE change no number that anybody gets."""
    yield quiet(SHARE_ROW_EXCLUSIVE)
    name = nodes.relation(node.sequence)
    if set(nodes.options(node.options)) - {"as", "owned_by", "cache"} and not scene.new(name):
        yield finding(
            "alter-sequence",
            SHARE_ROW_EXCLUSIVE,
            breaks=f"the numbers that old code gets from '{name}' may collide, skip or run out.",
            fix="if they cannot, say so in an override; otherwise " + LATER,
        )


def _published() -> Effect:
    return finding(
        "publication",
        SHARE_UPDATE_EXCLUSIVE,
        breaks="UPDATE and DELETE of old code fail on published tables that have no primary key or other replica identity.",
        fix="see that each table has one: ALTER TABLE … REPLICA IDENTITY.",
    )


def create_publication(node: Node, scene: Scene) -> Iterator[Effect]:
    yield _published()


def alter_publication(node: Node, scene: Scene) -> Iterator[Effect]:
    if parse.word(node, "action") == "AP_AddObjects" and not node.options:
        yield _published()
    else:
        yield finding("alter-object", breaks=f"subscribers of '{node.pubname}' no longer get what they got.")


def alter_extension(node: Node, scene: Scene) -> Iterator[Effect]:
    yield data.unknown(f"the update script of extension '{node.extname}' runs")


def load(node: Node, scene: Scene) -> Iterator[Effect]:
    yield data.unknown(f"the library '{node.filename}' is loaded into the server")


def variable(node: Node, scene: Scene) -> Iterator[Effect]:
    if parse.word(node, "kind") == "VAR_RESET_ALL":
        yield from session(node, scene)
    else:
        yield quiet()


def family(node: Node, scene: Scene) -> Iterator[Effect]:
    if node.is_drop:
        yield from _changed("operator family")(node, scene)


def _changed(what: str) -> Handler:
    """ALTER of an object that running code uses as it is."""

    def handler(node: Node, scene: Scene) -> Iterator[Effect]:
        yield finding("alter-object", breaks=f"old code uses the {what} as it was.")

    return handler


session = _beyond(
    "the session loses its timeouts, and with DISCARD ALL the lock that keeps other migrations out.",
    "leave it out: the session ends with the migration.",
)


def nothing(node: Node, scene: Scene) -> Iterator[Effect]:
    """Old code does not notice."""
    yield quiet()


def gentle(node: Node, scene: Scene) -> Iterator[Effect]:
    yield quiet(SHARE_UPDATE_EXCLUSIVE)


HANDLERS: Mapping[str, Handler] = {
    # dropping, renaming, rights
    "drop_stmt": drop,
    "drop_role_stmt": drop_role,
    "drop_user_mapping_stmt": _drop_named("the user mapping for server", "servername"),
    "drop_subscription_stmt": _beyond("another server's rows no longer arrive, and no rollback brings them back."),
    "dropdb_stmt": _beyond("a database is removed with all that is in it, and no rollback brings it back."),
    "drop_table_space_stmt": _beyond("a tablespace is removed, and no rollback brings it back."),
    "drop_owned_stmt": _beyond("whatever the role owns is dropped, and its rights are taken away.", EACH),
    "reassign_owned_stmt": _beyond(
        "whatever the role owns changes hands, and code that connects with it loses rights.", EACH
    ),
    "rename_stmt": rename,
    "alter_object_schema_stmt": set_schema,
    "alter_owner_stmt": change_owner,
    "grant_stmt": grant,
    "grant_role_stmt": grant_role,
    "alter_default_privileges_stmt": nothing,  # of objects that are still to be made
    "create_role_stmt": nothing,
    "alter_role_stmt": alter_role,
    "alter_role_set_stmt": _setting,
    "sec_label_stmt": _changed("object under its former label"),
    # views, routines, triggers
    "view_stmt": view,
    "create_function_stmt": function,
    "alter_function_stmt": alter_function,
    "define_stmt": define,
    "create_plang_stmt": replaceable,
    "create_transform_stmt": replaceable,
    "create_trig_stmt": trigger,
    "create_event_trig_stmt": nothing,  # fires for DDL only
    "alter_event_trig_stmt": nothing,
    "rule_stmt": rule,
    "create_policy_stmt": create_policy,
    "alter_policy_stmt": alter_policy,
    # types, operators, text search
    "create_domain_stmt": nothing,
    "create_enum_stmt": nothing,
    "create_range_stmt": nothing,
    "composite_type_stmt": nothing,
    "alter_enum_stmt": alter_enum,
    "alter_domain_stmt": alter_domain,
    "alter_type_stmt": _changed("type"),
    "alter_collation_stmt": nothing,  # REFRESH VERSION
    "create_cast_stmt": create_cast,
    "create_conversion_stmt": nothing,
    "create_op_class_stmt": nothing,
    "create_op_family_stmt": nothing,
    "alter_op_family_stmt": family,
    "alter_operator_stmt": _changed("operator"),
    "alter_tsdictionary_stmt": _changed("text search dictionary"),
    "alter_tsconfiguration_stmt": _changed("text search configuration"),
    # sequences, statistics, comments
    "create_seq_stmt": nothing,
    "alter_seq_stmt": alter_sequence,
    "create_stats_stmt": gentle,
    "alter_stats_stmt": gentle,
    "comment_stmt": gentle,
    # replication, foreign data, extensions
    "create_publication_stmt": create_publication,
    "alter_publication_stmt": alter_publication,
    "create_subscription_stmt": _beyond("another server's rows begin to arrive, and no rollback stops them."),
    "alter_subscription_stmt": _beyond("what arrives from another server changes, and no rollback brings it back."),
    "create_fdw_stmt": nothing,
    "alter_fdw_stmt": _changed("foreign-data wrapper"),
    "create_foreign_server_stmt": nothing,
    "alter_foreign_server_stmt": _changed("foreign server"),
    "create_user_mapping_stmt": nothing,
    "alter_user_mapping_stmt": _changed("user mapping"),
    "import_foreign_schema_stmt": nothing,
    "create_extension_stmt": nothing,
    "alter_extension_stmt": alter_extension,
    "alter_extension_contents_stmt": nothing,  # who owns an object, not what it does
    "alter_object_depends_stmt": nothing,
    "create_am_stmt": nothing,
    "load_stmt": load,
    # databases and the server
    "create_schema_stmt": nothing,
    "createdb_stmt": _beyond("a database is made, and no rollback removes it."),
    "alter_database_stmt": alter_database,
    "alter_database_set_stmt": _setting,
    "alter_database_refresh_coll_stmt": nothing,
    "alter_system_stmt": _beyond("a setting changes for every database of the server, and no rollback brings it back."),
    "create_table_space_stmt": _beyond("a tablespace is made, and no rollback removes it."),
    "alter_table_space_options_stmt": nothing,
    # the session; what a file must not contain is refused by its shape
    "transaction_stmt": nothing,
    "variable_set_stmt": variable,
    "variable_show_stmt": nothing,
    "constraints_set_stmt": nothing,
    "discard_stmt": session,
    "prepare_stmt": nothing,
    "deallocate_stmt": nothing,
    "declare_cursor_stmt": nothing,
    "fetch_stmt": nothing,
    "close_portal_stmt": nothing,
    "notify_stmt": nothing,
    "listen_stmt": nothing,
    "unlisten_stmt": nothing,
    "check_point_stmt": nothing,
}
