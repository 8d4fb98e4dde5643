"""Is this a file that can be run: in one transaction, or statement by statement?  And what it must not contain.

Not looked into: what ``DO``, ``CALL`` and functions do, and what only the catalog knows (REINDEX and CLUSTER of a
partitioned table cannot run in a transaction either; the server refuses them).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from schemahold.core.sql import parse
from schemahold.core.sql.model import SourceError, Statement, refusal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """How a file is run.

    ``transactional``: all of it in one transaction, with its row; otherwise each statement alone.  ``alone``: the numbers of
    the statements that cannot run in a transaction.  ``wrapped``: the file has its own ``BEGIN`` and ``COMMIT`` around
    everything; their numbers are in ``skipped``, for they are not executed.  ``statements``: how many there are, those two
    included.
    """

    transactional: bool
    alone: frozenset[int] = frozenset()
    wrapped: bool = False
    skipped: frozenset[int] = frozenset()
    statements: int = 0


def shape(statements: Iterable[Statement], *, file: str, server_version: int = 0) -> Shape:
    """How ``file`` is run, from all its statements; SourceError for what a migration file must not contain.

    ``server_version``: as ``server_version_num``, 0 when it is not known.  From 13 to 18 nothing here depends on it.
    """
    found = _Found()
    last = 0
    for statement in statements:
        last = statement.number
        if not parse.plain_insert(statement.text):
            found.look(statement, parse.parse(statement, file=file), file)
    found.check_transactions(last, file)
    found.check_settings(file)
    return Shape(
        transactional=not found.alone,
        alone=frozenset(found.alone),
        wrapped=bool(found.controls),
        skipped=frozenset(control.number for control in found.controls),
        statements=last,
    )


@dataclasses.dataclass(frozen=True)
class _Control:
    """A statement of transaction control.  ``words``: as it is called.  ``bare``: without options, which would be lost."""

    number: int
    line: int
    words: str
    bare: bool


@dataclasses.dataclass(frozen=True)
class _Setting:
    """A SET, or a call of set_config.  ``name``: in lower case.  It and ``value`` are "" where an expression says it."""

    line: int
    name: str
    value: str
    local: bool
    call: bool = False

    def __str__(self) -> str:
        if self.call:
            return f"set_config('{self.name}', …, {'true' if self.local else 'false'})"
        name = _CAPITALS.get(self.name, self.name)
        return f"SET LOCAL {name}" if self.local else f"SET {name}"


@dataclasses.dataclass
class _Found:
    """What can be judged only once all statements are known.  ``alone``: number → line."""

    alone: dict[int, int] = dataclasses.field(default_factory=dict)
    controls: list[_Control] = dataclasses.field(default_factory=list)
    settings: list[_Setting] = dataclasses.field(default_factory=list)

    def look(self, statement: Statement, tree: parse.Tree, file: str) -> None:
        """Take note of one statement; SourceError for one that no file may contain."""
        if text := _NEVER.get(tree.kind) or _REFUSED.get(tree.kind, _nothing)(tree.node):
            raise refusal(text, file=file, line=statement.line)
        if _ALONE.get(tree.kind, _never)(tree.node):
            self.alone[statement.number] = statement.line
        elif tree.kind == "transaction_stmt":
            self.controls.append(_control(statement, tree.node))
        for setting in _settings(statement, tree):
            if why := _not_to_set(setting):
                raise refusal(f"{setting}: {why}", file=file, line=statement.line)
            self.settings.append(setting)

    def check_transactions(self, last: int, file: str) -> None:
        """SourceError when the file has transactions of its own, but for one around all of it."""
        if not self.controls:
            return
        ends = (self.controls[0], self.controls[-1])
        around = (ends[0].number, ends[1].number) == (1, last) and tuple(one.words for one in ends) in _AROUND
        if around and len(self.controls) == 2 and ends[0].bare and ends[1].bare:
            if self.alone:
                text = (
                    "this statement cannot run in a transaction, and the file has BEGIN and COMMIT around everything: "
                    "move it to a file of its own, without them"
                )
                raise refusal(text, file=file, line=min(self.alone.values()))
            return
        raise _own_transaction(self.controls[1] if around and len(self.controls) > 2 else ends[0], file)

    def check_settings(self, file: str) -> None:
        """SourceError when a setting would outlive the file, or be lost."""
        for setting in self.settings:
            if self.alone:
                text = (
                    f"{setting} in a file whose line {min(self.alone.values())} cannot run in a transaction: its statements "
                    "run one by one, and a setting would be lost when the file is resumed. Name schemas in full, set it for "
                    "the role (ALTER ROLE … SET), or move what needs it to another file"
                )
                raise refusal(text, file=file, line=setting.line)
            if not setting.local:
                instead = "true as the third argument" if setting.call else str(dataclasses.replace(setting, local=True))
                text = f"{setting} would outlive this file and change how the next ones run: write {instead}"
                raise refusal(text, file=file, line=setting.line)


# --- never ------------------------------------------------------------------------------------------------------------

_NO_SCHEMA_CHANGE = "no change of this database's schema: run it by hand beforehand"
_NEVER = {
    "createdb_stmt": f"CREATE DATABASE is {_NO_SCHEMA_CHANGE}",
    "dropdb_stmt": f"DROP DATABASE is {_NO_SCHEMA_CHANGE}",
    "create_table_space_stmt": f"CREATE TABLESPACE is {_NO_SCHEMA_CHANGE}",
    "drop_table_space_stmt": f"DROP TABLESPACE is {_NO_SCHEMA_CHANGE}",
    "create_subscription_stmt": f"CREATE SUBSCRIPTION is {_NO_SCHEMA_CHANGE}",
    "alter_subscription_stmt": f"ALTER SUBSCRIPTION is {_NO_SCHEMA_CHANGE}",
    "drop_subscription_stmt": f"DROP SUBSCRIPTION is {_NO_SCHEMA_CHANGE}",
    "alter_system_stmt": f"ALTER SYSTEM is {_NO_SCHEMA_CHANGE}",
    "discard_stmt": "DISCARD undoes what schemahold has set for its session: remove it",
}


def _nothing(node: Any) -> str:
    return ""


def _copy(node: Any) -> str:
    """COPY between a table and the client, who has nothing to send and nobody to show rows to."""
    if node.filename:  # a file of the server, or a program there
        return ""
    if node.is_from:
        return "COPY … FROM STDIN takes rows from psql, and a file of statements has none: write INSERT (pg_dump --inserts)"
    return "COPY … TO STDOUT has nobody to send its rows to: remove it"


def _create_index(node: Any) -> str:
    if node.concurrent and not node.idxname:
        return (
            "CREATE INDEX CONCURRENTLY without a name: after a crash nobody could tell whether the index is there. "
            f"Give it one: CREATE INDEX CONCURRENTLY {node.relation.relname}_… ON {node.relation.relname} …"
        )
    return ""


def _drop(node: Any) -> str:
    if not node.concurrent:
        return ""
    if len(node.objects) > 1:
        return "DROP INDEX CONCURRENTLY takes one index: write a statement for each"
    if parse.word(node, "behavior") == "DROP_CASCADE":
        return "DROP INDEX CONCURRENTLY does not take CASCADE: drop what depends on the index first"
    return ""


def _alter_database(node: Any) -> str:
    options = {parse.inner(option).node.defname for option in node.options}
    return f"ALTER DATABASE … SET TABLESPACE is {_NO_SCHEMA_CHANGE}" if "tablespace" in options else ""


def _reset(node: Any) -> str:
    if parse.word(node, "kind") not in ("VAR_RESET", "VAR_RESET_ALL"):
        return ""
    return f"RESET {node.name or 'ALL'} undoes what schemahold has set for its session: remove it (SET LOCAL ends by itself)"


_REFUSED: dict[str, Callable[[Any], str]] = {
    "copy_stmt": _copy,
    "index_stmt": _create_index,
    "drop_stmt": _drop,
    "alter_database_stmt": _alter_database,
    "variable_set_stmt": _reset,
}


# --- not in a transaction ---------------------------------------------------------------------------------------------


def _never(node: Any) -> bool:
    return False


def _reindex(node: Any) -> bool:
    """REINDEX of more than a table, or CONCURRENTLY; of its options, the last one counts."""
    if parse.word(node, "kind") in ("REINDEX_OBJECT_SCHEMA", "REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SYSTEM"):
        return True
    options = [parse.inner(option).node for option in node.params]
    concurrently = [_true(option) for option in options if option.defname == "concurrently"]
    return concurrently[-1:] == [True]


def _true(option: Any) -> bool:
    """An option's value, which is true when there is none."""
    value = parse.inner(option.arg)
    if value.kind == "integer":
        return bool(value.node.ival)
    return not value.kind or value.node.sval.lower() in ("true", "on")


def _detach(node: Any) -> bool:
    """ALTER TABLE … DETACH PARTITION … CONCURRENTLY; FINALIZE, which ends an interrupted one, may run in a transaction."""
    commands = (parse.inner(command).node for command in node.cmds)
    return any(
        parse.word(command, "subtype") == "AT_DetachPartition" and parse.inner(getattr(command, "def")).node.concurrent
        for command in commands
    )


_ALONE: dict[str, Callable[[Any], bool]] = {
    "index_stmt": lambda node: bool(node.concurrent),
    "drop_stmt": lambda node: bool(node.concurrent),
    "reindex_stmt": _reindex,
    "vacuum_stmt": lambda node: bool(node.is_vacuumcmd),  # the other one is ANALYZE
    "alter_table_stmt": _detach,
    "cluster_stmt": lambda node: not node.HasField("relation"),
}


# --- transactions -----------------------------------------------------------------------------------------------------

_TRANSACTION_WORDS = {
    "TRANS_STMT_START": "START TRANSACTION",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK TO",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}
_AROUND = (("BEGIN", "COMMIT"), ("START TRANSACTION", "COMMIT"))


def _control(statement: Statement, node: Any) -> _Control:
    kind = parse.word(node, "kind")
    words = _TRANSACTION_WORDS.get(kind, kind.removeprefix("TRANS_STMT_"))
    return _Control(statement.number, statement.line, words, bare=not node.options and not node.chain)


def _own_transaction(control: _Control, file: str) -> SourceError:
    what = control.words if control.bare else f"{control.words} with options"
    text = (
        f"{what}: schemahold begins and commits the transaction itself, together with its row for this file: remove it "
        "(plain BEGIN as the first statement and COMMIT as the last one may stay, with nothing of the kind between them)"
    )
    return refusal(text, file=file, line=control.line)


# --- settings ---------------------------------------------------------------------------------------------------------

_CAPITALS = {"role": "ROLE", "session_authorization": "SESSION AUTHORIZATION"} | {
    name.lower(): name for name in ("TRANSACTION", "TRANSACTION SNAPSHOT", "SESSION CHARACTERISTICS")
}
_AS_ROLE = (
    "schemahold's own rows would be written by that role as well: remove it, and connect as that role "
    "(?options=-c%20role%3D… in the URL does it), or give away what this file makes with ALTER … OWNER TO"
)
_BEGUN = "schemahold has begun the transaction already: remove it"
_OURS = {
    "lock_timeout": "schemahold sets it for every statement: remove it, and set `sql.lockTimeout`",
    "statement_timeout": "schemahold sets it for every statement: remove it, and set `sql.statementTimeout`",
    "transaction_timeout": "schemahold sets it for every transaction: remove it, and set `sql.statementTimeout`",
    "idle_in_transaction_session_timeout": "schemahold leaves no transaction idle: remove it",
    "role": _AS_ROLE,
    "session_authorization": _AS_ROLE,
    "transaction": _BEGUN,
    "transaction snapshot": _BEGUN,
    "session characteristics": "it would outlive this file and change how the next ones run: remove it",
}


def _settings(statement: Statement, tree: parse.Tree) -> list[_Setting]:
    """What a statement sets, as far as it says so itself."""
    if tree.kind == "variable_set_stmt":
        value = _constant(tree.node.args[0]) if tree.node.args else ""
        return [_Setting(statement.line, tree.node.name.lower(), value, tree.node.is_local)]
    if tree.kind != "select_stmt" or "set_config" not in statement.text.lower():
        return []
    calls = (tree.node for tree in parse.every(tree.node) if tree.kind == "func_call")
    return [_set_config(statement.line, call) for call in calls if _function(call) == "set_config"]


def _function(call: Any) -> str:
    return str(parse.inner(call.funcname[-1]).node.sval)


def _set_config(line: int, call: Any) -> _Setting:
    """A call of ``set_config(name, value, is_local)``; whatever is no constant is taken for the worst."""
    name, value, local = [*map(_constant, call.args), "", "", ""][:3]
    return _Setting(line, name.lower(), value, local=local == "true", call=True)


def _not_to_set(setting: _Setting) -> str:
    """Why a file may not set this at all."""
    if setting.name == "standard_conforming_strings" and setting.value.lower() not in ("on", "true"):
        return "files are read with it on: remove it, and write E'…' for strings with escapes"
    return _OURS.get(setting.name, "")


def _constant(wrapper: Any) -> str:
    """A word, a string or a boolean as text; "" for anything else."""
    tree = parse.inner(wrapper)
    if tree.kind != "a_const":
        return ""
    if tree.node.WhichOneof("val") == "boolval":
        return "true" if tree.node.boolval.boolval else "false"
    return str(tree.node.sval.sval)
