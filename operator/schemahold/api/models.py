"""The SchemaMigration kind as pydantic models; ``crds/`` is generated from them (``api/crd.py``).

Every string, list and map is bounded: unbounded fields would make the CEL rules too expensive for the API server, and a
status that can grow for ever can stop being writable.

What could never work is refused by the API server, with a message that says how to mend it: CEL rules stand beside the
field or the model they judge (:func:`refuse_unless`).  A ``pattern`` is for Python alone, because a regular expression
mends nothing; ``api/crd.py`` leaves it out, and a test asks that a rule stands in its place.  Python is never stricter than
the API server: what was stored must be readable.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import pydantic
from pydantic.alias_generators import to_camel

from schemahold.api import durations

# Sixteen characters: four parts, and never more than CEL's duration() can hold (292 years).
Duration = Annotated[str, pydantic.Field(pattern=durations.PATTERN, max_length=16)]

# CEL for "no control characters, no blanks at the ends": both are invisible, and a version is compared as it is written.
_CLEAN = r"!self.matches('[[:cntrl:]]|^\\s|\\s$')"
_ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
_PATH = r"^/.+"
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

# What PGOPTIONS may carry. The values are times, as Postgres writes them: nothing that would need quoting.
SESSION_OPTIONS = (
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "client_connection_check_interval",
)
VERSION_LENGTH = 512  # of spec.version, so of every version that can be migrated to
_SESSION_VALUE = "^[0-9]{1,9}(us|ms|s|min|h|d)?$"


def refuse_unless(*rules: tuple[str, str]) -> dict[str, Any]:
    """Schema of CEL ``rules``, each ``(expression, message)``: the API server says the message when the expression is false.

    A message that begins with ``=`` is itself CEL (messageExpression), for those that name the value.
    """
    return {"x-kubernetes-validations": [{"rule": rule, **_message(message)} for rule, message in rules]}


def _message(text: str) -> dict[str, str]:
    return {"messageExpression": text[1:]} if text.startswith("=") else {"message": text}


def duration_between(field: str, low: str, high: str) -> dict[str, Any]:
    """Schema of a duration from ``low`` to ``high``, both included."""
    inside = f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    return refuse_unless(
        (
            f"self.matches('{durations.PATTERN}') && {inside}",
            f"`{field}` must be a duration from '{low}' to '{high}': write a number and a unit (ms, s, m, h), "
            "for example '90s' or '1m30s'",
        )
    )


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


class Model(pydantic.BaseModel):
    """Frozen, camelCase outside, unknown fields ignored (the API server prunes them, an older operator must not fail)."""

    model_config = pydantic.ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class SecretKeyRef(Model):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=253)] = pydantic.Field(
        description="The Secret's name.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{_DNS_SUBDOMAIN}')",
                "`secretKeyRef.name` must be the name of a Secret in this namespace: small letters, digits, '-' and '.', "
                "for example 'shop-db'",
            )
        ),
    )
    key: Annotated[str, pydantic.Field(min_length=1, max_length=253)] = pydantic.Field(
        description="The key whose value is the URL.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^[-._a-zA-Z0-9]+$')",
                "`secretKeyRef.key` must be a key of the Secret: letters, digits, '-', '_' and '.', for example 'url'",
            )
        ),
    )


class UrlFrom(Model):
    """Where the database URL comes from, when not from the copied container's own environment."""

    secret_key_ref: SecretKeyRef


class Database(Model):
    """Which database: exactly one of ``urlFrom`` and ``env``."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                "has(self.urlFrom) != has(self.env)",
                "exactly one of `database.urlFrom` and `database.env` must be set: `urlFrom.secretKeyRef` names a Secret's "
                "key, `env` a variable of the copied container",
            )
        )
    )

    url_from: UrlFrom | None = pydantic.Field(
        None, description="A Secret's key that holds the database URL. The operator never reads it; the Job's pod does."
    )
    env: Annotated[str, pydantic.Field(pattern=_ENV_NAME, max_length=253)] | None = pydantic.Field(
        None,
        description="The name of the copied container's own variable that holds the database URL.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{_ENV_NAME}')",
                "`database.env` must be the name of a variable, without '$' and without a value, for example 'DATABASE_URL'",
            )
        ),
    )
    password_file: Annotated[str, pydantic.Field(pattern=_PATH, max_length=1024)] | None = pydantic.Field(
        None,
        description="An absolute path in the copied container, read at every connect as the password (IAM tokens).",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^/[^/[:cntrl:]]') && !self.endsWith('/')",
                "`database.passwordFile` must be the absolute path of a file, for example '/var/run/secrets/db/token'",
            ),
            (
                "self != '/schemahold' && !self.startsWith('/schemahold/') && !self.startsWith('/tmp/')",
                "`database.passwordFile` must not lie under '/schemahold' or '/tmp', which the Job's pod uses itself: "
                "mount the file elsewhere in the Deployment",
            ),
        ),
    )


class Run(Model):
    """What runs: a command in a copy of the Deployment's container."""

    command: Annotated[
        list[Annotated[str, pydantic.Field(max_length=16384)]], pydantic.Field(min_length=1, max_length=64)
    ] = pydantic.Field(
        description="The command and its arguments. The image's own entrypoint is not used.",
        json_schema_extra=refuse_unless(
            (
                "self.size() == 0 || self[0].matches('^[^[:space:][:cntrl:]-]')",
                "`run.command` must begin with a program: its first element must not be empty, a blank or an option, "
                "for example ['npm', 'run', 'migrate']",
            ),
            (
                "self.size() == 0 || !self[0].matches('[[:space:]]')",
                "`run.command` must have one word per element, because no shell splits it: write "
                "['npm', 'run', 'migrate'], or ['sh', '-c', 'npm run migrate'] for a line of shell",
            ),
        ),
    )
    deployment: Annotated[str, pydantic.Field(min_length=1, max_length=253)] | None = pydantic.Field(
        None,
        description="The Deployment whose container the Job copies; needed when several carry the label.",
        json_schema_extra=refuse_unless(
            (
                f"self.matches('{_DNS_SUBDOMAIN}')",
                "`run.deployment` must be the name of a Deployment in this namespace, without 'deployment/' before it, "
                "for example 'shop-api'",
            )
        ),
    )
    sidecars: Annotated[list[Annotated[str, pydantic.Field(min_length=1, max_length=63)]], pydantic.Field(max_length=16)] = (
        pydantic.Field(
            [],
            description="Ordinary containers of the source that the migration needs (a proxy): they run as native sidecars.",
            json_schema_extra={
                "x-kubernetes-list-type": "set",
                **refuse_unless(
                    (
                        "!self.exists(name, name in ['lock', 'gate', 'migrate'])",
                        "`run.sidecars` must not name 'lock', 'gate' or 'migrate', the Job's own containers: rename the "
                        "container in the Deployment",
                    ),
                    (
                        f"self.all(name, name.matches('{_DNS_LABEL}'))",
                        "`run.sidecars` must be names of the Deployment's containers: small letters, digits and '-', for "
                        "example 'cloud-sql-proxy'",
                    ),
                ),
            },
        )
    )
    grace_period: Duration = pydantic.Field(
        "60s",
        description="How long a deleted pod's migration may finish before it is killed.",
        json_schema_extra=duration_between("run.gracePeriod", "1s", "24h"),
    )
    start_timeout: Duration = pydantic.Field(
        "5m",
        description="A pod in which the command has not started by then is deleted.",
        json_schema_extra=duration_between("run.startTimeout", "1s", "24h"),
    )
    session_options: Annotated[
        dict[str, Annotated[str, pydantic.Field(max_length=64)]], pydantic.Field(max_length=len(SESSION_OPTIONS))
    ] = pydantic.Field(
        {},
        description="Server settings for the command's sessions (PGOPTIONS), where the server takes them.",
        json_schema_extra=refuse_unless(
            (
                f"self.all(key, key in [{_quoted(SESSION_OPTIONS)}])",
                f'="`run.sessionOptions` must not set \'" + self.filter(key, !(key in [{_quoted(SESSION_OPTIONS)}]))[0] + '
                f'"\': it takes {_quoted(SESSION_OPTIONS)}; set others in the command"',
            ),
            (
                f"self.all(key, self[key].matches('{_SESSION_VALUE}'))",
                "`run.sessionOptions` must be times as Postgres writes them, a whole number and a unit (us, ms, s, min, h, "
                "d), for example '5s' or '1min'",
            ),
        ),
    )
    log_tail: bool = pydantic.Field(True, description="Copy the last lines of a failed command into status.")


class Lock(Model):
    """The advisory lock."""

    timeout: Duration = pydantic.Field(
        "30s",
        description="How long to wait for the lock before the attempt fails.",
        json_schema_extra=duration_between("lock.timeout", "1s", "1h"),
    )
    name: Annotated[str, pydantic.Field(max_length=63)] = pydantic.Field(
        "",
        description="Splits the one lock per database: migrations with different names may run side by side.",
        json_schema_extra=refuse_unless(
            (
                "self.matches('^([A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?)?$')",
                "`lock.name` must be letters, digits, '.', '_', '/' and '-', with a letter or digit at both ends, "
                "for example 'reporting'",
            )
        ),
    )
    allow_pooler: bool = pydantic.Field(
        False, description="Go on behind a connection pooler; only the ledger then keeps two runs apart."
    )


class Spec(Model):
    """What the user wants."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=refuse_unless(
            (
                # An identity added or removed later would be another ledger name, under which nothing has run yet.
                "has(self.identity) == has(oldSelf.identity) && (!has(self.identity) || self.identity == oldSelf.identity)",
                "`identity` must not be changed, added or removed, because the ledger knows the migration by it: put back "
                "the old value, or create another SchemaMigration",
            )
        )
    )

    version: Annotated[str, pydantic.Field(min_length=1, max_length=VERSION_LENGTH)] | None = pydantic.Field(
        None,
        description="The version to migrate to: the template's annotation schemahold.dev/version. Unset: follow the source.",
        json_schema_extra=refuse_unless(
            (
                _CLEAN,
                "`version` must not begin or end with a blank, or contain a line break or another control character: "
                'quote it as one plain string, for example "2026.11.2"',
            )
        ),
    )
    identity: Annotated[str, pydantic.Field(min_length=1, max_length=253)] | None = pydantic.Field(
        None,
        description="Name in the ledger; default <namespace>/<name>. Immutable.",
        json_schema_extra=refuse_unless(
            (
                _CLEAN,
                "`identity` must not begin or end with a blank, or contain a line break or another control character: "
                "for example 'prod/shop'",
            )
        ),
    )
    database: Database
    run: Run
    lock: Lock = Lock()
    retries: Annotated[int, pydantic.Field(ge=0, le=100)] = pydantic.Field(
        3, description="How often an attempt that failed before the command started is repeated."
    )
    settle: Duration = pydantic.Field(
        "10s",
        description="How long version and inputs must stand still first, in follow mode or after an earlier attempt.",
        json_schema_extra=duration_between("settle", "0s", "1h"),
    )
    suspend: bool = pydantic.Field(
        False, description="Start nothing and release nothing; what runs finishes and is recorded."
    )


TEXT_LENGTH = 1024


def _time(text: str) -> str:
    """A moment that can be compared; what cannot be read makes a status unreadable, which is harmless."""
    if datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is None:
        raise ValueError("a time needs its zone")
    return text


Text = Annotated[str, pydantic.Field(max_length=TEXT_LENGTH)]
Name = Annotated[str, pydantic.Field(max_length=253)]
VersionText = Annotated[str, pydantic.Field(max_length=1024)]
Time = Annotated[str, pydantic.Field(max_length=40), pydantic.AfterValidator(_time)]


class Attempt(Model):
    """The last attempt: one Job, one Pod, one number."""

    number: Annotated[int, pydantic.Field(ge=0)]
    job: Name
    version: VersionText
    inputs: Annotated[str, pydantic.Field(max_length=64)] = ""
    database: Annotated[str, pydantic.Field(max_length=64)] = ""
    token: Text = ""
    answer: Text = ""
    tries: Annotated[
        int,
        pydantic.Field(
            ge=0,
            description="Which try of this version, inputs and token it is, counting those that failed before the start.",
        ),
    ] = 0
    started_at: Time | None = None
    finished_at: Time | None = None
    reason: Annotated[str, pydantic.Field(max_length=64)] = ""
    message: Text = ""
    accepts: Annotated[
        bool, pydantic.Field(description="A new retry token asked for it: a recorded success with other inputs is accepted.")
    ] = False
    any_ledger: Annotated[
        bool, pydantic.Field(description="A new retry token asked for it after LedgerLost: another ledger is accepted.")
    ] = False
    exit_code: int | None = None
    row: int | None = pydantic.Field(None, description="The ledger row that decided.")
    released: bool = pydantic.Field(
        False, description="Its success has been used: the next forward move needs a gate of its own."
    )


class Held(Model):
    """A Deployment that is held, and for which version."""

    deployment: Name
    version: VersionText


class Applied(Model):
    """A version that is applied: by us, or adopted because it ran before us."""

    version: VersionText
    outcome: Literal["Applied", "Adopted"]
    row: int | None = None
    database: Annotated[str, pydantic.Field(max_length=64)] = ""
    at: Time | None = None


class Released(Model):
    """The version released last, on which database reference."""

    version: VersionText
    database: Annotated[str, pydantic.Field(max_length=64)] = ""
    at: Time | None = None


class Settling(Model):
    """Version and inputs as last seen, and since when."""

    key: Annotated[str, pydantic.Field(max_length=64)]
    since: Time


class Ledger(Model):
    """The ledger that answered last."""

    uuid: Annotated[str, pydantic.Field(max_length=64)]


class Outcome(Model):
    """What is known about a run whose outcome nobody knows; a person answers with the row."""

    row: int
    version: VersionText = ""
    exit_code: int | None = None
    last_beat: Annotated[str, pydantic.Field(max_length=40)] = ""
    backends: int | None = None


class Condition(Model):
    """metav1.Condition."""

    type: Annotated[str, pydantic.Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: int = 0
    last_transition_time: Time
    reason: Annotated[str, pydantic.Field(min_length=1, max_length=64)]
    message: Text = ""


class Status(Model):
    """What the user sees, and what the operator remembers; it may be lost without harm (docs/architecture.md)."""

    observed_generation: int = -1
    conditions: Annotated[list[Condition], pydantic.Field(max_length=16)] = pydantic.Field(
        default=[], json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    )
    version: VersionText = ""
    attempt: Attempt | None = None
    held: Annotated[list[Held], pydantic.Field(max_length=64)] = []
    held_count: int = 0
    history: Annotated[list[Applied], pydantic.Field(max_length=10)] = []
    released: Released | None = None
    settling: Settling | None = None
    ledger: Ledger | None = None
    outcome: Outcome | None = None


def parse_status(raw: Any) -> Status:
    """The typed status; an empty one for what cannot be read, because status may be lost without harm."""
    try:
        return Status.model_validate(raw or {})
    except pydantic.ValidationError:
        return Status()


def dump_status(status: Status) -> dict[str, Any]:
    """The status as the API server stores it: without empty fields, but for those that a person or a column reads."""
    dumped: dict[str, Any] = status.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    dumped["observedGeneration"] = status.observed_generation
    dumped["heldCount"] = status.held_count
    dumped["conditions"] = [c.model_dump(by_alias=True) for c in status.conditions]
    return dumped
