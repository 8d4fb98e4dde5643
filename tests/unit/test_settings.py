"""The operator's settings from its environment, and what decisions get of them."""

from __future__ import annotations

import dataclasses

import pytest

from schemahold.controller import __main__, settings
from schemahold.core import scene

IMAGE = {"SCHEMAHOLD_IMAGE": "schemahold/runner:1"}


def test_only_the_image_must_be_given() -> None:
    assert settings.from_environment(IMAGE) == settings.Settings(image="schemahold/runner:1")
    with pytest.raises(ValueError, match="SCHEMAHOLD_IMAGE is not set"):
        settings.from_environment({})


def test_empty_is_not_given() -> None:
    given = {f"SCHEMAHOLD_{field.name.upper()}": "" for field in dataclasses.fields(settings.Settings)}
    assert settings.from_environment({**given, **IMAGE}) == settings.Settings(image="schemahold/runner:1")


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("RESYNC", "1m30s", "resync", 90.0),
        ("BEAT", "500ms", "beat", 0.5),
        ("WORKERS", "3", "workers", 3),
        ("NAMESPACE", "ops", "namespace", "ops"),
        ("LOG_FORMAT", "plain", "log_format", "plain"),
    ],
)
def test_given(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(settings.from_environment({**IMAGE, f"SCHEMAHOLD_{variable}": text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"), [("RESYNC", "5"), ("RESYNC", "soon"), ("WORKERS", "many"), ("WORKERS", "1.5")]
)
def test_what_cannot_be_read_names_variable_and_value(variable: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"SCHEMAHOLD_{variable}.*{text}"):
        settings.from_environment({**IMAGE, f"SCHEMAHOLD_{variable}": text})


@pytest.mark.parametrize(
    ("beat", "stale_after", "refused"),
    [
        ("1s", "8s", False),
        ("5s", "15s", False),
        ("5s", "14999ms", True),
        ("100ms", "300ms", False),
        ("20s", "", False),
        ("21s", "", True),
    ],
)
def test_three_beats_may_be_missed_before_a_run_counts_as_lost(beat: str, stale_after: str, refused: bool) -> None:
    given = {**IMAGE, "SCHEMAHOLD_BEAT": beat, "SCHEMAHOLD_STALE_AFTER": stale_after}
    if not refused:
        assert settings.from_environment(given).beat
        return
    with pytest.raises(ValueError, match=r"SCHEMAHOLD_STALE_AFTER is .*SCHEMAHOLD_BEAT is ") as caught:
        settings.from_environment(given)
    assert f"is {beat}:" in str(caught.value)


def test_the_policy_gets_every_setting_that_it_knows() -> None:
    """With values that are nobody's default, so that a forgotten one shows."""
    given = settings.Settings(
        image="i:9", image_pull_policy="Always", backoff_initial=1, backoff_max=2, pod_timeout=3, beat=4, stale_after=5
    )
    wanted = {field.name: getattr(given, field.name) for field in dataclasses.fields(scene.Policy)}
    wanted["image_volumes"] = True  # asked of the cluster, where the setting does not say
    assert dataclasses.asdict(__main__.policy(given, image_volumes=True)) == wanted
    defaults = dataclasses.asdict(scene.Policy(image="i"))
    assert defaults.pop("image_volumes") is False
    assert {name: getattr(settings.Settings(image="i"), name) for name in defaults} == defaults
