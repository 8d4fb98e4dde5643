"""What one statement is, in Postgres's own grammar.  The only module that knows libpg_query (``postgast``).

A :class:`Tree` is one node.  ``kind`` is its name in libpg_query (``alter_table_stmt``, ``index_stmt``, ``select_stmt``, …:
the field of its protobuf ``Node`` that is set), and ``node`` is the protobuf message of that kind, with the fields of
Postgres's own parse tree (``node.concurrent``, ``node.relation.relname``).  Fields that may hold any node are wrapped in
``Node``: :func:`inner` unwraps one (``inner(node.cmds[0]).kind == "alter_table_cmd"``).  Enums are numbers there:
:func:`word` has their names (``word(cmd, "subtype") == "AT_AddColumn"``).  :func:`every` is all nodes from one downwards.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf.internal import api_implementation  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from schemahold.core.sql.model import SourceError, Statement, refusal

# protobuf gives up at 100 levels, which is 49 times `||` in one expression. The C implementation can be told to go on.
_deeper = getattr(api_implementation._c_module, "SetAllowOversizeProtos", None)
if _deeper is not None:
    _deeper(True)


@dataclasses.dataclass(frozen=True)
class Tree:
    """One node: ``kind`` as libpg_query names it, "" when there is none; ``node``: its protobuf message."""

    kind: str
    node: Any


_NODE = postgast.pg_query_pb2.Node.DESCRIPTOR
_KINDS: dict[str, str] = {field.message_type.name: field.name for field in _NODE.fields}


def parse(statement: Statement, *, file: str = "") -> Tree:
    """The tree of one statement; SourceError with the line of the mistake when Postgres cannot read it."""
    if "\0" in statement.text:  # libpg_query would take it for the end, and say nothing about what comes after it
        line = statement.line + statement.text.count("\n", 0, statement.text.index("\0"))
        raise refusal("a NUL character, which Postgres does not take: remove it", file=file, line=line)
    try:
        found = postgast.parse(statement.text).stmts
    except postgast.PgQueryError as error:
        raise _unreadable(error, statement, file) from None
    except DecodeError:
        text = "nested too deeply to be judged: split the expression, for instance over several common table expressions"
        raise refusal(text, file=file, line=statement.line) from None
    if len(found) != 1:
        text = f"Postgres reads {len(found)} statements where one was expected: put each in a line of its own, with its ';'"
        raise refusal(text, file=file, line=statement.line)
    return inner(found[0].stmt)


def inner(wrapper: Any) -> Tree:
    """What a ``Node`` holds: ``Tree("", None)`` for an empty one.  A message that is no ``Node`` comes as it is."""
    if wrapper.DESCRIPTOR is not _NODE:
        return Tree(_KINDS.get(wrapper.DESCRIPTOR.name, ""), wrapper)
    kind = wrapper.WhichOneof("node")
    return Tree(kind, getattr(wrapper, kind)) if kind else Tree("", None)


def word(message: Any, field: str) -> str:
    """The name of an enum field's value: ``word(cmd, "subtype")`` is ``AT_AddColumn``."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[getattr(message, field)].name)


def every(message: Any) -> Iterator[Tree]:
    """``message`` itself and all nodes below it, depth first, unwrapped."""
    waiting = [message]
    while waiting:
        tree = inner(waiting.pop())
        if tree.node is None:
            continue
        yield tree
        below: list[Any] = []
        for field, value in tree.node.ListFields():
            if field.message_type is not None:
                below.extend([value] if hasattr(value, "ListFields") else value)
        waiting.extend(reversed(below))


# --- what Postgres cannot read ----------------------------------------------------------------------------------------

_PLACEHOLDER = re.compile(
    r"""
    [$\#]\{[^}\n]*\}          # ${x}, #{x}
    | \{\{.*?\}\} | \{%.*?%\} # {{ x }}, {% x %}
    | <%.*?%>                 # <%= x %>
    | %\(\w+\)s | %s          # %(x)s
    | (?<!:):(?:'\w+'|"\w+"|[A-Za-z_]\w*)
    """,
    re.VERBOSE,
)
_EMBEDDED = re.compile(r"<%.*?%>")  # its parts are operators to Postgres, which stumbles somewhere behind it
_META = re.compile(r"\\\S*")


def _unreadable(error: postgast.PgQueryError, statement: Statement, file: str) -> SourceError:
    """Postgres's words, with the line, and with what it is when it is no SQL at all."""
    text = statement.text
    at = max(error.cursorpos - 1, 0)  # characters, whatever postgast's documentation says of bytes
    line = statement.line + text.count("\n", 0, at)
    words = error.message
    if meta := _META.match(text, at):
        words = (
            f"{meta[0]} is a command of psql, and schemahold sends SQL to the server itself: write SQL instead, "
            "what \\i and \\ir include into a file of its own, and rows for \\copy as INSERT"
        )
    elif placeholder := _placeholder(text, at):
        words = (
            f"{placeholder} is a placeholder ({error.message}), and schemahold fills in none: write the value, or have it "
            "filled in before the file is packed"
        )
    return refusal(words, file=file, line=line)


def _placeholder(text: str, at: int) -> str:
    """The template's placeholder at which Postgres stumbled, or ""."""
    # In `name_${x}` the dollar still belongs to the name, so it may begin a little before.
    for found in _PLACEHOLDER.finditer(text, max(at - 2, 0)):
        if found.start() <= at < found.end():
            return found[0]
    embedded = _EMBEDDED.search(text, 0, at)
    return embedded[0] if embedded else ""


# --- what needs no parse ----------------------------------------------------------------------------------------------

_WORD = r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*+"
_NAME = rf'(?:{_WORD}|"[^"]++")'
_TYPE = (
    r"(?:text|varchar|character\ varying|bpchar|int[248]?|integer|smallint|bigint|numeric|decimal|real|float[48]"
    r"|double\ precision|bool|boolean|date|timestamp(?:tz|\ with(?:out)?\ time\ zone)?|time|interval|jsonb?|uuid|bytea"
    r"|inet|cidr)(?:\([0-9, ]++\))?+(?:\[\])?+"
)
# Types of Postgres itself only: a cast to another may run any function.
_NUMBER = r"-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?"
_LITERAL = (
    rf"(?:'[^']*+'(?:'[^']*+')*+(?:::{_TYPE})*+"
    r"|[0-9]++(?![.e:])"  # most numbers, and twice as fast
    rf"|(?:{_NUMBER}|null|true|false)(?:::{_TYPE})*+|default)\s*+"
)
_ROW = rf"\(\s*+{_LITERAL}(?:,\s*+{_LITERAL})*+\)\s*+"
_PLAIN_INSERT = re.compile(
    rf"insert\s++into\s++{_NAME}(?:\.{_NAME})*+\s*+"
    rf"(?:\(\s*+{_NAME}\s*+(?:,\s*+{_NAME}\s*+)*+\)\s*+(?:overriding\s++(?:system|user)\s++value\s++)?)?"
    rf"values\s*+{_ROW}(?:,\s*+{_ROW})*+",
    re.IGNORECASE | re.ASCII,  # ASCII: to Unicode, ſ is an s; to Postgres, it is not
)


def plain_insert(text: str) -> bool:
    """``INSERT INTO name [(columns)] VALUES`` of literals: it can do nothing but insert them, and needs no parse.

    Conservative: False says only that it has to be parsed.  Literals are strings, numbers, NULL, true, false and DEFAULT,
    also cast to a type of Postgres's own.  True also for a reserved word as a name, which only the server refuses.
    """
    return _PLAIN_INSERT.fullmatch(text) is not None
