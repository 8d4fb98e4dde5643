"""The ledger in SQL: what :mod:`schemahold.core.ledger` judges, and the few writes that its verdicts ask for.

Every write is one round trip and one transaction, names the state it expects, and tells whether it found it: a caller that
lost a race looks again.  Rights needed: CONNECT, USAGE, SELECT, INSERT, UPDATE; CREATE only to make the ledger.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from typing import Any

import psycopg
import psycopg.sql

from schemahold.api import pod
from schemahold.core import ledger
from schemahold.database import faults, lock, session

FORMAT = 2  # of the tables; a newer one is not ours to write

CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS schemahold"

CREATE_TABLES = """
CREATE TABLE IF NOT EXISTS schemahold.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ledger uuid NOT NULL DEFAULT gen_random_uuid(),
    format integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE schemahold.meta IS 'schemahold: one row that tells this ledger from every other';
COMMENT ON COLUMN schemahold.meta.ledger IS 'identity of this ledger; a SchemaMigration keeps it in its status';
COMMENT ON COLUMN schemahold.meta.format IS 'version of these tables';

CREATE TABLE IF NOT EXISTS schemahold.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    phase text NOT NULL,
    version text NOT NULL,
    inputs text NOT NULL DEFAULT '',
    state text NOT NULL
        CHECK (state IN ('running', 'succeeded', 'failed', 'unknown', 'adopted', 'superseded')),
    lock_key bigint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    job text NOT NULL DEFAULT '',
    pod_uid text NOT NULL DEFAULT '',
    pod_name text NOT NULL DEFAULT '',
    token text NOT NULL DEFAULT '',
    system_id text NOT NULL DEFAULT '',
    timeline text NOT NULL DEFAULT '',
    postmaster_started text NOT NULL DEFAULT '',
    sessions jsonb NOT NULL DEFAULT '[]',
    started_at timestamptz,
    beat_at timestamptz,
    finished_at timestamptz,
    exit_code integer,
    note text NOT NULL DEFAULT '',
    mode text NOT NULL DEFAULT '',
    answer text NOT NULL DEFAULT '',
    answered_by text NOT NULL DEFAULT '',
    answered_reason text NOT NULL DEFAULT '',
    answered_at timestamptz
);
COMMENT ON TABLE schemahold.ledger IS
    'schemahold: one row for each run of a migration; it decides whether a run may start and says how it ended';
COMMENT ON COLUMN schemahold.ledger.name IS 'spec.identity of the SchemaMigration, or <namespace>/<name>';
COMMENT ON COLUMN schemahold.ledger.phase IS 'expand (before the rollout) or contract (after the last old pod)';
COMMENT ON COLUMN schemahold.ledger.version IS 'the version that the run migrates to';
COMMENT ON COLUMN schemahold.ledger.inputs IS 'hash of what ran: command, image, database reference';
COMMENT ON COLUMN schemahold.ledger.state IS
    'running; succeeded; failed; unknown: a person must answer; adopted: ran before schemahold; superseded: replaced';
COMMENT ON COLUMN schemahold.ledger.lock_key IS 'advisory lock key of spec.lock.name; one row per key may be running';
COMMENT ON COLUMN schemahold.ledger.attempt IS 'number of the attempt';
COMMENT ON COLUMN schemahold.ledger.job IS 'Job of the attempt';
COMMENT ON COLUMN schemahold.ledger.pod_uid IS 'uid of the pod that ran; a pod starts at most once';
COMMENT ON COLUMN schemahold.ledger.pod_name IS 'name of the pod that ran';
COMMENT ON COLUMN schemahold.ledger.token IS 'value of the annotation retry-at that this run has seen';
COMMENT ON COLUMN schemahold.ledger.system_id IS 'server at the start: system identifier, empty if not told';
COMMENT ON COLUMN schemahold.ledger.timeline IS 'server at the start: timeline of the write-ahead log';
COMMENT ON COLUMN schemahold.ledger.postmaster_started IS 'server at the start: when it was started';
COMMENT ON COLUMN schemahold.ledger.sessions IS
    'the role''s sessions from the pod''s address at the last beat: pid, backend_start, client_addr, client_port, '
    'application_name';
COMMENT ON COLUMN schemahold.ledger.started_at IS 'when the run was allowed to start';
COMMENT ON COLUMN schemahold.ledger.beat_at IS 'last sign of life; a running row without one becomes unknown';
COMMENT ON COLUMN schemahold.ledger.finished_at IS 'when the row left the state running';
COMMENT ON COLUMN schemahold.ledger.exit_code IS 'exit code of the command, if there was word of it';
COMMENT ON COLUMN schemahold.ledger.note IS 'why the row is in this state';
COMMENT ON COLUMN schemahold.ledger.mode IS 'sql: the session that held the lock ran the files; empty: a command ran';
COMMENT ON COLUMN schemahold.ledger.answer IS 'a person''s word on an unknown outcome: retry or applied';
COMMENT ON COLUMN schemahold.ledger.answered_by IS 'who answered';
COMMENT ON COLUMN schemahold.ledger.answered_reason IS 'why, in the person''s words';
COMMENT ON COLUMN schemahold.ledger.answered_at IS 'when the answer was written here';

CREATE UNIQUE INDEX IF NOT EXISTS ledger_one_running ON schemahold.ledger (lock_key) WHERE state = 'running';
CREATE UNIQUE INDEX IF NOT EXISTS ledger_one_unanswered ON schemahold.ledger (name, phase)
    WHERE state IN ('running', 'unknown', 'failed');
CREATE UNIQUE INDEX IF NOT EXISTS ledger_one_applied ON schemahold.ledger (name, phase, version)
    WHERE state IN ('succeeded', 'adopted');
CREATE UNIQUE INDEX IF NOT EXISTS ledger_one_per_pod ON schemahold.ledger (pod_uid) WHERE pod_uid <> '';
"""

# Format 1 had no mode: whoever knows only that would take a long sql run, which has no beats, for dead.
UPGRADE = f"""
ALTER TABLE schemahold.ledger ADD COLUMN IF NOT EXISTS mode text NOT NULL DEFAULT '';
COMMENT ON COLUMN schemahold.ledger.mode IS 'sql: the session that held the lock ran the files; empty: a command ran';
UPDATE schemahold.meta SET format = {FORMAT} WHERE format < {FORMAT};
"""

_INSERT_META = f"INSERT INTO schemahold.meta (format) VALUES ({FORMAT}) ON CONFLICT DO NOTHING"

_ROW = (
    "id, name, phase, version, inputs, state, lock_key, attempt, job, pod_uid, pod_name, token,"
    " system_id, timeline, postmaster_started, started_at, beat_at, finished_at, exit_code, note, mode"
)


def _key(purpose: str) -> int:
    digest = hashlib.sha256(f"schemahold/ledger/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# --- making and finding it --------------------------------------------------------------------------------------------


def ensure(on: session.Session, *, expected: str = "") -> str:
    """The uuid of this database's ledger, which is made if there is none.

    ``expected``: the uuid seen before; with it, nothing is made, and another ledger or none is
    :attr:`~schemahold.api.pod.Reason.LEDGER_LOST`.  Raises :class:`faults.Refused`.
    """
    found = _find(on)
    if expected and found != expected:
        what = "has no ledger" if not found else f"has another ledger, {found}"
        raise faults.Refused(
            pod.Reason.LEDGER_LOST,
            f"database '{on.facts.database}' {what}; the one seen before was {expected}. If the database was replaced or "
            "restored on purpose, set the annotation schemahold.dev/retry-at to a new value to accept it",
        )
    if found:
        return found
    _create(on)
    return _find(on)


def _find(on: session.Session) -> str:
    """The ledger's uuid, "" when there is none.

    Looked for before anything is made: ``CREATE SCHEMA IF NOT EXISTS`` needs the right to create even if it exists, and
    ``to_regclass`` fails without USAGE on the schema, so the schema comes first.
    """
    [(schema, usage)] = on.fetch(
        "SELECT to_regnamespace('schemahold') IS NOT NULL, CASE WHEN to_regnamespace('schemahold') IS NOT NULL"
        " THEN has_schema_privilege('schemahold', 'USAGE') END"
    )
    if not schema:
        return ""
    if not usage:
        raise forbidden(on, _grants(on))
    [(tables, allowed)] = on.fetch(
        "SELECT count(r) = 2, bool_and(has_table_privilege(r, 'SELECT') AND has_table_privilege(r, 'INSERT')"
        " AND has_table_privilege(r, 'UPDATE')) FILTER (WHERE r = to_regclass('schemahold.ledger'))"
        " AND bool_and(has_table_privilege(r, 'SELECT'))"
        " FROM unnest(ARRAY[to_regclass('schemahold.ledger'), to_regclass('schemahold.meta')]) r WHERE r IS NOT NULL"
    )
    if not tables:
        return ""
    if not allowed:
        raise forbidden(on, _grants(on))
    rows = on.fetch("SELECT ledger::text, format FROM schemahold.meta")
    if not rows:
        return ""
    if rows[0][1] < FORMAT:
        make(on, UPGRADE, " ".join(UPGRADE.split()))
    if rows[0][1] > FORMAT:
        raise faults.Refused(
            pod.Reason.RUNNER_ERROR,
            f"the ledger has format {rows[0][1]} and this schemahold knows format {FORMAT}; use the newer schemahold",
        )
    return str(rows[0][0])


def _create(on: session.Session) -> None:
    [(schema,)] = on.fetch("SELECT to_regnamespace('schemahold') IS NOT NULL")
    make(on, f"{'' if schema else CREATE_SCHEMA + ';'}{CREATE_TABLES}{UPGRADE};{_INSERT_META}", _creation(on))


def make(on: session.Session, statements: str, by_hand: str) -> None:
    """Make what is missing, in one transaction under a key of its own.  ``by_hand``: what a DBA can run instead.

    Interleaving: two pods find no ledger at once; without the key both would create, and one fail on a system catalog's
    unique index.  The one that waits for the key has cached that there is no schema, and waiting for an advisory lock does
    not make the server look again; opening any table does.
    """
    begin = f"SELECT pg_advisory_xact_lock({_key('create')}); SELECT FROM pg_catalog.pg_namespace WHERE false;"
    try:
        on.fetch(begin + statements)
    except psycopg.errors.InsufficientPrivilege:
        raise forbidden(on, by_hand) from None


def _creation(on: session.Session) -> str:
    return (
        f"CREATE SCHEMA IF NOT EXISTS schemahold; GRANT USAGE, CREATE ON SCHEMA schemahold TO {role(on)};"
        " -- and if its tables exist: " + _grants(on)
    )


def _grants(on: session.Session) -> str:
    return (
        f"GRANT USAGE ON SCHEMA schemahold TO {role(on)};"
        f" GRANT SELECT, INSERT, UPDATE ON schemahold.ledger, schemahold.meta TO {role(on)};"
    )


def role(on: session.Session) -> str:
    return psycopg.sql.Identifier(on.facts.role).as_string(None)


def forbidden(on: session.Session, statements: str) -> faults.Refused:
    return faults.Refused(
        pod.Reason.LEDGER_FORBIDDEN,
        f"role '{on.facts.role}' may not make or use the ledger in database '{on.facts.database}'; a DBA can allow it, "
        f"connected to that database, with: {statements}",
    )


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What is relevant to one pod.  ``now``, ``server_started``: the database's clock."""

    rows: tuple[ledger.Row, ...]
    now: datetime.datetime
    server_started: datetime.datetime

    def of_pod(self, pod_uid: str) -> ledger.Row | None:
        return next((row for row in self.rows if row.pod_uid == pod_uid), None)


def look(on: session.Session, ask: pod.Ask, *, pod_uid: str, lock_key: int) -> Look:
    """What :func:`schemahold.core.ledger.judge` needs.

    All open rows of the name, all running ones of the key, the applied ones of (name, phase, version) and of unknown rows'
    versions, the one applied last, the last contract that began, the one that a person has answered for, this pod's own.
    """
    answer = ledger.parse_answer(ask.answer)
    found = on.fetch(
        f"SELECT clock_timestamp(), pg_postmaster_start_time(), {_ROW},"
        " (SELECT count(*) FROM jsonb_to_recordset(sessions) s(pid int, backend_start text, client_addr text,"
        " client_port int) JOIN pg_stat_activity a ON a.pid = s.pid"
        f" AND {session.utc('a.backend_start')} = s.backend_start WHERE l.state IN ('running', 'unknown'))"
        " FROM (VALUES (1)) one(row) LEFT JOIN schemahold.ledger l ON"
        " (name = %(name)s AND state IN ('running', 'unknown', 'failed'))"
        " OR (state = 'running' AND lock_key = %(key)s)"
        " OR (name = %(name)s AND state IN ('succeeded', 'adopted') AND (phase, version) IN (SELECT %(phase)s, %(version)s"
        "  UNION SELECT u.phase, u.version FROM schemahold.ledger u WHERE u.name = %(name)s AND u.state = 'unknown'))"
        " OR id = (SELECT max(c.id) FROM schemahold.ledger c WHERE c.name = %(name)s AND c.phase = 'contract'"
        f"  AND strpos(c.note, '{ledger.NOTHING_RAN}') = 0)"
        " OR id = (SELECT max(a.id) FROM schemahold.ledger a WHERE a.name = %(name)s AND a.phase = 'expand'"
        "  AND a.state IN ('succeeded', 'adopted'))"
        " OR (name = %(name)s AND id = %(answered)s)"
        " OR (pod_uid = %(pod)s AND pod_uid <> '')"
        " ORDER BY id",
        {
            "name": ask.ledger_name,
            "key": lock_key,
            "phase": ask.phase,
            "version": ask.version,
            "answered": answer.row if answer else None,
            "pod": pod_uid,
        },
    )
    rows = tuple(_row(row[2:]) for row in found if row[2] is not None)
    return Look(rows=rows, now=found[0][0], server_started=found[0][1])


def _row(values: tuple[Any, ...]) -> ledger.Row:
    names = [name.strip() for name in _ROW.split(",")]
    fields = dict(zip(names, values[: len(names)], strict=True))
    server = ledger.Server(
        system_id=fields.pop("system_id"),
        timeline=fields.pop("timeline"),
        postmaster_started=fields.pop("postmaster_started"),
    )
    fields["state"] = ledger.RowState(fields["state"])
    return ledger.Row(**fields, server=server, backends=values[len(names)])


def live_run(on: session.Session, *, lock_key: int, stale_after: float) -> ledger.Row | None:
    """The running row of the key, if it has shown a sign of life lately.  An sql run's is its lock, which is held."""
    found = on.fetch(
        f"SELECT {_ROW}, 0 FROM schemahold.ledger WHERE state = 'running' AND lock_key = %(key)s"
        " AND (mode = 'sql' OR clock_timestamp() - beat_at < make_interval(secs => %(stale)s))",
        {"key": lock_key, "stale": stale_after},
    )
    return _row(found[0]) if found else None


# --- writing ----------------------------------------------------------------------------------------------------------


def start(
    on: session.Session,
    ask: pod.Ask,
    *,
    pod_uid: str,
    pod_name: str,
    lock_key: int,
    supersede: int | None,
    server: ledger.Server,
    note: str = "",
) -> int | None:
    """Write the running row, replacing the failed row ``supersede``; its id, or None when the rows have changed since.

    Interleavings, all between our look and here: another pod of the name starts (unique indexes); it starts **and**
    succeeds or is given up (the condition, which is evaluated under the name's key, so that any row written before it is
    seen); the failed row is replaced by another start (the update finds nothing, the insert hits its row).
    """
    params = _columns(ask, pod_uid, pod_name, lock_key, server) | {
        "supersede": supersede,
        "name_key": _key(f"start/{ask.ledger_name}"),
        "note": note,
    }
    try:
        found = on.fetch(
            "SELECT pg_advisory_xact_lock(%(name_key)s);"
            "UPDATE schemahold.ledger SET state = 'superseded', finished_at = coalesce(finished_at, clock_timestamp())"
            " WHERE id = %(supersede)s AND state = 'failed';"
            "INSERT INTO schemahold.ledger (name, phase, version, inputs, state, lock_key, attempt, job, pod_uid, pod_name,"
            " token, system_id, timeline, postmaster_started, started_at, beat_at, note, mode)"
            " SELECT %(name)s, %(phase)s, %(version)s, %(inputs)s, 'running', %(lock_key)s, %(attempt)s, %(job)s,"
            " %(pod_uid)s, %(pod_name)s, %(token)s, %(system_id)s, %(timeline)s, %(postmaster_started)s,"
            " clock_timestamp(), clock_timestamp(), %(note)s, %(mode)s"
            " WHERE NOT EXISTS (SELECT FROM schemahold.ledger WHERE name = %(name)s AND (state IN ('running', 'unknown')"
            " OR (phase = %(phase)s AND version = %(version)s AND state IN ('succeeded', 'adopted'))))"
            " RETURNING id",
            params,
        )
    except psycopg.errors.UniqueViolation:
        return None
    return int(found[0][0]) if found else None


def _columns(ask: pod.Ask, pod_uid: str, pod_name: str, lock_key: int, server: ledger.Server) -> dict[str, Any]:
    return {
        "name": ask.ledger_name,
        "phase": ask.phase,
        "version": ask.version,
        "inputs": ask.inputs,
        "lock_key": lock_key,
        "attempt": ask.attempt,
        "job": ask.job,
        "pod_uid": pod_uid,
        "pod_name": pod_name,
        "token": ask.token,
        "system_id": server.system_id,
        "timeline": server.timeline,
        "postmaster_started": server.postmaster_started,
        "mode": ledger.SQL if ask.sql is not None else "",
    }


# Sessions of our role from our own address, but none of schemahold's: what the migration has open.
_SESSIONS = (
    f"(SELECT coalesce(jsonb_agg(jsonb_build_object('pid', a.pid, 'backend_start', {session.utc('a.backend_start')},"
    " 'client_addr', host(a.client_addr), 'client_port', a.client_port, 'application_name', a.application_name)"
    " ORDER BY a.pid), '[]'::jsonb)"
    " FROM pg_stat_activity me JOIN pg_stat_activity a ON a.usesysid = me.usesysid AND a.datid = me.datid"
    " AND a.client_addr IS NOT DISTINCT FROM me.client_addr AND a.pid <> me.pid AND a.backend_type = 'client backend'"
    f" WHERE me.pid = pg_backend_pid() AND a.application_name NOT LIKE '{lock.APPLICATION}%%')"
)


def beat(on: session.Session, *, row: int, pod_uid: str) -> ledger.RowState | None:
    """Show a sign of life and note the migration's sessions; the row's state, None when there is no such row.

    An unknown row takes beats as well: whoever has to answer sees that the run still lives.
    """
    found = on.fetch(
        f"UPDATE schemahold.ledger SET beat_at = clock_timestamp(), sessions = {_SESSIONS}"
        " WHERE id = %(row)s AND pod_uid = %(pod)s AND state IN ('running', 'unknown') RETURNING state",
        {"row": row, "pod": pod_uid},
    )
    return ledger.RowState(found[0][0]) if found else state_of(on, row=row, pod_uid=pod_uid)


def left_behind(on: session.Session, *, row: int, name: str) -> int:
    """How many sessions the command of ``row`` has left behind: by application_name, where its driver reads PGAPPNAME."""
    application = f"{pod.MIGRATE_APPLICATION}{name}".encode()[:63].decode(errors="ignore")
    [(count,)] = on.fetch(
        "SELECT count(*) FROM pg_stat_activity a JOIN schemahold.ledger l ON l.id = %(row)s"
        " WHERE a.usename = current_user AND a.datname = current_database() AND a.application_name = %(application)s"
        " AND a.backend_start >= l.started_at",
        {"row": row, "application": application},
    )
    return int(count)


def state_of(on: session.Session, *, row: int, pod_uid: str) -> ledger.RowState | None:
    found = on.fetch(
        "SELECT state FROM schemahold.ledger WHERE id = %(row)s AND pod_uid = %(pod)s",
        {"row": row, "pod": pod_uid},
    )
    return ledger.RowState(found[0][0]) if found else None


def record(
    on: session.Session,
    *,
    row: int,
    pod_uid: str,
    state: ledger.RowState,
    exit_code: int | None,
    note: str,
) -> ledger.RowState | None:
    """Write how the run ended, if its row still says running; the state that the row has now, None without a row.

    Safe to repeat after an answer that was lost.  A row that another pod has turned into unknown stays so, with the exit
    code for whoever has to answer.
    """
    params = {"row": row, "pod": pod_uid, "state": state.value, "code": exit_code, "note": note}
    ending = (
        "UPDATE schemahold.ledger SET state = %(state)s, exit_code = %(code)s, note = %(note)s, beat_at = clock_timestamp(),"
        " finished_at = clock_timestamp() WHERE id = %(row)s AND pod_uid = %(pod)s AND state = 'running' RETURNING state"
    )
    try:
        found = on.fetch(ending, params)
    except psycopg.errors.UniqueViolation:
        # The version was marked as applied while it ran, by hand: two truths are for a person.
        note = "the command ended, and the ledger had the version as applied already"
        found = on.fetch(ending, params | {"state": ledger.RowState.UNKNOWN.value, "note": note})
    if found:
        return ledger.RowState(found[0][0])
    on.fetch(
        "UPDATE schemahold.ledger SET exit_code = %(code)s, beat_at = clock_timestamp()"
        " WHERE id = %(row)s AND pod_uid = %(pod)s AND state = 'unknown' AND exit_code IS NULL",
        params,
    )
    return state_of(on, row=row, pod_uid=pod_uid)


def turn_unknown(on: session.Session, row: ledger.Row, note: str) -> bool:
    """Give up a running row that shows no life; False when it has changed since we looked.

    Interleaving: its pod comes back and beats between our look and here.
    """
    found = on.fetch(
        "UPDATE schemahold.ledger SET state = 'unknown', note = %(note)s, finished_at = clock_timestamp()"
        " WHERE id = %(row)s AND state = 'running' AND beat_at IS NOT DISTINCT FROM %(beat)s RETURNING id",
        {"row": row.id, "beat": row.beat_at, "note": note},
    )
    return bool(found)


def prove(on: session.Session, verdict: ledger.Prove) -> bool:
    """Supersede a row of an sql run whose lock is free or ours; False while somebody else has that lock.

    The lock is taken in the very statement that writes, so nobody can begin in between.
    """
    [(free,)] = on.fetch(
        "WITH proof AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(%(key)s) AS free),"
        " written AS (UPDATE schemahold.ledger SET state = 'superseded', note = %(note)s,"
        "  finished_at = coalesce(finished_at, clock_timestamp())"
        "  WHERE id = %(row)s AND mode = 'sql' AND state IN ('running', 'unknown') AND (SELECT free FROM proof))"
        " SELECT free FROM proof",
        {"row": verdict.row.id, "key": verdict.row.lock_key, "note": verdict.note},
    )
    return bool(free)


def adopt(on: session.Session, *, name: str, phase: str, version: str) -> None:
    """Note that ``version`` ran before us, unless the ledger has it as applied."""
    on.fetch(
        "INSERT INTO schemahold.ledger (name, phase, version, state, finished_at, note)"
        " VALUES (%(name)s, %(phase)s, %(version)s, 'adopted', clock_timestamp(), 'ran before schemahold was asked')"
        " ON CONFLICT (name, phase, version) WHERE state IN ('succeeded', 'adopted') DO NOTHING",
        {"name": name, "phase": phase, "version": version},
    )


def settle(on: session.Session, verdict: ledger.Settle, *, answered_by: str) -> int:
    """Write a person's answer to an unknown row; how many sessions of the old run are still alive (0: written).

    With ``end_backends`` its recorded sessions are ended first, matched by pid, start, address and port, and only those of
    our own role; the answer is written when they are gone.
    """
    if verdict.end_backends:
        alive = end_backends(on, verdict.row.id)
        if alive:
            return alive
    params = {
        "row": verdict.row.id,
        "state": verdict.state.value,
        "word": verdict.answer.word,
        "by": answered_by,
        "reason": verdict.answer.reason,
    }
    statement = (
        "UPDATE schemahold.ledger SET state = %(state)s, answer = %(word)s, answered_by = %(by)s,"
        " answered_reason = %(reason)s, answered_at = clock_timestamp()"
        " WHERE id = %(row)s AND state = 'unknown'"
    )
    try:
        on.fetch(statement, params)
    except psycopg.errors.UniqueViolation:
        # "applied", and another row of the version says so already: this one is moot.
        on.fetch(statement, params | {"state": ledger.RowState.SUPERSEDED.value})
    return 0


def end_backends(on: session.Session, row: int) -> int:
    """End the live sessions that ``row`` has recorded; how many there were.  They need a moment to go: ask again."""
    found = on.fetch(
        "SELECT pg_terminate_backend(a.pid) FROM schemahold.ledger l,"
        " jsonb_to_recordset(l.sessions) s(pid int, backend_start text, client_addr text, client_port int),"
        " pg_stat_activity a WHERE l.id = %(row)s AND a.pid = s.pid AND a.usename = current_user"
        f" AND {session.utc('a.backend_start')} = s.backend_start"
        " AND host(a.client_addr) IS NOT DISTINCT FROM s.client_addr"
        " AND a.client_port IS NOT DISTINCT FROM s.client_port",
        {"row": row},
    )
    return len(found)


WITHDRAWN = f"the pod was told to stop before the command had started; {ledger.NOTHING_RAN}"


def withdraw(on: session.Session, *, row: int, pod_uid: str, note: str = WITHDRAWN) -> None:
    """Take back a running row: its command was never started, or its files say how far it came.  Anything may start."""
    on.fetch(
        "UPDATE schemahold.ledger SET state = 'superseded', finished_at = clock_timestamp(), note = %(note)s"
        " WHERE id = %(row)s AND pod_uid = %(pod)s AND state = 'running'",
        {"row": row, "pod": pod_uid, "note": note},
    )


def sessions_of(on: session.Session, row: int) -> list[dict[str, Any]]:
    """The sessions recorded at the last beat."""
    [(sessions,)] = on.fetch("SELECT sessions::text FROM schemahold.ledger WHERE id = %(row)s", {"row": row})
    decoded: list[dict[str, Any]] = json.loads(sessions)
    return decoded
