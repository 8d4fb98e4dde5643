"""Follow mode: nothing says a version, so the version is the image, and a command may come after its image."""

from __future__ import annotations

import time

import pytest

from tests.cluster.stories.stage import Stage, migration, shop

SETTLE = 10  # seconds, the default


def _writes(word: str) -> tuple[str, ...]:
    """A migrate command that leaves its own word and its image's release in the database."""
    return ("sh", "-c", f'JOURNAL_WHO="{word} $SHOP_VERSION" exec python -m shop.journal start')


def _rollout(here: Stage) -> None:
    """What the docs tell the user of follow mode to wait with."""
    here.run("rollout", "status", "deployment/shop-api", "--timeout=55s")


def _commands(here: Stage, version: str) -> set[tuple[str, ...]]:
    """What the attempts for a version were told to run."""
    jobs = [job for job in here.jobs() if job["metadata"]["annotations"]["schemahold.dev/run-version"] == version]
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in jobs]
    return {tuple(container["command"][3:]) for container in containers}  # after busybox, sh and the script


def _ran(here: Stage) -> list[str]:
    return [row["who"] for row in here.starts()]


@pytest.mark.parametrize("late", [0.1, 3.0], ids=["100-ms-late", "3-s-late"])
def test_a_command_that_comes_after_its_image_runs_once_and_with_it(here: Stage, late: float) -> None:
    here.apply(shop(""), migration(None, _writes("first")))
    _rollout(here)
    here.await_reason("Applied")
    here.apply(migration(None, _writes("first"), settle=f"{SETTLE}s"))

    begun = time.monotonic()
    here.apply(shop("", image="shop:v2"))
    time.sleep(late)  # the story itself: Helm's second write
    assert here.is_held()
    here.apply(migration(None, _writes("second"), settle=f"{SETTLE}s"))
    assert time.monotonic() - begun < SETTLE, "the machine is too busy to tell this story"
    _rollout(here)
    here.await_reason("Applied")

    assert _ran(here) == ["first v1", "second v2"]
    assert [(row["version"], row["state"]) for row in here.ledger()] == [("shop:v1", "succeeded"), ("shop:v2", "succeeded")]
    assert _commands(here, "shop:v2") == {_writes("second")}, "the old command met the new image"


def test_a_deployment_that_ran_before_is_adopted_upgraded_and_rolled_back(here: Stage) -> None:
    here.apply(shop("", migration=None))
    _rollout(here)
    here.apply(migration(None, _writes("ours")))
    here.await_reason("NoVersionWanted")

    here.run("label", "deployment/shop-api", "schemahold.dev/migration=shop")
    here.await_reason("Adopted")
    assert here.condition("Ready")["status"] == "True"
    assert here.condition("Migrated")["status"] == "Unknown"
    assert here.condition("Released")["status"] == "True"
    assert (here.annotation("adopted"), here.annotation("approved")) == ("shop:v1", "shop:v1")
    assert here.jobs() == []
    assert here.ledger() == []

    here.apply(shop("", image="shop:v2"))
    _rollout(here)
    here.await_reason("Applied")
    assert _ran(here) == ["ours v2"]
    assert [(row["version"], row["state"]) for row in here.ledger()] == [("shop:v1", "adopted"), ("shop:v2", "succeeded")]

    attempts = len(here.jobs())
    here.apply(shop("", image="shop:v1"))
    _rollout(here)
    here.until("the adopted version runs again", lambda: here.annotation("approved") == "shop:v1")
    here.await_reason("Adopted")
    assert _ran(here) == ["ours v2"]
    assert len(here.jobs()) == attempts, "a step back needs no attempt"
