"""The advisory lock: it makes waiting polite; the ledger's row is the fence.

A session lock on the one direct session of the ``lock`` container, polled with ``pg_try_advisory_lock``: a session that
*waits* in ``pg_advisory_lock`` would be waited for by ``CREATE INDEX CONCURRENTLY``, a deadlock.
"""

from __future__ import annotations

import dataclasses
import hashlib

from schemahold.database import session

NAMESPACE = "schemahold/lock/"
APPLICATION = "schemahold lock "  # application_name of every lock session, followed by the ledger name


def key(lock_name: str) -> int:
    """The 64-bit signed key for ``spec.lock.name``; "" is the one key that a database has by default.

    Keys are per database, so the database is no part of it.
    """
    digest = hashlib.sha256((NAMESPACE + lock_name).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def application_name(ledger_name: str) -> str:
    """What ``pg_stat_activity`` shows for a lock session; the server cuts it at 63 bytes."""
    return (APPLICATION + ledger_name).encode()[:63].decode(errors="ignore")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has the key.  What a narrow role may not see is empty; ``age``: seconds since it connected."""

    pid: int
    application_name: str = ""
    client_addr: str = ""
    age: float | None = None

    @property
    def is_ours(self) -> bool:
        return self.application_name.startswith(APPLICATION)

    def __str__(self) -> str:
        parts = [f"pid {self.pid}"]
        parts += [f"application_name '{self.application_name}'"] if self.application_name else []
        parts += [f"address {self.client_addr}"] if self.client_addr else []
        parts += [f"connected for {self.age:.0f} s"] if self.age is not None else []
        return ", ".join(parts)


def try_lock(on: session.Session, lock_key: int) -> bool:
    """Take the key if it is free.  Taking it twice on one session counts twice: ask only when it is not held."""
    [(taken,)] = on.fetch("SELECT pg_try_advisory_lock(%(key)s)", {"key": lock_key})
    return bool(taken)


def unlock(on: session.Session, lock_key: int) -> None:
    on.fetch("SELECT pg_advisory_unlock(%(key)s)", {"key": lock_key})


def holder(on: session.Session, lock_key: int) -> Holder | None:
    """The session that has the key now, None when it has just been let go.

    A bigint key stands in ``pg_locks`` as classid = high half, objid = low half, objsubid = 1.
    """
    unsigned = lock_key & 0xFFFF_FFFF_FFFF_FFFF
    found = on.fetch(
        "SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),"
        " extract(epoch FROM clock_timestamp() - a.backend_start)::float8"
        " FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND l.classid = %(high)s::oid AND l.objid = %(low)s::oid LIMIT 1",
        {"high": unsigned >> 32, "low": unsigned & 0xFFFF_FFFF},
    )
    if not found:
        return None
    pid, application, address, age = found[0]
    return Holder(pid=pid, application_name=application, client_addr=address, age=age)
