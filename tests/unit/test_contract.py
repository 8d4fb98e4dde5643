"""The contract: when it is due, what is remembered of it, and what it does to releases."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemahold.api import models, names
from schemahold.api.pod import Reason
from schemahold.core import contract, decision, inputs, observed, versions
from tests.unit import make
from tests.unit.make import NOW, ago, applied, attempt, deployment, in_, look, migration, out

CONTRACT = {"run": {"command": ["npm", "run", "contract"]}, "after": "10m"}
RUNS = deployment("v2", "v2")
NEW, OLD = (
    observed.AppPod(name="shop-new", version="v2", deleting=False),
    observed.AppPod(name="shop-old", version="v1", deleting=True),
)
V2_DONE = attempt("Applied", row=2, released=True)


def shop(standing: dict[str, Any] | None = None, last: Any = V2_DONE, **more: Any) -> make.Json:
    """v1 and v2 are applied, v2 is out; its contract is a command, after ten minutes."""
    status = {"history": applied("v1", "v2"), "released": out("v2"), "version": "v2", **more.pop("status", {})}
    if standing is not None:
        status["contract"] = {"version": "v2", **standing}
    contract_spec = more.pop("contract", CONTRACT)
    return migration(status=make.status(last, **status), **({"contract": contract_spec} if contract_spec else {}), **more)


def contracted(found: observed.Observed, now: Any = NOW) -> tuple[str, str]:
    one = make.condition(make.status_of(make.decided(found, now), found), "Contracted")
    return one.status, one.reason


def contract_inputs(raw: make.Json) -> str:
    spec = models.Spec.model_validate(raw["spec"])
    return inputs.inputs(spec, versions.container(RUNS["spec"]["template"]), phase="contract")


SOAKED = {"since": ago(600)}

# State of status.contract, what is there, what the condition says. Nothing of this touches Ready.
WAITING: dict[str, tuple[observed.Observed, str]] = {
    "the first look after the rollout": (look(shop(), RUNS, app_pods=[NEW]), "Soaking"),
    "soaking": (look(shop({"since": ago(599)}), RUNS, app_pods=[NEW]), "Soaking"),
    "an old pod is left": (look(shop(SOAKED), RUNS, app_pods=[NEW, OLD]), "WaitingForPods"),
    "pods not asked for": (look(shop(SOAKED), RUNS), "WaitingForPods"),
    "rolling out": (look(shop(SOAKED), deployment("v2", "v2", rolled_out=False), app_pods=[NEW]), "WaitingForRollout"),
    "paused by its user": (look(shop(SOAKED), deployment("v2", "v2", paused=True), app_pods=[NEW]), "WaitingForRollout"),
    "no Deployment": (look(shop(SOAKED), app_pods=[]), "WaitingForRollout"),
    "a follower lags": (
        look(
            shop(SOAKED, run={"command": make.COMMAND, "deployment": "shop-api"}),
            RUNS,
            deployment("v2", "v2", name="worker", rolled_out=False),
            app_pods=[NEW],
        ),
        "WaitingForRollout",
    ),
    "not approved": (
        look(shop(SOAKED, contract={**CONTRACT, "approval": "Manual"}), RUNS, app_pods=[NEW]),
        "WaitingForApproval",
    ),
    "another version approved": (
        look(
            shop(SOAKED, contract={**CONTRACT, "approval": "Manual"}, annotations={names.APPROVE_CONTRACT: "v1"}),
            RUNS,
            app_pods=[NEW],
        ),
        "WaitingForApproval",
    ),
    "a newer version wants out": (look(shop(SOAKED, version="v3"), deployment("v3", "v2"), app_pods=[NEW]), "Skipped"),
}


@pytest.mark.parametrize("row", WAITING)
def test_not_yet(row: str) -> None:
    found, reason = WAITING[row]
    assert contracted(found) == ("False", reason)
    started = make.starts(found)
    assert started is None or started.phase == "expand"


def test_due() -> None:
    for found in (
        look(shop(SOAKED), RUNS, app_pods=[NEW]),
        look(
            shop(SOAKED, contract={**CONTRACT, "approval": "Manual"}, annotations={names.APPROVE_CONTRACT: "v2"}),
            RUNS,
            app_pods=[NEW],
        ),
    ):
        asked = make.starts(found)
        assert asked is not None
        assert (asked.phase, asked.version, asked.inputs) == ("contract", "v2", contract_inputs(shop(SOAKED)))
        made = make.decided(found)
        assert make.status_of(made, found).attempt.phase == "contract"  # type: ignore[union-attr]
        assert [one.reason for one in made.events if one.reason.startswith("Contract")] == ["ContractStarted"] * 2
        assert make.state(found) == ("ready", "Applied")  # the rollout is complete, whatever the contract does


def test_its_job_runs_the_contract_s_command() -> None:
    [write] = make.writes(make.decided(look(shop(SOAKED), RUNS, app_pods=[NEW])), decision.CreateJob)
    assert write.job["metadata"]["labels"][names.PHASE] == "contract"
    [container] = write.job["spec"]["template"]["spec"]["containers"]
    assert container["command"][-3:] == ["npm", "run", "contract"]


def test_the_soak_begins_anew_when_an_old_pod_comes_back() -> None:
    found = look(shop(SOAKED), RUNS, app_pods=[OLD])
    status = make.status_of(make.decided(found), found)
    assert status.contract is not None and status.contract.since is None
    assert make.decided(found).requeue == contract.POLL  # nobody tells us when that pod is gone
    message = make.condition(status, "Contracted").message
    assert "'shop-old' (version 'v1', terminating)" in message


def test_suspend_and_deletion_start_nothing() -> None:
    assert make.starts(look(shop(SOAKED, suspend=True), RUNS, app_pods=[NEW])) is None
    assert make.starts(look(shop(SOAKED, deleting=True), RUNS, app_pods=[NEW])) is None


def test_another_job_on_the_database_is_waited_for() -> None:
    found = look(shop(SOAKED), RUNS, app_pods=[NEW], busy=["other-3"])
    assert make.starts(found) is None
    assert contracted(found) == ("False", "WaitingForLock")


def test_a_version_that_ran_before_us_has_no_contract() -> None:
    raw = shop(None, None, status={"history": applied("(v2)")})
    found = look(raw, deployment("v2", "v2", adopted="v2"), app_pods=[NEW])
    assert make.starts(found) is None
    assert make.status_of(make.decided(found), found).contract is None


def test_after_a_step_back_the_older_version_is_not_contracted() -> None:
    """v1's contract would remove what v2, which comes back tomorrow, may need; and v2 is the one applied last."""
    raw = shop(SOAKED, version="v1", status={"released": out("v1")})
    found = look(raw, deployment("v1", "v1"), app_pods=[observed.AppPod(name="p", version="v1", deleting=False)])
    assert make.starts(found) is None
    assert contracted(found) == ("False", "Skipped")


def test_skipped_is_told_once() -> None:
    found = look(shop(SOAKED, version="v3"), deployment("v3", "v2"), app_pods=[NEW])
    made = make.decided(found)
    assert [one.reason for one in made.events].count("ContractSkipped") == 2  # on both objects
    after = make.status_of(made, found)
    assert after.contract is not None and after.contract.state == "Skipped"
    again = look(shop({"state": "Skipped"}, version="v3"), deployment("v3", "v2"), app_pods=[NEW])
    assert "ContractSkipped" not in [one.reason for one in make.decided(again).events]


def test_skipped_waits_again_when_its_version_is_back_and_nothing_else_was_applied() -> None:
    found = look(shop({"state": "Skipped"}), RUNS, app_pods=[NEW])
    assert contracted(found) == ("False", "Soaking")


# The attempt ----------------------------------------------------------------------------------------------------------


def running(**more: Any) -> models.Attempt:
    return attempt(number=3, phase="contract", inputs=contract_inputs(shop()), **more)


def ended(reason: str, **more: Any) -> models.Attempt:
    return attempt(reason, number=3, phase="contract", inputs=contract_inputs(shop()), **more)


def its_pod(code: int, reason: Reason) -> make.Json:
    said = make.report(reason, row=3, exit_code=code, ledger="ledger-1", floor="v2")
    return make.pod_ended(code, said, 3, inputs=contract_inputs(shop()))


def test_success_makes_it_done_and_raises_the_floor() -> None:
    job = make.job(3, phase="contract", inputs=contract_inputs(shop()))
    found = look(
        shop(SOAKED, running(), finalizer=True), RUNS, jobs=[job], pods=[its_pod(0, Reason.SUCCEEDED)], app_pods=[NEW]
    )
    status = make.status_of(make.decided(found), found)
    assert contracted(found) == ("True", "Contracted")
    assert status.contract is not None and status.contract.state == "Done"
    assert status.floor is not None and status.floor.version == "v2"
    assert [one.version for one in status.history] == ["v1", "v2"]
    assert make.state(found) == ("ready", "Applied")
    done = look(shop({"state": "Done"}, ended("Applied", row=3), status={"floor": {"version": "v2"}}), RUNS)
    assert make.starts(done) is None


def test_failure_disturbs_nothing_and_waits_for_a_person() -> None:
    job = make.job(3, phase="contract", inputs=contract_inputs(shop()))
    found = look(shop(SOAKED, running(), finalizer=True), RUNS, jobs=[job], pods=[its_pod(1, Reason.FAILED)], app_pods=[NEW])
    made = make.decided(found)
    assert make.state(found) == ("stalled", "ContractFailed")
    assert not make.writes(made, decision.Release) and not make.writes(made, decision.MarkFailed)
    after = look(shop(SOAKED, ended("ContractFailed")), RUNS, app_pods=[NEW])
    assert make.state(after) == ("stalled", "ContractFailed")
    assert make.starts(after, in_(3600)) is None
    asked = make.starts(look(shop(SOAKED, ended("ContractFailed"), annotations=make.token()), RUNS, app_pods=[NEW]))
    assert asked is not None and asked.phase == "contract" and asked.token == "again"


def test_a_failed_contract_keeps_no_newer_version_from_its_migration() -> None:
    found = look(shop(SOAKED, ended("ContractFailed"), version="v3"), deployment("v3", "v2"), app_pods=[NEW])
    asked = make.starts(found)
    assert asked is not None and (asked.phase, asked.version) == ("expand", "v3")


def test_what_has_not_started_goes_when_another_version_arrives() -> None:
    job = make.job(3, phase="contract", inputs=contract_inputs(shop()))
    pod = make.pod_locking(3, inputs=contract_inputs(shop()))
    raw = shop(SOAKED, running(), version="v3", finalizer=True)
    made = make.decided(look(raw, deployment("v3", "v2"), jobs=[job], pods=[pod], app_pods=[NEW]))
    assert make.writes(made, decision.DeletePod)


def test_what_has_started_is_waited_for_and_nothing_is_released() -> None:
    job = make.job(3, phase="contract", inputs=contract_inputs(shop()))
    pod = make.pod_running(3, inputs=contract_inputs(shop()))
    raw = shop(SOAKED, running(), version="v1", finalizer=True)
    found = look(raw, deployment("v1", "v2"), jobs=[job], pods=[pod], app_pods=[NEW])
    made = make.decided(found)
    assert not make.writes(made, decision.DeletePod) and not make.writes(made, decision.Release)
    assert make.state(found) == ("busy", "WaitingForContract")


# Stepping back --------------------------------------------------------------------------------------------------------


def back(**more: Any) -> observed.Observed:
    return look(shop(SOAKED, version="v1", **more), deployment("v1", "v2"), app_pods=[NEW])


def test_before_the_contract_a_step_back_is_released_at_once_and_status_comes_first() -> None:
    """First: a controller that has just decided to contract then finds a conflict."""
    kinds = [type(one) for one in make.decided(back()).writes]
    assert kinds.index(decision.WriteStatus) < kinds.index(decision.Release)
    status = make.status_of(make.decided(back()), back())
    assert status.released is not None and status.released.version == "v1"  # so the write is one that the other one sees


def test_without_a_contract_releases_come_first() -> None:
    found = look(shop(None, contract=None, version="v1"), deployment("v1", "v2"))
    kinds = [type(one) for one in make.decided(found).writes]
    assert kinds.index(decision.Release) < kinds.index(decision.WriteStatus)


@pytest.mark.parametrize("history", [("v1", "v2"), ("(v1)", "v2"), ("v1", "v9")])
def test_below_the_floor_the_gate_decides(history: tuple[str, ...]) -> None:
    database = make.DATABASE
    floor = {"version": "v2", "database": database}
    found = back(status={"floor": floor, "history": applied(*history), "contract": {"version": "v2", "state": "Done"}})
    assert make.released(found) == []
    asked = make.starts(found)
    assert asked is not None and (asked.phase, asked.version) == ("expand", "v1")


def test_incompatible_is_for_a_person() -> None:
    refused = attempt("Incompatible", number=4, version="v1")
    found = back(last=refused, status={"floor": {"version": "v2", "database": make.DATABASE}})
    assert make.state(found) == ("stalled", "Incompatible")
    assert make.starts(found, in_(3600)) is None


def test_a_wiped_status_learns_the_floor_from_the_gate() -> None:
    said = make.report(Reason.INCOMPATIBLE, row=1, row_version="v1", ledger="ledger-1", floor="v2")
    pod = make.pod(1, lock=make.RUNNING, gate=make.ended(1, said), version="v1")
    raw = migration("v1", status=make.status(attempt(version="v1")), contract=CONTRACT)
    found = look(raw, deployment("v1", "v2"), jobs=[make.job(1, version="v1")], pods=[pod])
    status = make.status_of(make.decided(found), found)
    assert status.floor == models.Floor(version="v2", database=make.DATABASE)
    assert make.state(found) == ("stalled", "Incompatible")


# SQL files ------------------------------------------------------------------------------------------------------------

SQL = {"configMaps": ["shop-sql"]}
FILES = {"expand": observed.Files(pin="p1"), "contract": observed.Files(pin="p1")}


def sql_shop(standing: dict[str, Any], **more: Any) -> make.Json:
    raw = shop(standing, attempt("Applied", row=2, released=True), contract=None, **more)
    raw["spec"].pop("run")
    raw["spec"]["sql"] = SQL
    return raw


def test_without_contract_files_there_is_no_contract() -> None:
    found = look(sql_shop({**SOAKED, "files": 0}), RUNS, files=FILES, app_pods=[NEW])
    assert make.starts(found) is None
    assert not contract.asks(dataclasses.replace(found), found.migration.spec)  # type: ignore[arg-type]
    assert [one for one in make.status_of(make.decided(found), found).conditions if one.type == "Contracted"] == []


def test_files_that_wait_are_contracted_without_a_word_in_the_spec() -> None:
    found = look(sql_shop({**SOAKED, "files": 2}), RUNS, files=FILES, app_pods=[NEW])
    asked = make.starts(found)
    assert asked is not None and asked.phase == "contract"
    assert asked.sql is not None and asked.sql.pin == "p1"


def test_a_missing_config_map_is_named_and_looked_for_again() -> None:
    files = {"expand": observed.Files(problem="ConfigMap 'shop-sql' does not exist.")}
    raw = migration("v2", run=None, sql=SQL)
    raw["spec"].pop("run")
    found = look(raw, deployment("v2", "v1"), files=files)
    assert make.state(found) == ("stalled", "SourceInvalid")
    assert make.starts(found) is None
    assert make.decided(found).requeue


def test_what_the_expand_run_counted_is_remembered() -> None:
    raw = sql_shop({})
    raw["status"] = models.dump_status(make.status(attempt(inputs="i"), history=applied("v1"), released=out("v1")))
    said = make.report(Reason.SUCCEEDED, row=2, exit_code=0, ledger="ledger-1", contract_files=2, files_pin="p1")
    pod = make.pod(1, migrate=make.ended(0, said), sql=True, inputs="i")
    found = look(raw, deployment("v2", "v1"), jobs=[make.job(1, inputs="i")], pods=[pod], files=FILES)
    status = make.status_of(make.decided(found), found)
    assert status.contract is not None and (status.contract.version, status.contract.files) == ("v2", 2)


def test_without_files_there_is_nothing_to_skip() -> None:
    for files, told in ((0, 0), (1, 2)):
        found = look(sql_shop({"files": files}, version="v3"), deployment("v3", "v2"), files=FILES, app_pods=[NEW])
        assert [one.reason for one in make.decided(found).events].count("ContractSkipped") == told


def test_a_lost_status_forgets_no_contract() -> None:
    """Once the contract was silently gone with the status. Whether it ran before, its gate says."""
    raw = migration("v2", status=make.status(), contract={**CONTRACT, "after": "0s"})
    found = look(raw, RUNS, app_pods=[NEW])
    asked = make.starts(found)
    assert asked is not None and (asked.phase, asked.version) == ("contract", "v2")


@pytest.mark.parametrize("more", [{"adopted": "v2"}, {"by": "ann v2"}])
def test_what_was_never_applied_by_us_has_none(more: Any) -> None:
    raw = migration("v2", status=make.status(), contract={**CONTRACT, "after": "0s"})
    assert make.starts(look(raw, deployment("v2", "v2", **more), app_pods=[NEW])) is None


def test_nothing_to_run_is_done() -> None:
    ended_so = attempt("NothingToRun", number=3, phase="contract", inputs=contract_inputs(shop()))
    found = look(shop(SOAKED, ended_so), RUNS, app_pods=[NEW])
    assert make.state(found) == ("ready", "Applied")
    assert contracted(found) == ("True", "Contracted")


def test_a_failure_stays_said_while_a_pod_is_away() -> None:
    """Once a scale-up made it Ready again, for the whole of the next soak."""
    away = deployment("v2", "v2", rolled_out=False)
    for last in ("ContractFailed", "OutcomeUnknown"):
        fine = look(shop(SOAKED, ended(last, row=3)), RUNS, app_pods=[NEW])
        assert make.state(fine) == ("stalled", last)
        assert contracted(fine) == ("False", last)
    rolling = look(shop(SOAKED, ended("ContractFailed", row=3)), away, app_pods=[NEW])
    status = make.status_of(make.decided(rolling), rolling)
    assert status.contract is not None and status.contract.since == SOAKED["since"]  # the soak goes on
    soaking = look(shop({"since": ago(5)}, ended("ContractFailed", row=3)), RUNS, app_pods=[NEW])
    assert make.state(soaking) == ("stalled", "ContractFailed")


def test_a_source_that_cannot_be_told_leaves_what_runs_alone() -> None:
    """Once it was an assertion of ours, at every look."""
    found = look(shop(SOAKED), RUNS, deployment("v2", "v2", name="worker"), app_pods=[NEW])
    assert make.state(found) == ("ready", "Applied")
    assert contracted(found) == ("False", "AmbiguousSource")
    assert make.starts(found) is None
