"""What admission cannot know (tests/cluster/invalid/stalled-*.yaml): taken, and the operator says what is wrong."""

from __future__ import annotations

import pytest

from tests.cluster.stories.stage import Stage
from tests.cluster.test_invalid import STALLED, Case


@pytest.mark.parametrize("case", STALLED, ids=lambda case: case.name.removeprefix("stalled-"))
def test_it_is_taken_and_then_stalled_with_the_reason(here: Stage, case: Case) -> None:
    here.apply(*case.documents)
    here.until(f"it is stalled: {case.stalled}", lambda: here.condition("Stalled").get("reason") == case.stalled)
    assert here.reason() == case.stalled
    assert here.condition("Stalled")["observedGeneration"] == 1
    for words in case.expect:
        assert words in here.message()
    names = [one["metadata"]["name"] for one in case.documents if one["kind"] == "Deployment"]
    assert all(here.is_held(name) for name in names)
    assert here.jobs() == []
    # The mark follows the status, in a write of its own.
    version = case.documents[-1]["spec"]["template"]["spec"]["containers"][0]["image"]
    source = names[0]
    if len(names) == 1:
        here.until("the Deployment is marked", lambda: here.annotation("failed", source) == version)
