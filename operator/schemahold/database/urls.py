"""Database URLs as people have them, turned into libpq keywords.

Accepted: ``postgres://`` and ``postgresql://`` with any ``+driver``, the schemes of other frameworks (``jdbc:postgresql://``,
``ecto://``, ``postgis://``), and keyword/value strings (``host=… dbname=…``).  Passwords may carry unescaped special
characters.  What libpq does not know (Prisma's ``schema``, pool sizes) is dropped with a note.  No message carries any
part of a URL but its scheme and the names of its parameters.

libpq's own rules: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import urllib.parse
from collections.abc import Iterable, Mapping

import psycopg.conninfo
import psycopg.pq

SCHEMES = frozenset({"postgres", "postgresql", "psql", "pgsql", "postgis", "ecto"})
FORMS = "postgresql://user:password@host:5432/database, jdbc:postgresql://…, or host=… dbname=… user=… password=…"

SSLMODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
KEY_FILES = ("sslkey",)

# Other drivers' names for what libpq has.
_ALIASES = {
    "username": "user",
    "database": "dbname",
    "applicationname": "application_name",
    "connecttimeout": "connect_timeout",
    "targetservertype": "target_session_attrs",
    "sslpassword": "sslpassword",
}
_TARGETS = {"primary": "read-write", "master": "read-write", "any": "any"}
_SSL_TRUE = frozenset({"true", "1", "yes", "on", "t", ""})
_SSL_FALSE = frozenset({"false", "0", "no", "off", "f"})

# What may follow the '@' that ends the credentials.  The leftmost '@' with such a rest is the right one: everything
# before it may be a password with '@', '/', '?' or '#' in it, everything after a '?' may carry '@' as well.
_HOST = r"(?:\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9_.\-%]*)(?::[0-9]*)?"
_REST = re.compile(
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<dbname>[^/?@#]*))?/?(?:\?(?P<query>.*))?\Z",
    re.DOTALL,
)
_KEYWORD = re.compile(r"\s*[A-Za-z_]+\s*=")


class UrlInvalid(Exception):
    """The URL cannot be read.  The text names where it comes from and what to write, never its value."""


@dataclasses.dataclass(frozen=True)
class Target:
    """``params``: libpq keywords, as :func:`psycopg.conninfo.make_conninfo` takes them.  ``notes``: what was changed."""

    params: Mapping[str, str] = dataclasses.field(repr=False)
    notes: tuple[str, ...] = ()


def parse(text: str, *, origin: str) -> Target:
    """The target that ``text`` names.

    ``origin``: where the text comes from, in words, for messages.  Raises :class:`UrlInvalid`.
    """
    text = text.strip()
    notes: list[str] = []
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
        notes.append(f"{origin} is wrapped in quotes; they were left out")
    if not text:
        raise UrlInvalid(f"{origin} is empty; it must be a URL: {FORMS}")
    given = _from_url(text, origin) if _is_url(text) else _from_keywords(text, origin)
    params = _known(given, origin, notes)
    if not _has_user(params):
        raise UrlInvalid(
            f"{origin} names no user, and an application's separate setting for it is not read; put it into the URL: "
            "postgresql://user:password@host:5432/database, or jdbc:postgresql://host:5432/database?user=…&password=…"
        )
    return Target(params, tuple(notes))


def with_key_files(target: Target, directory: pathlib.Path) -> Target:
    """``target`` with its private keys copied into ``directory``, mode 0600.

    A key mounted from a Secret has mode 0644 or belongs to root, and libpq refuses both.  Raises :class:`UrlInvalid` when
    a key cannot be read.
    """
    params = dict(target.params)
    for keyword in KEY_FILES:
        source = params.get(keyword, "")
        if not source or ":" in source:  # "engine:key" is no file
            continue
        copy = directory / f"{keyword}.pem"
        try:
            copy.unlink(missing_ok=True)
            descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with pathlib.Path(source).open("rb") as read, os.fdopen(descriptor, "wb") as write:
                shutil.copyfileobj(read, write)
        except OSError as error:
            raise UrlInvalid(f"parameter {keyword} names a file that cannot be read ({error.strerror}); mount it") from None
        params[keyword] = str(copy)
    return dataclasses.replace(target, params=params)


def with_password_file(target: Target, path: str) -> Target:
    """``target`` with the password now in the file ``path``; tokens are short-lived, so call this at every connect."""
    if not path:
        return target
    try:
        password = pathlib.Path(path).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UrlInvalid(f"password file {path} cannot be read ({why}); mount it") from None
    return dataclasses.replace(target, params={**target.params, "password": password})


def _is_url(text: str) -> bool:
    return "://" in text.split("=", 1)[0] or text.lower().startswith("jdbc:")


def _from_url(text: str, origin: str) -> list[tuple[str, str]]:
    text = text[5:] if text.lower().startswith("jdbc:") else text
    scheme, separator, rest = text.partition(":")
    if scheme.partition("+")[0].lower() not in SCHEMES or not separator:
        raise UrlInvalid(f"{origin} has the scheme '{scheme[:32]}', which is not PostgreSQL; use {FORMS}")
    if not rest.startswith("//"):  # jdbc:postgresql:database
        rest = "///" + rest.lstrip("/")
    return _from_authority(rest[2:], origin)


def _from_authority(rest: str, origin: str) -> list[tuple[str, str]]:
    credentials, match = "", _REST.match(rest)
    position = rest.find("@")
    while match is None and position >= 0:
        credentials, match = rest[:position], _REST.match(rest[position + 1 :])
        position = rest.find("@", position + 1)
    if match is None:
        raise UrlInvalid(
            f"{origin} cannot be read after its scheme; use {FORMS}, with special characters in the password "
            "percent-encoded (':' %3A, '/' %2F, '@' %40)"
        )
    found: list[tuple[str, str]] = []
    user, separator, password = credentials.partition(":")
    if user:
        found.append(("user", _unquote(user)))
    if separator:
        found.append(("password", _unquote(password)))
    found += _hosts(match["hosts"], origin)
    if match["dbname"]:
        found.append(("dbname", _unquote(match["dbname"])))
    return found + _query(match["query"] or "")


def _hosts(text: str, origin: str) -> list[tuple[str, str]]:
    hosts, ports = [], []
    for entry in filter(None, text.split(",")):
        if entry.startswith("["):
            host, _, port = entry[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = entry.partition(":")
        if port and not 0 < int(port) < 65536:
            raise UrlInvalid(f"{origin} has a port that is not a number from 1 to 65535")
        hosts.append(_unquote(host))
        ports.append(port)
    found = [("host", ",".join(hosts))] if any(hosts) else []
    return found + ([("port", ",".join(ports))] if any(ports) else [])


def _query(text: str) -> list[tuple[str, str]]:
    found = []
    for pair in filter(None, text.split("&")):
        key, _, value = pair.partition("=")
        found.append((_unquote(key), _unquote(value)))
    return found


def _unquote(text: str) -> str:
    """Percent-decoded; a '%' that starts no escape stays, and so does a '+'."""
    return urllib.parse.unquote(text)


def _from_keywords(text: str, origin: str) -> list[tuple[str, str]]:
    if not _KEYWORD.match(text):
        raise UrlInvalid(f"{origin} is neither a URL nor a list of keywords; use {FORMS}")
    try:
        parsed = psycopg.conninfo.conninfo_to_dict(text)
    except psycopg.Error:
        # libpq's message may quote the value.
        raise UrlInvalid(f"{origin} cannot be read as keyword=value pairs; use {FORMS}") from None
    return [(key, str(value)) for key, value in parsed.items() if value is not None]


def _known(given: Iterable[tuple[str, str]], origin: str, notes: list[str]) -> dict[str, str]:
    keywords = _libpq_keywords()
    params: dict[str, str] = {}
    dropped: list[str] = []
    for name, value in given:
        keyword = _ALIASES.get(name.lower(), name)
        if keyword in ("ssl", "sslmode"):
            params["sslmode"] = _sslmode(value, origin, notes)
        elif keyword == "sslfactory" and value.endswith("NonValidatingFactory"):
            params["sslmode"] = "require"
        elif keyword == "target_session_attrs":
            params[keyword] = _TARGETS.get(value.lower(), value)
        elif keyword in keywords:
            params[keyword] = value
        else:
            dropped.append(name)
    if dropped:
        shown = ", ".join(sorted(name[:32] for name in dropped))
        notes.append(f"{origin}: parameters that libpq does not know were left out: {shown}")
    return params


def _has_user(params: Mapping[str, str]) -> bool:
    """Whether libpq finds a user: in ``params``, PGUSER or a service file, or as the name of the UID that asks.

    A pod's UID has no name as a rule, and libpq's "local user with ID 65532 does not exist" says nothing of the URL.
    """
    defaults = _libpq_defaults()
    return any(params.get(keyword) or defaults.get(keyword) for keyword in ("user", "service"))


def _libpq_keywords() -> frozenset[str]:
    return frozenset(_libpq_defaults())


def _libpq_defaults() -> dict[str, str]:
    """Every keyword of libpq with its value where nobody gives one, from the environment or the system; "" for none."""
    return {option.keyword.decode(): (option.val or b"").decode() for option in psycopg.pq.Conninfo.get_defaults()}


def _sslmode(value: str, origin: str, notes: list[str]) -> str:
    lowered = value.lower()
    if lowered in SSLMODES:
        return lowered
    if lowered in _SSL_FALSE:
        return "disable"
    if lowered not in _SSL_TRUE and lowered != "no-verify":
        modes = ", ".join(sorted(SSLMODES))
        raise UrlInvalid(f"{origin}: sslmode must be one of {modes}, or no-verify")
    notes.append(f"{origin}: sslmode '{lowered or 'true'}' was taken as 'require': encrypted, certificate not verified")
    return "require"
