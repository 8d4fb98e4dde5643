"""What the user sees and the operator remembers: ``status`` of a SchemaMigration."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import pydantic

from schemahold.api.schema import Model

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
    phase: Literal["expand", "contract"] = "expand"
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
    passed: Annotated[
        int, pydantic.Field(ge=0, description="How many attempts in a row, up to this one, were ended by somebody else.")
    ] = 0
    before: Annotated[
        str, pydantic.Field(max_length=512, description="How the try before this one ended, while this one has not.")
    ] = ""
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
    phase: Literal["expand", "contract"] = "expand"
    version: VersionText = ""
    exit_code: int | None = None
    last_beat: Annotated[str, pydantic.Field(max_length=40)] = ""
    backends: int | None = None


class Contract(Model):
    """The contract of the version applied last.

    ``since``: from when on no other version's pod was left and no Deployment asked for one, with no break.
    """

    version: VersionText
    state: Literal["Waiting", "Done", "Skipped"] = "Waiting"
    since: Time | None = None
    files: Annotated[
        int | None, pydantic.Field(description="Pending files of the contract, as the expand run counted them.")
    ] = None


class Floor(Model):
    """The version whose contract ran, or may have: what was applied before it cannot run any more."""

    version: VersionText
    database: Annotated[str, pydantic.Field(max_length=64)] = ""


class Pin(Model):
    """What the files of a directory were when a run with these inputs first judged them."""

    inputs: Annotated[str, pydantic.Field(max_length=64)]
    hash: Annotated[str, pydantic.Field(max_length=64)]


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
    held: Annotated[list[Held], pydantic.Field(max_length=64)] = pydantic.Field([])
    held_count: int = 0
    history: Annotated[list[Applied], pydantic.Field(max_length=10)] = pydantic.Field([])
    released: Released | None = None
    settling: Settling | None = None
    ledger: Ledger | None = None
    outcome: Outcome | None = None
    contract: Contract | None = None
    floor: Floor | None = None
    pin: Pin | None = None


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
