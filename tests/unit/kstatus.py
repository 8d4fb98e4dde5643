"""A linter for conditions: what kstatus and the API conventions ask of a status, after every decision of the tests.

The idea is fluxcd/pkg/runtime/conditions/check; the rules are docs/reference.md and cli-utils, pkg/kstatus.
"""

from __future__ import annotations

import re

from schemahold.api import models
from schemahold.core import observed

CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]{1,62}")
ALWAYS = {"Ready", "Migrated", "Released"}
WHILE_TRUE = {"Reconciling", "Stalled"}


def check(status: models.Status, generation: int) -> None:
    """Fails with every rule that ``status`` breaks."""
    broken = list(faults(status, generation))
    assert not broken, "\n".join(broken)


def faults(status: models.Status, generation: int) -> list[str]:
    by_type = {one.type: one for one in status.conditions}
    true = {one.type for one in status.conditions if one.status == "True"}
    rules = {
        "Ready, Migrated and Released are always there": by_type.keys() >= ALWAYS,
        "no other conditions": by_type.keys() <= ALWAYS | WHILE_TRUE | {"Contracted"},
        "a type comes once": len(by_type) == len(status.conditions),
        "Reconciling and Stalled are there only while true": by_type.keys() & WHILE_TRUE == true & WHILE_TRUE,
        "Reconciling and Stalled exclude each other": not true >= WHILE_TRUE,
        "Reconciling or Stalled means not ready": not (true & WHILE_TRUE and "Ready" in true),
        "not ready means Reconciling or Stalled, or it would be in progress for ever": bool(true & {"Ready", *WHILE_TRUE}),
        "observedGeneration is the generation that was read": status.observed_generation == generation,
        "Released is False while something is held": ("Released" in true) == (status.held_count == 0),
        "held is counted": len(status.held) == min(status.held_count, 64),
        "history is bounded": len(status.history) <= 10,
        "what is stored is read back": models.parse_status(models.dump_status(status)) == status,
        "HELD and observedGeneration are never left out": {"heldCount", "observedGeneration"}
        <= models.dump_status(status).keys(),
    }
    return [rule for rule, kept in rules.items() if not kept] + [
        fault for one in status.conditions for fault in _condition_faults(one, generation)
    ]


def _condition_faults(one: models.Condition, generation: int) -> list[str]:
    rules = {
        "reason is CamelCase": CAMEL_CASE.fullmatch(one.reason) is not None,
        "message is at most 1024 characters": len(one.message) <= 1024,
        "message is not empty": bool(one.message.strip()),
        "observedGeneration is the generation that was read": one.observed_generation == generation,
        "lastTransitionTime is a time": observed.parse_time(one.last_transition_time).tzinfo is not None,
    }
    return [f"{one.type}: {rule}" for rule, kept in rules.items() if not kept]


def _status(**types: str) -> models.Status:
    made = [
        models.Condition(
            type=kind,
            status=value,  # type: ignore[arg-type]
            reason="Because",
            message="so",
            observed_generation=3,
            last_transition_time="2026-11-22T12:00:00Z",
        )
        for kind, value in types.items()
    ]
    return models.Status(observed_generation=3, conditions=made)


GOOD = {"Ready": "False", "Reconciling": "True", "Migrated": "False", "Released": "True"}


def examples() -> list[tuple[models.Status, str]]:
    """Bad statuses and a word of the rule that each breaks; "" for the good one."""
    held = [models.Held(deployment="a", version="v")]
    return [
        (_status(**GOOD), ""),
        (_status(**{**GOOD, "Stalled": "True"}), "exclude each other"),
        (_status(**{**GOOD, "Ready": "True"}), "means not ready"),
        (_status(**{**GOOD, "Reconciling": "False"}), "only while true"),
        (_status(Ready="False", Migrated="True", Released="True"), "in progress for ever"),
        (_status(Reconciling="True", Migrated="False", Released="True"), "always there"),
        (_status(**{**GOOD, "Phase": "True"}), "no other"),
        (_status(**GOOD).model_copy(update={"held": held, "held_count": 1}), "while something is held"),
        (_status(**GOOD).model_copy(update={"observed_generation": 2}), "observedGeneration"),
    ]
