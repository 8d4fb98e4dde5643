"""What the operator and an attempt's pod say to each other: environment in, termination messages out.

The operator builds the pod (``core.job``) from :class:`Ask`; ``lock`` and ``gate`` read it back from their environment.
They answer with one JSON object each as the container's termination message (:class:`Report`), no longer than what the
kubelet keeps.  ``migrate``'s termination message is the user's.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any

# The volume shared by the three containers, and what stands in it.
SHARED_VOLUME = "schemahold"
SHARED_PATH = "/schemahold"
BUSYBOX = f"{SHARED_PATH}/busybox"  # static; put there by gate
SCRIPT = f"{SHARED_PATH}/migrate.sh"  # put there by gate
SQL_PATH = "/schemahold-sql"  # sql mode: where the files are mounted, or copied to

# migrate's exit code when the user's command ended with 0 and that could not be recorded as succeeded,
# or when it was not allowed to start.  lock's report tells which.
EXIT_NOT_RECORDED = 79

# application_name of the command's own sessions (PGAPPNAME), followed by the ledger name.
MIGRATE_APPLICATION = "schemahold migrate "

# What the kubelet keeps of a termination message, and of all of a pod's together, in equal shares
# (kubernetes, pkg/kubelet/kuberuntime: MaxPodTerminationMessageLogLength is shared by the containers).
MESSAGE_BYTES = 4096
POD_MESSAGE_BYTES = 12288

# Environment of lock and gate.  The value of ASK is Ask as JSON; URL comes from a Secret or the copied variable.
ENV_ASK = "SCHEMAHOLD_ASK"
ENV_URL = "SCHEMAHOLD_DATABASE_URL"
ENV_POD_UID = "SCHEMAHOLD_POD_UID"
ENV_POD_NAME = "SCHEMAHOLD_POD_NAME"


class Reason(enum.StrEnum):
    """Why a gate stopped, or how a run ended.  The values are the reasons that a user sees in status."""

    ALREADY_APPLIED = "AlreadyApplied"  #: this version is in the ledger as succeeded or adopted
    ALREADY_FAILED = "AlreadyFailed"  #: same version, same inputs, no new retry token
    ALREADY_STARTED = "AlreadyStarted"  #: this pod's run has started before (a container was run twice)
    OUTCOME_UNKNOWN = "OutcomeUnknown"  #: a person must answer
    LOCK_TIMEOUT = "LockTimeout"  #: another session held the key for all of lock.timeout
    DATABASE_UNREACHABLE = "DatabaseUnreachable"  #: no connection: host, port, TLS, or authentication
    DATABASE_URL_INVALID = "DatabaseUrlInvalid"  #: the URL cannot be read
    DATABASE_STANDBY = "DatabaseStandby"  #: the server is in recovery
    DATABASE_TOO_OLD = "DatabaseTooOld"  #: server older than 13
    POOLER_REFUSED = "PoolerRefused"  #: a pooler stands between us and the server, and lock.allowPooler is false
    LEDGER_FORBIDDEN = "LedgerForbidden"  #: the role may not create or use the ledger; the message has the SQL
    LEDGER_LOST = "LedgerLost"  #: another ledger than the one in status, or none
    START_TIMEOUT = "StartTimeout"  #: migrate did not start within run.startTimeout
    WITHDRAWN = "Withdrawn"  #: the pod was told to stop before the user's command had started; nothing ran
    RUNNER_ERROR = "RunnerError"  #: a fault of ours; the message has the exception
    INCOMPATIBLE = "Incompatible"  #: a contract has run since this version was applied: what it needs may be gone
    NOT_APPLIED = "NotApplied"  #: a contract was asked for, and its version is not the one applied last
    # sql mode
    NOTHING_TO_RUN = "NothingToRun"  #: a contract was asked for, and no file waits for it
    SOURCE_INVALID = "SourceInvalid"  #: a file's name, order or content cannot be used; nothing ran
    SOURCE_CHANGED = "SourceChanged"  #: the files are not those that were pinned when the run was decided; nothing ran
    CHECKSUM_MISMATCH = "ChecksumMismatch"  #: an applied file is no longer what was applied; nothing ran
    STATEMENTS_REFUSED = "StatementsRefused"  #: a statement would break or block what runs; nothing ran
    # How a run that was allowed to start ended, as recorded in the ledger.
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SqlAsk:
    """What to run in sql mode.

    ``directory``: where the files are in the pod, directly or one directory below.  ``pin``: hash of their names and
    contents, "" while nobody has seen them.  ``baseline``: up to here they count as applied when nothing is.
    ``large_table``: rows from which on size makes a statement dangerous.  ``lock_timeout``: the longest that one statement
    waits for a lock; ``statement_timeout``: of one statement, 0 for none; ``retry_for``: how long a file that meets locks is
    tried again.  Times are seconds.  ``contract_elsewhere``: the contract has files of its own, so there must be none here.
    """

    directory: str = SQL_PATH
    pin: str = ""
    baseline: str = ""
    out_of_order: bool = False
    large_table: int = 100_000
    lock_timeout: float = 2.0
    statement_timeout: float = 0.0
    retry_for: float = 600.0
    contract_elsewhere: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """What one attempt asks of the ledger.

    ``ledger_name``: ``spec.identity`` or ``<namespace>/<name>``.  ``inputs``: hash of what would run.  ``token``: value of
    ``retry-at`` ("" for none).  ``answer``/``answered_by``: a person's word on an unknown outcome ("" for none).
    ``adopted``: the version that ran before us ("" for none).  ``expected_ledger``: uuid of the ledger seen before ("" to
    accept any).  ``url_variable``: the environment variable with the database URL; ``url_origin``: where that comes from, in
    words for messages, never a value.  ``password_file``: path of a file read at every connect ("" for none).
    ``session_options``: server settings for migrate's PGOPTIONS.  ``beat``: how often lock shows a sign of life;
    ``stale_after``: how long a running row may go without one before another pod turns it into unknown.  Times are seconds.
    ``sql``: the files to run instead of a command.  ``message_bytes``: what a report may take.
    """

    ledger_name: str
    phase: str
    version: str
    inputs: str
    attempt: int
    job: str
    token: str = ""
    answer: str = ""
    answered_by: str = ""
    adopted: str = ""
    expected_ledger: str = ""
    url_variable: str = ENV_URL
    url_origin: str = ""
    password_file: str = ""
    lock_name: str = ""
    lock_timeout: float = 30.0
    start_timeout: float = 300.0
    allow_pooler: bool = False
    beat: float = 5.0
    stale_after: float = 60.0
    session_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sql: SqlAsk | None = None
    message_bytes: int = MESSAGE_BYTES

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Ask:
        fields = json.loads(text)
        sql = fields.get("sql")
        return cls(**{**fields, "sql": SqlAsk(**sql) if sql is not None else None})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """A termination message of gate (why it stopped) or lock (how the run ended).

    ``row``: the ledger row that decided, ``row_inputs``/``row_version`` what it carries.  ``holder``: who has the lock
    (pid, application_name, address, age).  ``last_beat``: RFC 3339.  ``backends``: live sessions of a run whose outcome is
    unknown.  ``degraded``: a pooler was seen and allowed.  ``lock_wait``: seconds waited for the lock.

    ``floor``: the version whose contract has run, or may have ("" for none).  ``files_pin``: hash of the files that were
    judged; ``contract_files``: how many of them wait for the contract.
    """

    reason: Reason
    message: str = ""
    row: int | None = None
    row_version: str = ""
    row_inputs: str = ""
    exit_code: int | None = None
    ledger: str = ""
    holder: str = ""
    holder_is_ours: bool = False
    last_beat: str = ""
    backends: int | None = None
    degraded: bool = False
    lock_wait: float | None = None
    floor: str = ""
    files_pin: str = ""
    contract_files: int | None = None

    def to_json(self, limit: int = MESSAGE_BYTES) -> str:
        """JSON without empty fields, at most ``limit`` bytes: the message is cut first."""
        text = self._json(self.message)
        if len(text.encode()) <= limit:
            return text
        # The longest beginning of the message that fits; escapes make its length in JSON anything but linear.
        fits, over = 0, len(self.message)
        while over - fits > 1:
            middle = (fits + over) // 2
            if len(self._json(self.message[:middle] + "…").encode()) <= limit:
                fits = middle
            else:
                over = middle
        text = self._json(self.message[:fits] + "…")
        return text if len(text.encode()) <= limit else json.dumps({"reason": self.reason})

    def _json(self, message: str) -> str:
        # Not a plain test of truth: an exit code of 0 is a value, though 0 == False.
        values = {**dataclasses.asdict(self), "message": message}
        fields = {k: v for k, v in values.items() if v is not None and v is not False and v != ""}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Report | None:
        """The report in a termination message, or None when it is not one of ours."""
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**{**fields, "reason": Reason(fields["reason"])})
        except (ValueError, TypeError, KeyError):
            return None
