"""``schemahold.files`` and ``schemahold.statements``: what of a migration's files has been applied.

A transactional file's row is committed with the file.  A statement that cannot run in a transaction has a row before it
runs: committed, it says that the catalog has to be asked.  Every write is fenced by the run's own row in the ledger: when
that no longer says running, another pod has the lock, and nothing is committed.

Rights needed: SELECT, INSERT, UPDATE; CREATE only to make the tables.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from schemahold.core.sql import names
from schemahold.core.sql.model import AppliedFile, Name
from schemahold.database import ledger, session

CREATE_TABLES = """
CREATE TABLE IF NOT EXISTS schemahold.files (
    name text NOT NULL,
    file text NOT NULL,
    phase text NOT NULL,
    checksum text NOT NULL DEFAULT '',
    version text NOT NULL DEFAULT '',
    run bigint NOT NULL,
    statements integer,
    seconds double precision,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, file)
);
COMMENT ON TABLE schemahold.files IS 'schemahold: one row for each SQL file that was applied, committed together with it';
COMMENT ON COLUMN schemahold.files.name IS 'as in schemahold.ledger';
COMMENT ON COLUMN schemahold.files.file IS 'name of the file';
COMMENT ON COLUMN schemahold.files.phase IS 'expand (before the rollout) or contract (after the last old pod)';
COMMENT ON COLUMN schemahold.files.checksum IS 'SHA-256 of its bytes; empty: adopted by spec.sql.baseline, never run here';
COMMENT ON COLUMN schemahold.files.version IS 'version of the run that applied it';
COMMENT ON COLUMN schemahold.files.run IS 'id of that run in schemahold.ledger';
COMMENT ON COLUMN schemahold.files.statements IS 'how many statements it has';
COMMENT ON COLUMN schemahold.files.seconds IS 'how long it took in its last run';
COMMENT ON COLUMN schemahold.files.applied_at IS 'when it was committed';

CREATE TABLE IF NOT EXISTS schemahold.statements (
    name text NOT NULL,
    file text NOT NULL,
    number integer NOT NULL,
    checksum text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    before text NOT NULL DEFAULT '',
    run bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (name, file, number)
);
COMMENT ON TABLE schemahold.statements IS
    'schemahold: one row for each statement of a file that cannot run in one transaction';
COMMENT ON COLUMN schemahold.statements.name IS 'as in schemahold.ledger';
COMMENT ON COLUMN schemahold.statements.file IS 'name of the file';
COMMENT ON COLUMN schemahold.statements.number IS 'number of the statement in the file, from 1';
COMMENT ON COLUMN schemahold.statements.checksum IS 'SHA-256 of its text';
COMMENT ON COLUMN schemahold.statements.state IS
    'running: begun, and the catalog says what became of it; done; failed: it ended with an error, and left nothing behind';
COMMENT ON COLUMN schemahold.statements.before IS 'what was there before it: oids of the indexes or the partition concerned';
COMMENT ON COLUMN schemahold.statements.run IS 'id of the run in schemahold.ledger';
COMMENT ON COLUMN schemahold.statements.started_at IS 'when it was begun for the first time';
COMMENT ON COLUMN schemahold.statements.finished_at IS 'when it was done, or failed';
"""


class State(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Begun:
    """A row of ``schemahold.statements``."""

    number: int
    checksum: str
    state: State
    before: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Whose rows they are.  ``name``: the ledger's for the migration; ``row``: of the run."""

    name: str
    version: str
    row: int
    pod_uid: str


class LostRow(Exception):
    """The run's row no longer says running: nothing may be committed."""


# --- making and reading -----------------------------------------------------------------------------------------------


def ensure(on: session.Session) -> None:
    """Make the two tables if they are missing.  Raises :class:`faults.Refused`."""
    [(tables, allowed)] = on.fetch(
        "SELECT count(r) = 2, coalesce(bool_and(has_table_privilege(r, 'SELECT') AND has_table_privilege(r, 'INSERT')"
        " AND has_table_privilege(r, 'UPDATE')), true) FROM unnest(ARRAY[to_regclass('schemahold.files'),"
        " to_regclass('schemahold.statements')]) r WHERE r IS NOT NULL"
    )
    if not allowed:
        raise ledger.forbidden(on, _grants(on))
    if not tables:
        by_hand = f"GRANT CREATE ON SCHEMA schemahold TO {ledger.role(on)}; -- and if its tables exist: {_grants(on)}"
        ledger.make(on, CREATE_TABLES, by_hand)


def _grants(on: session.Session) -> str:
    return f"GRANT SELECT, INSERT, UPDATE ON schemahold.files, schemahold.statements TO {ledger.role(on)};"


def applied(on: session.Session, name: str) -> tuple[AppliedFile, ...]:
    """The files of ``name`` that count as applied, of both phases."""
    found = on.fetch("SELECT file, checksum FROM schemahold.files WHERE name = %(name)s", {"name": name})
    return tuple(AppliedFile(name=names.read(file), checksum=checksum) for file, checksum in found)


def begun(on: session.Session, name: str) -> dict[str, dict[int, Begun]]:
    """File → number → row, of the files that have been begun statement by statement and are not applied yet."""
    found = on.fetch(
        "SELECT s.file, s.number, s.checksum, s.state, s.before FROM schemahold.statements s WHERE s.name = %(name)s"
        " AND NOT EXISTS (SELECT FROM schemahold.files f WHERE f.name = s.name AND f.file = s.file)",
        {"name": name},
    )
    rows: dict[str, dict[int, Begun]] = {}
    for file, number, checksum, state, before in found:
        rows.setdefault(file, {})[number] = Begun(number=number, checksum=checksum, state=State(state), before=before)
    return rows


def brought_forward(on: session.Session, run: int) -> bool:
    """Whether that run of the ledger has applied a file, or ended a statement."""
    [(found,)] = on.fetch(
        "SELECT EXISTS (SELECT FROM schemahold.files WHERE run = %(run)s)"
        " OR EXISTS (SELECT FROM schemahold.statements WHERE run = %(run)s AND state <> 'running')",
        {"run": run},
    )
    return bool(found)


# --- writing ----------------------------------------------------------------------------------------------------------

# The user's statements may have changed who we are and where we look; in this transaction we are ourselves again.
_OURSELVES = "SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL role TO DEFAULT; SET LOCAL search_path = pg_catalog;"
_FENCE = (
    "WITH fence AS (UPDATE schemahold.ledger SET beat_at = clock_timestamp()"
    " WHERE id = %(run)s AND pod_uid = %(pod)s AND state = 'running' RETURNING id) "
)
_FILE = (
    "INSERT INTO schemahold.files (name, file, phase, checksum, version, run, statements, seconds)"
    " SELECT %(name)s, %(file)s, %(phase)s, %(checksum)s, %(version)s, id, %(statements)s, %(seconds)s FROM fence"
    " RETURNING run"
)
_BASELINE = (
    "INSERT INTO schemahold.files (name, file, phase, version, run)"
    " SELECT %(name)s, file, phase, %(version)s, id FROM fence, unnest(%(files)s::text[], %(phases)s::text[]) f(file, phase)"
    " ON CONFLICT (name, file) DO NOTHING RETURNING run"
)
_STATEMENT = (
    "INSERT INTO schemahold.statements (name, file, number, checksum, state, before, run, finished_at)"
    " SELECT %(name)s, %(file)s, %(number)s, %(checksum)s, %(state)s, %(before)s, id,"
    "  CASE WHEN %(state)s <> 'running' THEN clock_timestamp() END FROM fence"
    " ON CONFLICT (name, file, number) DO UPDATE SET checksum = excluded.checksum, state = excluded.state,"
    " before = excluded.before, run = excluded.run, finished_at = excluded.finished_at RETURNING run"
)


def note_applied(on: session.Session, run: Run, file: Name, *, checksum: str, statements: int, seconds: float) -> None:
    """Note ``file``, in the transaction that is open; raises :class:`LostRow`."""
    more = {"checksum": checksum, "statements": statements, "seconds": seconds, "phase": file.phase.value}
    _fenced(on, run, _FILE, {"file": file.name, **more})


def note_statement(on: session.Session, run: Run, file: Name, row: Begun) -> None:
    """Note one statement, in the transaction that is open if one is; raises :class:`LostRow`."""
    more = {"number": row.number, "checksum": row.checksum, "state": row.state.value, "before": row.before}
    _fenced(on, run, _STATEMENT, {"file": file.name, **more})


def note_baseline(on: session.Session, run: Run, files: Sequence[Name]) -> None:
    """Note that ``files`` count as applied without having run; raises :class:`LostRow`."""
    _fenced(on, run, _BASELINE, {"files": [one.name for one in files], "phases": [one.phase.value for one in files]})


def _fenced(on: session.Session, run: Run, statement: str, params: Mapping[str, Any]) -> None:
    values = {"name": run.name, "version": run.version, "run": run.row, "pod": run.pod_uid, **params}
    if not on.fetch(_OURSELVES + _FENCE + statement, values):
        raise LostRow


def answer(on: session.Session, name: str, word: str) -> None:
    """A person's word on the statements that were begun and never ended: ``applied``: they are done; ``retry``: they left
    nothing behind, and run as if for the first time."""
    state = State.DONE if word == "applied" else State.FAILED
    on.fetch(
        "UPDATE schemahold.statements SET state = %(state)s, finished_at = clock_timestamp()"
        " WHERE name = %(name)s AND state = 'running'",
        {"name": name, "state": state.value},
    )
