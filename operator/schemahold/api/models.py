"""The SchemaMigration kind as pydantic models; ``crds/`` is generated from them (``api/crd.py``).

Every string, list and map is bounded: unbounded fields would make the CEL rules too expensive for the API server, and a
status that can grow for ever can stop being writable.  Rules that look at more than one field stand beside the models as CEL
(:data:`SPEC_RULES`), so that the API server refuses what could never work and says how to mend it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic.alias_generators import to_camel

from schemahold.api import durations

Duration = Annotated[str, pydantic.Field(pattern=durations.PATTERN, max_length=32)]


class Model(pydantic.BaseModel):
    """Frozen, camelCase outside, unknown fields ignored (the API server prunes them, an older operator must not fail)."""

    model_config = pydantic.ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class SecretKeyRef(Model):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=253)]
    key: Annotated[str, pydantic.Field(min_length=1, max_length=253)]


class UrlFrom(Model):
    """Where the database URL comes from, when not from the copied container's own environment."""

    secret_key_ref: SecretKeyRef


class Database(Model):
    """Which database: exactly one of ``urlFrom`` and ``env``."""

    url_from: UrlFrom | None = pydantic.Field(
        None, description="A Secret's key that holds the database URL. The operator never reads it; the Job's pod does."
    )
    env: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=253)] | None = pydantic.Field(
        None, description="The name of the copied container's own variable that holds the database URL."
    )
    password_file: Annotated[str, pydantic.Field(pattern=r"^/.+", max_length=1024)] | None = pydantic.Field(
        None, description="An absolute path in the copied container, read at every connect as the password (IAM tokens)."
    )


class Run(Model):
    """What runs: a command in a copy of the Deployment's container."""

    command: Annotated[
        list[Annotated[str, pydantic.Field(max_length=16384)]], pydantic.Field(min_length=1, max_length=64)
    ] = pydantic.Field(description="The command and its arguments. The image's own entrypoint is not used.")
    deployment: Annotated[str, pydantic.Field(min_length=1, max_length=253)] | None = pydantic.Field(
        None, description="The Deployment whose container the Job copies; needed when several carry the label."
    )
    sidecars: Annotated[list[Annotated[str, pydantic.Field(min_length=1, max_length=63)]], pydantic.Field(max_length=16)] = (
        pydantic.Field(
            [],
            description="Ordinary containers of the source that the migration needs (a proxy): they run as native sidecars.",
        )
    )
    grace_period: Duration = pydantic.Field(
        "60s", description="How long a deleted pod's migration may finish before it is killed."
    )
    start_timeout: Duration = pydantic.Field(
        "5m", description="A pod in which the command has not started by then is deleted."
    )
    session_options: dict[str, Annotated[str, pydantic.Field(max_length=64)]] = pydantic.Field(
        {}, description="Server settings for the command's sessions (PGOPTIONS), where the server takes them."
    )
    log_tail: bool = pydantic.Field(True, description="Copy the last lines of a failed command into status.")


class Lock(Model):
    """The advisory lock."""

    timeout: Duration = pydantic.Field("30s", description="How long to wait for the lock before the attempt fails.")
    name: Annotated[str, pydantic.Field(max_length=63)] = pydantic.Field(
        "", description="Splits the one lock per database: migrations with different names may run side by side."
    )
    allow_pooler: bool = pydantic.Field(
        False, description="Go on behind a connection pooler; only the ledger then keeps two runs apart."
    )


class Spec(Model):
    """What the user wants."""

    version: Annotated[str, pydantic.Field(min_length=1, max_length=512)] | None = pydantic.Field(
        None,
        description="The version to migrate to: the template's annotation schemahold.dev/version. Unset: follow the source.",
    )
    identity: Annotated[str, pydantic.Field(min_length=1, max_length=253)] | None = pydantic.Field(
        None, description="Name in the ledger; default <namespace>/<name>. Immutable."
    )
    database: Database
    run: Run
    lock: Lock = Lock()  # type: ignore[call-arg]
    retries: Annotated[int, pydantic.Field(ge=0, le=100)] = pydantic.Field(
        3, description="How often an attempt that failed before the command started is repeated."
    )
    settle: Duration = pydantic.Field(
        "10s",
        description="How long version and inputs must stand still first, in follow mode or after an earlier attempt.",
    )
    suspend: bool = pydantic.Field(
        False, description="Start nothing and release nothing; what runs finishes and is recorded."
    )


Text = Annotated[str, pydantic.Field(max_length=1024)]
Name = Annotated[str, pydantic.Field(max_length=253)]
VersionText = Annotated[str, pydantic.Field(max_length=1024)]
Time = Annotated[str, pydantic.Field(max_length=40)]


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
    last_beat: Time = ""
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
    conditions: Annotated[list[Condition], pydantic.Field(max_length=16)] = []
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
    """The status as the API server stores it: without empty fields, with observedGeneration and conditions always."""
    dumped: dict[str, Any] = status.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    dumped["observedGeneration"] = status.observed_generation
    dumped["conditions"] = [c.model_dump(by_alias=True) for c in status.conditions]
    return dumped
