"""What the kinds' models are made of: the base model, CEL rules, bounded types.

Every string, list and map is bounded: unbounded fields would make the CEL rules too expensive for the API server, and a
status that can grow for ever can stop being writable.

What could never work is refused by the API server, with a message that says how to mend it: CEL rules stand beside the
field or the model they judge (:func:`refuse_unless`).  A ``pattern`` is for Python alone, because a regular expression
mends nothing; ``api/crd.py`` leaves it out, and a test asks that a rule stands in its place.  Python is never stricter than
the API server: what was stored must be readable.
"""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic.alias_generators import to_camel

from schemahold.api import durations

# Sixteen characters: four parts, and never more than CEL's duration() can hold (292 years).
Duration = Annotated[str, pydantic.Field(pattern=durations.PATTERN, max_length=16)]

# CEL for "no control characters, no blanks at the ends": both are invisible, and a version is compared as it is written.
CLEAN = r"!self.matches('[[:cntrl:]]|^\\s|\\s$')"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
PATH = r"^/.+"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


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


class Model(pydantic.BaseModel):
    """Frozen, camelCase outside, unknown fields ignored (the API server prunes them, an older operator must not fail)."""

    model_config = pydantic.ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")
