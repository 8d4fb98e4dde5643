"""Every shape of an attempt's pod, and what it says about the run."""

from __future__ import annotations

from typing import Any

import pytest

from schemahold.api.pod import Reason
from schemahold.core import observed, verdicts
from schemahold.core.verdicts import Stage, Verdict
from tests.unit import make
from tests.unit.make import RUNNING, ended, pod, pod_ended, report, waiting


def verdict(raw: make.Json) -> Verdict:
    return verdicts.of_pod(observed.Pod.of(raw))


NO_REPORT = ("", "Killed", "{}", "null", "[]", '{"reason": "Nonsense"}', '{"reason": "Failed", "colour": 1}', '"Failed"')

BEFORE_THE_START = {
    "just created": (pod(), Stage.WAITING),
    "scheduled": (pod(lock=waiting(), gate=waiting(), migrate=waiting(), phase="Pending"), Stage.WAITING),
    "lock started": (pod(lock=RUNNING, gate=waiting()), Stage.WAITING),
    "gate at work": (pod(lock=RUNNING, gate=RUNNING), Stage.LOCKING),
    "gate let it go": (pod(lock=RUNNING, gate=ended(0)), Stage.LOCKING),
    "migrate being created": (pod(lock=RUNNING, gate=ended(0), migrate=waiting("ContainerCreating")), Stage.LOCKING),
    "told to stop while locking": (pod(lock=RUNNING, gate=RUNNING, deleting=True), Stage.LOCKING),
    "migrate": (pod(lock=RUNNING, gate=ended(0), migrate=RUNNING), Stage.RUNNING),
    "migrate without its lock": (pod(lock=ended(1), gate=ended(0), migrate=RUNNING), Stage.RUNNING),
    "migrate being stopped": (pod(lock=RUNNING, gate=ended(0), migrate=RUNNING, deleting=True), Stage.RUNNING),
    "migrate failed, lock has not said": (pod_ended(1), Stage.RUNNING),
    "migrate failed, lock ended without a word": (pod(lock=ended(137), gate=ended(0), migrate=ended(1)), Stage.RUNNING),
}  # fmt: skip

GONE = {
    "evicted before anything": pod(phase="Failed"),
    "evicted while locking": pod(lock=RUNNING, gate=RUNNING, phase="Failed"),
    "evicted, and the kubelet still says running": pod(lock=RUNNING, gate=ended(0), migrate=RUNNING, phase="Failed"),
    "node gone": pod(lock=ended(137), gate=ended(0), migrate=waiting(), phase="Failed"),
    "killed, and lock has not said": pod_ended(137, phase="Failed"),
    "79, and lock has not said": pod_ended(79, phase="Failed"),
    "succeeded in phase alone": pod(phase="Succeeded"),
}


@pytest.mark.parametrize("case", BEFORE_THE_START, ids=lambda case: case.replace(" ", "-"))
def test_no_verdict_yet(case: str) -> None:
    raw, stage = BEFORE_THE_START[case]
    found = verdict(raw)
    assert (found.stage, found.reason, found.problem) == (stage, None, "")


@pytest.mark.parametrize("case", GONE, ids=lambda case: case.replace(" ", "-"))
def test_gone_without_a_verdict(case: str) -> None:
    assert verdict(GONE[case]) == Verdict(stage=Stage.GONE)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("more", [{}, {"phase": "Failed"}, {"deleting": True}], ids=["running", "terminal", "deleting"])
def test_gate_says_why_it_stopped(reason: Reason, more: make.Json) -> None:
    raw = pod(lock=RUNNING, gate=ended(1, report(reason, row=3, exit_code=9)), **more)
    found = verdict(raw)
    assert (found.stage, found.reason, found.exit_code) == (Stage.ENDED, reason, 9)
    assert found.message == f"{reason.value} says the pod."
    assert found.report is not None and found.report.row == 3


@pytest.mark.parametrize("text", NO_REPORT)
@pytest.mark.parametrize("code", [1, 137, 143])
def test_a_gate_that_died(text: str, code: int) -> None:
    found = verdict(pod(lock=RUNNING, gate=ended(code, text)))
    assert (found.stage, found.reason, found.exit_code) == (Stage.ENDED, Reason.RUNNER_ERROR, None)
    assert found.message == (text or f"`gate` exited with {code} and left no report")


# migrate's exit code, beside lock's report ----------------------------------------------------------------------------

ENDS: list[tuple[int, dict[str, Any] | None, Reason, int | None]] = [
    # 0 is success, whatever else is said or missing: the script exits with 0 only after `succeeded` was committed
    (0, None, Reason.SUCCEEDED, 0),
    (0, {"reason": Reason.SUCCEEDED, "exit_code": 0}, Reason.SUCCEEDED, 0),
    (0, {"reason": Reason.UNKNOWN}, Reason.SUCCEEDED, 0),
    # recorded, and the script was killed before it could say so
    (137, {"reason": Reason.SUCCEEDED, "exit_code": 0}, Reason.SUCCEEDED, 0),
    (1, {"reason": Reason.FAILED, "exit_code": 1}, Reason.FAILED, 1),
    (127, {"reason": Reason.FAILED}, Reason.FAILED, 127),
    (79, {"reason": Reason.FAILED, "exit_code": 79}, Reason.FAILED, 79),
    (137, {"reason": Reason.UNKNOWN}, Reason.UNKNOWN, 137),
    # 79 is ours: what the command itself returned is in the report, if it ran at all
    (79, {"reason": Reason.UNKNOWN, "exit_code": 0}, Reason.UNKNOWN, 0),
    (79, {"reason": Reason.UNKNOWN}, Reason.UNKNOWN, None),
    (79, {"reason": Reason.WITHDRAWN}, Reason.WITHDRAWN, None),
    (79, {"reason": Reason.START_TIMEOUT}, Reason.START_TIMEOUT, None),
    (79, {"reason": Reason.ALREADY_STARTED}, Reason.ALREADY_STARTED, None),
]


@pytest.mark.parametrize(("code", "said", "reason", "exit_code"), ENDS)
@pytest.mark.parametrize("phase", ["Running", "Failed", "Succeeded"])
def test_migrate_has_ended(code: int, said: make.Json | None, reason: Reason, exit_code: int | None, phase: str) -> None:
    found = verdict(pod_ended(code, report(**said) if said else "", phase=phase))
    assert (found.stage, found.reason, found.exit_code) == (Stage.ENDED, reason, exit_code)


def test_a_report_that_is_none_is_no_report() -> None:
    for text in NO_REPORT[1:]:
        assert verdict(pod_ended(1, text)).stage is Stage.RUNNING
        assert verdict(pod_ended(1, text, phase="Failed")).stage is Stage.GONE


def test_migrates_own_last_words_are_the_message_of_a_failure() -> None:
    said = report(Reason.FAILED, exit_code=1)
    assert verdict(pod_ended(1, said, migrate=" column exists\n")).message == "column exists"
    assert verdict(pod_ended(1, said)).message == "Failed says the pod."
    long = verdict(pod_ended(1, said, migrate="x" * 3000 + "the cause")).message
    assert len(long) == 901 and long.startswith("…") and long.endswith("the cause")
    lines = verdict(pod_ended(1, said, migrate="a line of a traceback\n" * 100 + "the cause")).message
    assert lines.startswith("…a line of a traceback\n") and lines.endswith("\nthe cause")


def test_of_an_unknown_outcome_lock_knows_more() -> None:
    assert verdict(pod_ended(1, report(Reason.UNKNOWN), migrate="column exists")).message == "Unknown says the pod."


def test_nothing_secret_gets_through() -> None:
    secret = "postgres://app:hunter2@db/shop is not there"
    for raw in (
        pod_ended(1, report(Reason.FAILED), migrate=secret),
        pod_ended(1, report(Reason.UNKNOWN, message=secret)),
        pod(gate=ended(1, report(Reason.DATABASE_UNREACHABLE, message=secret))),
        pod(gate=ended(1, secret)),
    ):
        assert "hunter2" not in verdict(raw).message and "is not there" in verdict(raw).message
    assert "hunter2" not in verdict(pod(gate=waiting("CreateContainerConfigError", secret))).problem


# Problems before the start --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["lock", "gate", "migrate"])
@pytest.mark.parametrize(
    "reason",
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError", "CrashLoopBackOff", "ImageInspectError"],
)  # fmt: skip
def test_a_container_that_cannot_start(container: str, reason: str) -> None:
    states = {"lock": RUNNING, "gate": ended(0), "migrate": waiting()}
    raw = pod(**{**states, container: waiting(reason, "no such image: shop:1"), "phase": "Pending"})
    found = verdict(raw)
    assert found.stage in (Stage.WAITING, Stage.LOCKING)
    shown = "ErrImagePull" if reason == "ImagePullBackOff" else reason  # one trouble, and one word for it
    assert found.problem == f"container '{container}' cannot start: {shown}: no such image: shop:1"


def test_the_kubelet_tries_an_image_again_and_status_stays() -> None:
    """It says ErrImagePull and ImagePullBackOff in turn; once each was a write."""
    first = pod(gate=waiting("ErrImagePull", "not found"))
    then = pod(gate=waiting("ImagePullBackOff", 'Back-off pulling image "shop:9": ErrImagePull: not found'))
    assert verdict(first).problem == verdict(then).problem == "container 'gate' cannot start: ErrImagePull: not found"


def test_problems_of_other_containers_and_of_the_scheduler() -> None:
    raw = pod(unscheduled="0/3 nodes are available: insufficient memory")
    assert verdict(raw).problem == "the pod cannot be scheduled: 0/3 nodes are available: insufficient memory"
    raw["status"]["initContainerStatuses"].append({"name": "proxy", "state": waiting("ImagePullBackOff")})
    assert verdict(raw).problem == "container 'proxy' cannot start: ErrImagePull"
    assert verdict(pod(gate=waiting("PodInitializing", "soon"))).problem == ""


def test_a_container_that_was_killed_before_it_ran_has_not_started() -> None:
    """``terminated`` without ``startedAt``: the kubelet's word for a container that it never created."""
    never = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}}
    assert not observed.Pod.of(pod(gate=ended(0), migrate=never)).migrate.started
