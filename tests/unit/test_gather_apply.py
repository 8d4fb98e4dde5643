"""What is asked of the API server and what is sent to it: paths, bodies, patches, and what comes of refusals."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from schemahold.api import models, names
from schemahold.api.pod import Reason
from schemahold.cluster import api, apply, events, gather, probe
from schemahold.controller import reconciler
from schemahold.controller.metrics import Metrics
from schemahold.controller.queue import Key, Queue
from schemahold.core import decision, observed, steps
from tests.unit import make
from tests.unit.make import Json, attempt, deployment, job, migration

SHOP = "/apis/schemahold.dev/v1alpha1/namespaces/ns/schemamigrations/shop"
DEPLOYMENTS, JOBS = "/apis/apps/v1/namespaces/ns/deployments", "/apis/batch/v1/namespaces/ns/jobs"
PODS, EVENTS = "/api/v1/namespaces/ns/pods", "/api/v1/namespaces/ns/events"
KEY = Key("ns", "shop")


class FakeApi(api.Api):
    """Answers from ``objects`` (by path) and ``lists`` (by path); keeps what was asked.  ``refuse``: by method and path."""

    def __init__(self, objects: Json | None = None, lists: dict[str, list[Json]] | None = None) -> None:
        self.objects, self.lists = objects or {}, lists or {}
        self.asked: list[tuple[str, str, Json]] = []
        self.sent: list[tuple[str, str, Any, str]] = []
        self.refuse: dict[tuple[str, str], list[Exception]] = {}
        self.writes = 0

    async def _request(
        self, method: str, path: str, *, query: Any, body: Any = None, content_type: str = "application/json"
    ) -> Json:
        refusals = self.refuse.get((method, path))
        if method == "GET":
            self.asked.append((method, path, dict(query)))
        else:
            self.sent.append((method, path, copy.deepcopy(body), content_type))
        if refusals and (error := refusals.pop(0)) is not None:
            raise error
        if method == "GET":
            if path in self.lists:
                return {"items": self.lists[path]}
            if path not in self.objects:
                raise api.NotFound(404, "NotFound", f"{path} not found")
            return copy.deepcopy(self.objects[path])
        return copy.deepcopy(body) if method == "POST" else {"metadata": {"resourceVersion": f"after-{len(self.sent)}"}}

    def kinds(self) -> list[str]:
        return [f"{method} {path.removeprefix('/apis/').removeprefix('/api/')}" for method, path, _, _ in self.sent]


CONFLICT = api.Conflict(409, "Conflict", "the object has been modified")
GONE = api.NotFound(404, "NotFound", "gone")
FORBIDDEN = api.ApiError(403, "Forbidden", "exceeded quota: jobs=10, password=hunter2")
BROKEN = api.ApiError(500, "InternalError", "failed calling webhook")
BUSY = api.ApiError(429, "TooManyRequests", "later")
NO_ANSWER = api.Unavailable("connection reset")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def cluster(shop: Json | None = None, *deployments: Json, **lists: list[Json]) -> FakeApi:
    objects = {SHOP: shop} if shop else {}
    return FakeApi(
        objects,
        {
            DEPLOYMENTS: list(deployments),
            JOBS: lists.get("jobs", []),
            PODS: lists.get("pods", []),
            EVENTS: lists.get("events", []),
        },
    )


# Looking --------------------------------------------------------------------------------------------------------------


def look(client: FakeApi) -> observed.Observed | None:
    return run(gather.look(client, "ns", "shop", 60, make.NOW))


def test_the_resource_is_read_before_everything_else() -> None:
    client = cluster(migration(), deployment("v2", "v2"))
    assert look(client) == make.look(migration(), deployment("v2", "v2"))
    selector = f"{names.MIGRATION}=shop"
    assert client.asked[0] == ("GET", SHOP, {})
    assert [(path, query["labelSelector"]) for _, path, query in client.asked[1:]] == [
        (DEPLOYMENTS, selector),
        (JOBS, f"{selector},{names.ATTEMPT}"),  # people's own Jobs may carry our label, and old attempts get deleted
        (PODS, f"{selector},{names.ATTEMPT}"),
    ]
    assert all("resourceVersion" not in query for _, _, query in client.asked), "from etcd, never from an old cache"


def test_no_resource() -> None:
    client = cluster(None, deployment())
    assert look(client) is None
    assert len(client.asked) == 1


def test_deployments_by_name_and_only_those_that_stay() -> None:
    going = deployment(name="a")
    going["metadata"]["deletionTimestamp"] = make.ago(1)
    found = look(cluster(migration(), deployment(name="c"), going, deployment(name="b")))
    assert found is not None and [one.name for one in found.deployments] == ["b", "c"]


def test_others_on_the_same_database() -> None:
    theirs = job(3)
    theirs["metadata"]["labels"][names.MIGRATION] = "other"
    theirs["metadata"]["name"] = "other-3"
    done = {**copy.deepcopy(theirs), "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    client = cluster(migration(), deployment(), jobs=[job(1, finished=True), theirs, done])
    client.lists[JOBS] = [job(1), theirs, done]
    found = look(client)
    assert found is not None and found.busy == ("other-3",)
    assert client.asked[-1] == ("GET", JOBS, {"labelSelector": f"{names.DATABASE}={make.DATABASE}", "limit": "500"})
    quiet = cluster(migration(), deployment("v2", "v2"))
    look(quiet)
    assert len(quiet.asked) == 4, "nothing is wanted, so nobody is asked"


def test_why_a_job_has_no_pod() -> None:
    told = [
        {"lastTimestamp": make.ago(50), "message": "an older one"},
        {"lastTimestamp": make.ago(5), "message": 'pods "shop-1-x7k2p" is forbidden: exceeded quota'},
        {"eventTime": None, "message": "no time"},
    ]
    late = cluster(migration(), deployment(), jobs=[job(age=61)], events=told)
    found = look(late)
    assert found is not None and found.job_events == 'pods "shop-1" is forbidden: exceeded quota'
    assert late.asked[-1][2]["fieldSelector"] == "involvedObject.uid=uid-job-1,type=Warning"
    for quiet in (
        cluster(migration(), deployment(), jobs=[job(age=59)], events=told),
        cluster(migration(), deployment(), jobs=[job(age=99, finished=True)], events=told),
        cluster(migration(), deployment(), jobs=[job(age=99)], pods=[make.pod()], events=told),
    ):
        found = look(quiet)
        assert found is not None and found.job_events == ""
        assert EVENTS not in [path for _, path, _ in quiet.asked]


def test_a_list_is_read_to_its_end() -> None:
    class Pages(FakeApi):
        async def _request(self, method: str, path: str, *, query: Any, **_: Any) -> Json:
            self.asked.append((method, path, dict(query)))
            pages = {"": ([1, 2], "a"), "a": ([3], "b"), "b": ([], "")}
            items, more = pages[query.get("continue", "")]
            return {"items": items, "metadata": {"continue": more}}

    client = Pages()
    assert run(client.items("/things", labelSelector="x")) == [1, 2, 3]
    assert all(query["limit"] == "500" and query["labelSelector"] == "x" for _, _, query in client.asked)


# Writing --------------------------------------------------------------------------------------------------------------

APPROVED, HELD = "/metadata/annotations/schemahold.dev~1approved", "/metadata/annotations/schemahold.dev~1held"
FAILED = "/metadata/annotations/schemahold.dev~1failed"
MERGE, PATCH = api.MERGE_PATCH, api.JSON_PATCH

WRITES: list[tuple[decision.Write, tuple[str, str, Any, str]]] = [
    (
        decision.SetFinalizer(present=True),
        ("PATCH", SHOP, {"metadata": {"resourceVersion": "100", "finalizers": ["other", names.RUNNING_FINALIZER]}}, MERGE),
    ),
    (
        decision.SetFinalizer(present=False),
        ("PATCH", SHOP, {"metadata": {"resourceVersion": "100", "finalizers": ["other"]}}, MERGE),
    ),
    (
        decision.DeleteJob(name="shop-1", uid="u"),
        ("DELETE", f"{JOBS}/shop-1", {"propagationPolicy": "Background", "preconditions": {"uid": "u"}}, "application/json"),
    ),
    (
        decision.DeletePod(name="shop-1-x", uid="u"),
        (
            "DELETE",
            f"{PODS}/shop-1-x",
            {"propagationPolicy": "Background", "preconditions": {"uid": "u"}},
            "application/json",
        ),
    ),
    (
        decision.Release(deployment="shop-api", version="v/2~1", held=True, resource_version="50"),
        (
            "PATCH",
            f"{DEPLOYMENTS}/shop-api",
            [
                {"op": "test", "path": HELD, "value": "v/2~1"},
                {"op": "add", "path": APPROVED, "value": "v/2~1"},
                {"op": "remove", "path": HELD},
                {"op": "remove", "path": "/spec/paused"},
            ],
            PATCH,
        ),
    ),
    (
        decision.Release(deployment="shop-api", version="v2", held=False, resource_version="50"),
        (
            "PATCH",
            f"{DEPLOYMENTS}/shop-api",
            {"metadata": {"resourceVersion": "50", "annotations": {names.APPROVED: "v2"}}},
            MERGE,
        ),
    ),
    (
        decision.MarkFailed(deployment="shop-api", version="v2"),
        (
            "PATCH",
            f"{DEPLOYMENTS}/shop-api",
            [{"op": "test", "path": HELD, "value": "v2"}, {"op": "add", "path": FAILED, "value": "v2"}],
            PATCH,
        ),
    ),
]


def applier(client: FakeApi) -> apply.Applier:
    raw = migration(finalizer=True)
    raw["metadata"]["finalizers"] = ["other", names.RUNNING_FINALIZER]
    return apply.Applier(client, observed.Migration.of(raw))


@pytest.mark.parametrize(("write", "sent"), WRITES, ids=lambda value: type(value).__name__)
def test_a_write(write: decision.Write, sent: tuple[str, str, Any, str]) -> None:
    client = FakeApi()
    run(applier(client).write(write))
    assert client.sent == [sent]


def test_an_owner_is_given_to_this_very_job() -> None:
    client = FakeApi()
    run(applier(client).write(decision.OwnJob(name="shop-1", uid="u")))
    [(method, path, body, kind)] = client.sent
    assert (method, path, kind) == ("PATCH", f"{JOBS}/shop-1", MERGE)
    [owner] = body["metadata"]["ownerReferences"]
    assert body["metadata"]["uid"] == "u"
    assert (owner["uid"], owner["kind"], owner["controller"]) == (make.UID, names.KIND, True)
    assert owner["blockOwnerDeletion"] is False, "the operator may not be allowed to set the resource's finalizers"


def test_status_is_replaced_as_a_whole_on_the_version_that_was_read() -> None:
    client = FakeApi()
    run(applier(client).write(decision.WriteStatus(status=make.status(attempt()))))
    [(method, path, body, _)] = client.sent
    assert (method, path) == ("PUT", f"{SHOP}/status")
    assert body["metadata"]["resourceVersion"] == "100" and body["metadata"]["uid"] == make.UID
    assert body["status"] == models.dump_status(make.status(attempt()))
    assert body["spec"] == migration()["spec"], "and the rest is what was read"


async def _both(one: apply.Applier, *writes: decision.Write) -> None:
    for write in writes:
        await one.write(write)


def test_each_write_goes_on_from_the_version_that_the_last_one_made() -> None:
    """Else our own finalizer would make our own status a conflict."""
    client = FakeApi()
    status = decision.WriteStatus(status=make.status())
    run(_both(applier(client), decision.SetFinalizer(present=True), status, decision.SetFinalizer(present=False)))
    assert [body["metadata"]["resourceVersion"] for _, _, body, _ in client.sent] == ["100", "after-1", "after-2"]


@pytest.mark.parametrize("error", [GONE, CONFLICT])
@pytest.mark.parametrize("write", [one for one, _ in WRITES] + [decision.OwnJob(name="shop-1", uid="u")])
def test_what_comes_too_late(error: Exception, write: decision.Write) -> None:
    """Deletions and marks may; what moves the state must not."""
    client = FakeApi()
    tolerant = isinstance(write, decision.DeleteJob | decision.DeletePod | decision.OwnJob | decision.MarkFailed)
    client.refuse = {(method, path): [error] for _, (method, path, _, _) in WRITES}
    client.refuse["PATCH", f"{JOBS}/shop-1"] = [error]
    if tolerant:
        run(applier(client).write(write))
    else:
        with pytest.raises(type(error)):
            run(applier(client).write(write))


# Creating the Job -----------------------------------------------------------------------------------------------------


def built() -> Json:
    [create] = make.writes(make.decided(make.look(migration(), deployment())), decision.CreateJob)
    return dict(create.job)


def create(client: FakeApi) -> list[str]:
    one = applier(client)
    run(one.write(decision.CreateJob(job=built())))
    return one.notes


def test_a_job_is_created() -> None:
    client = FakeApi()
    assert create(client) == []
    assert client.sent == [("POST", JOBS, built(), "application/json")]


def test_a_job_that_was_created_before_is_taken_for_it() -> None:
    """The answer to the first create was lost."""
    client = FakeApi({f"{JOBS}/shop-1": built()})
    client.refuse["POST", JOBS] = [api.Conflict(409, "AlreadyExists", "exists")]
    assert create(client) == []


@pytest.mark.parametrize("label", [names.OWNER_UID, names.INPUTS, names.ATTEMPT])
def test_another_job_of_that_name_is_a_conflict(label: str) -> None:
    other = built()
    other["metadata"]["labels"][label] = "another"
    client = FakeApi({f"{JOBS}/shop-1": other})
    client.refuse["POST", JOBS] = [api.Conflict(409, "AlreadyExists", "exists")]
    with pytest.raises(api.Conflict, match="AlreadyExists"):
        create(client)


def test_a_conflict_over_the_quota_is_no_job() -> None:
    client = FakeApi()
    client.refuse["POST", JOBS] = [api.Conflict(409, "Conflict", "resourcequotas has been modified")]
    with pytest.raises(api.Conflict, match="resourcequotas"):
        create(client)


def test_what_a_third_party_changed_is_noted() -> None:
    class Webhook(FakeApi):
        async def create(self, path: str, body: Any, **query: str) -> Json:
            made: Json = copy.deepcopy(dict(body))
            made["spec"]["backoffLimit"] = 6
            return made

    notes = create(Webhook())
    assert len(notes) == 1 and "`backoffLimit`" in notes[0]


# The client -----------------------------------------------------------------------------------------------------------


def status_body(**fields: Any) -> bytes:
    return json.dumps({"kind": "Status", **fields}).encode()


PATCH_TEST_FAILED = status_body(
    message="the server rejected our request due to an error in our request", reason="Invalid", details={}, code=422
)  # as Kubernetes 1.36.3 answers
INVALID = status_body(message="spec.x: Invalid value", reason="Invalid", details={"causes": [{"field": "spec.x"}]}, code=422)
ERRORS = [
    (404, status_body(reason="NotFound", message="no"), api.NotFound),
    (409, status_body(reason="Conflict", message="modified"), api.Conflict),
    (409, status_body(reason="AlreadyExists", message="exists"), api.Conflict),
    (422, PATCH_TEST_FAILED, api.Conflict),
    (422, INVALID, api.ApiError),
    (403, status_body(reason="Forbidden", message="no"), api.ApiError),
    (500, b"<html>gateway</html>", api.ApiError),
    (503, b"[]", api.ApiError),
]


@pytest.mark.parametrize(("status", "text", "kind"), ERRORS)
def test_errors(status: int, text: bytes, kind: type[api.ApiError]) -> None:
    error = api._error(status, text)
    assert type(error) is kind and error.status == status and error.message


def test_writes_are_counted() -> None:
    client = FakeApi({"/x": {}})
    run(client.get("/x"))
    assert client.writes == 0
    for calling in (client.create("/x", {}), client.replace("/x", {}), client.patch("/x", {}), client.delete("/x", "u")):
        run(calling)
    assert client.writes == 4


def test_the_probe_asks_and_stores_nothing() -> None:
    held = {"metadata": {"annotations": {names.HELD: "probe"}}, "spec": {"paused": True}}
    for answer, acts in ((held, True), ({**held, "spec": {}}, False), ({"metadata": {}, "spec": {"paused": True}}, False)):

        class Admission(FakeApi):
            async def create(self, path: str, body: Any, **query: str) -> Json:
                assert query == {"dryRun": "All"} and path == DEPLOYMENTS
                return answer  # noqa: B023

        assert run(probe.is_hold_active(Admission(), "ns")) is acts


# Events ---------------------------------------------------------------------------------------------------------------

SUBJECT = events.Subject(api_version="apps/v1", kind="Deployment", namespace="ns", name="shop-api", uid="u")


def record(recorder: events.Recorder, message: str = "words", subject: events.Subject = SUBJECT) -> bool:
    return run(recorder.record(subject, "Normal", "Held", message, make.NOW))


def test_an_event() -> None:
    client = FakeApi()
    assert record(events.Recorder(client), "w" * 5000)
    [(method, path, body, _)] = client.sent
    assert (method, path) == ("POST", EVENTS)
    assert body["metadata"]["name"].startswith("shop-api.") and body["metadata"]["namespace"] == "ns"
    assert body["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ns", "name": "shop-api", "uid": "u"
    }  # fmt: skip
    assert (body["count"], body["reason"], body["type"], len(body["message"])) == (1, "Held", "Normal", 1024)


def test_the_same_words_raise_a_count() -> None:
    client = FakeApi()
    recorder = events.Recorder(client)
    for _ in range(3):
        record(recorder)
    record(recorder, "other words")
    assert [method for method, _, _, _ in client.sent] == ["POST", "PATCH", "PATCH", "POST"]
    assert [body["count"] for method, _, body, _ in client.sent if method == "PATCH"] == [2, 3]
    assert client.sent[1][1] == f"{EVENTS}/{client.sent[0][2]['metadata']['name']}"


def test_an_event_that_expired_is_made_again() -> None:
    client = FakeApi()
    recorder = events.Recorder(client)
    record(recorder)
    client.refuse["PATCH", f"{EVENTS}/{client.sent[0][2]['metadata']['name']}"] = [GONE]
    assert record(recorder)
    assert [method for method, _, _, _ in client.sent] == ["POST", "PATCH", "POST"]


def test_an_event_from_before_a_restart_is_raised() -> None:
    client = FakeApi()
    client.refuse["POST", EVENTS] = [api.Conflict(409, "AlreadyExists", "exists")]
    assert record(events.Recorder(client))
    assert [method for method, _, _, _ in client.sent] == ["POST", "PATCH"]


@pytest.mark.parametrize("error", [FORBIDDEN, BROKEN, NO_ANSWER, GONE])
def test_an_event_that_cannot_be_written_is_dropped(error: Exception) -> None:
    client = FakeApi()
    client.refuse["POST", EVENTS] = [error]
    assert record(events.Recorder(client)) is False


def test_the_memory_of_events_is_bounded() -> None:
    recorder = events.Recorder(FakeApi())
    for number in range(events.REMEMBERED + 50):
        record(recorder, f"words {number}")
    assert len(recorder._counts) == events.REMEMBERED


# Reconciling ----------------------------------------------------------------------------------------------------------


def reconciler_of(client: FakeApi) -> reconciler.Reconciler:
    return reconciler.Reconciler(client, events.Recorder(client), make.POLICY, Metrics())


def told(client: FakeApi) -> list[str]:
    return [body["reason"] for method, path, body, _ in client.sent if method == "POST" and path == EVENTS]


def test_a_look_and_its_writes() -> None:
    client = cluster(migration(), deployment())
    assert run(reconciler_of(client).reconcile(KEY)) is None
    assert client.kinds()[:3] == [
        "PATCH schemahold.dev/v1alpha1/namespaces/ns/schemamigrations/shop",
        "PUT schemahold.dev/v1alpha1/namespaces/ns/schemamigrations/shop/status",
        "POST batch/v1/namespaces/ns/jobs",
    ]
    assert told(client) == ["Held", "Held", "MigrationStarted", "MigrationStarted"]


def test_a_conflict_ends_the_decision() -> None:
    client = cluster(migration(), deployment())
    client.refuse["PUT", f"{SHOP}/status"] = [CONFLICT]
    with pytest.raises(api.Conflict):
        run(reconciler_of(client).reconcile(KEY))
    assert JOBS not in [path for _, path, _, _ in client.sent] and told(client) == []


@pytest.mark.parametrize("error", [FORBIDDEN, BROKEN], ids=["refused", "a webhook that fails"])
def test_a_refused_job_is_told_in_status(error: api.ApiError) -> None:
    client = cluster(migration(), deployment())
    client.refuse["POST", JOBS] = [error]
    assert run(reconciler_of(client).reconcile(KEY)) == 0.0, "looked at again at once"
    written = [body["status"] for method, _, body, _ in client.sent if method == "PUT"]
    assert [(one["attempt"].get("reason", ""), "finishedAt" in one["attempt"]) for one in written] == [
        ("", False),
        ("JobRefused", False),
    ]
    text = written[1]["attempt"]["message"]
    assert "'shop-1'" in text and error.message.split(",")[0] in text and "hunter2" not in text
    assert "MigrationStarted" not in told(client)

    again = make.look(migration(status=written[1], finalizer=True), deployment())
    assert make.state(again) == ("busy", "JobRefused")
    ended = make.status_of(make.decided(again), again).attempt
    assert ended is not None and (ended.reason, ended.tries, ended.message) == ("JobRefused", 1, text)
    assert make.decided(again).requeue == 10


@pytest.mark.parametrize("error", [BUSY, NO_ANSWER, CONFLICT])
def test_a_job_whose_fate_is_open_is_no_refusal(error: Exception) -> None:
    client = cluster(migration(), deployment())
    client.refuse["POST", JOBS] = [error]
    with pytest.raises(type(error)):
        run(reconciler_of(client).reconcile(KEY))
    assert len([1 for method, _, _, _ in client.sent if method == "PUT"]) == 1


def test_a_refusal_of_anything_else_is_no_jobs_refusal() -> None:
    client = cluster(migration(status=make.status(attempt())), deployment(), jobs=[job()], pods=[make.pod_succeeded()])
    client.refuse["PUT", f"{SHOP}/status"] = [FORBIDDEN]
    with pytest.raises(api.ApiError, match="quota"):
        run(reconciler_of(client).reconcile(KEY))


def test_a_release_that_is_refused_hides_no_verdict() -> None:
    """Once everything stopped at the refused patch: status said Running for ever, and followers waited with it."""
    client = cluster(migration(status=make.status(attempt())), deployment(), jobs=[job()], pods=[make.pod_succeeded()])
    client.refuse["PATCH", f"{DEPLOYMENTS}/shop-api"] = [FORBIDDEN]
    assert run(reconciler_of(client).reconcile(KEY)) == steps.REFUSED_POLL
    assert "MigrationSucceeded" in told(client) and "Released" not in told(client)
    written = [body for method, path, body, _ in client.sent if (method, path) == ("PUT", f"{SHOP}/status")][-1]
    ready = next(one for one in written["status"]["conditions"] if one["type"] == "Ready")
    assert ready["reason"] == "ReleaseRefused"
    assert "shop-api" in ready["message"] and "quota" in ready["message"]


def test_a_release_comes_before_the_status_that_uses_it_up() -> None:
    client = cluster(migration(status=make.status(attempt())), deployment(), jobs=[job()], pods=[make.pod_succeeded()])
    run(reconciler_of(client).reconcile(KEY))
    assert [kind.split()[0] for kind in client.kinds()[:2]] == ["PATCH", "PUT"]
    assert told(client) == ["MigrationSucceeded"] * 2 + ["Released"] * 2


class Clock:
    """Patched in for ``datetime.datetime`` where the reconciler asks for the time."""

    def __init__(self) -> None:
        self.moment = make.NOW

    def now(self, _zone: Any) -> datetime.datetime:
        return self.moment


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    module = type("datetime", (), {"datetime": found, "UTC": datetime.UTC})
    monkeypatch.setattr(reconciler, "datetime", module)
    return found


def test_a_missing_resource_is_told_after_ten_seconds(clock: Clock) -> None:
    """A Deployment is applied a moment before its SchemaMigration."""
    client = cluster(None, deployment(), deployment("v1", "v1", name="free"))
    one = reconciler_of(client)
    assert run(one.reconcile(KEY)) == 10 and told(client) == []
    clock.moment = make.in_(4)
    assert run(one.reconcile(KEY)) == 6 and told(client) == []
    clock.moment = make.in_(10)
    assert run(one.reconcile(KEY)) is None
    assert told(client) == ["MigrationNotFound"]
    [(_, _, event, _)] = client.sent
    assert event["involvedObject"]["name"] == "shop-api"
    for word in ("'v2'", "schemahold.dev/migration: shop", "'ns'", "Create it"):
        assert word in event["message"]


@pytest.mark.parametrize("between", ["the resource came", "nothing is held"])
def test_a_resource_that_goes_missing_again_has_ten_seconds_again(clock: Clock, between: str) -> None:
    client = cluster(None, deployment())
    one = reconciler_of(client)
    run(one.reconcile(KEY))
    if between == "the resource came":
        client.objects[SHOP] = migration(suspend=True)
    else:
        client.lists[DEPLOYMENTS] = [deployment("v1", "v1")]
    clock.moment = make.in_(5)
    run(one.reconcile(KEY))
    client.objects, client.lists[DEPLOYMENTS] = {}, [deployment()]
    client.sent.clear()
    clock.moment = make.in_(20)
    assert run(one.reconcile(KEY)) == 10 and told(client) == []


def test_a_missing_resource_without_anything_held_is_nothing() -> None:
    client = cluster(None, deployment("v1", "v1"))
    assert run(reconciler_of(client).reconcile(KEY)) is None
    assert client.sent == []


# A worker -------------------------------------------------------------------------------------------------------------


def guarded(client: FakeApi) -> tuple[Metrics, list[str]]:
    """One turn of a worker; what it told the metrics, and what it did with the queue."""
    done: list[str] = []
    metrics = Metrics()
    one = reconciler.Reconciler(client, events.Recorder(client), make.POLICY, metrics)

    class Noted(Queue):
        def retry(self, key: Key) -> float:
            done.append("retry")
            return super().retry(key)

        def succeed(self, key: Key) -> None:
            done.append("succeed")

        def add_after(self, key: Key, seconds: float) -> None:
            done.append(f"again in {seconds:g}")

    async def turn() -> None:
        queue = Noted()
        await queue.add(KEY)
        worker = asyncio.create_task(one.work(queue))
        while not done or len(queue) or queue._working:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await queue.close()
        await worker

    run(turn())
    return metrics, done


def errors(metrics: Metrics, kind: str) -> float:
    return metrics.registry.get_sample_value("schemahold_errors_total", {"kind": kind}) or 0.0


@pytest.mark.parametrize(
    ("error", "kind"), [(CONFLICT, "conflict"), (BROKEN, "api"), (NO_ANSWER, "api"), (RuntimeError("bug"), "fault")]
)
def test_whatever_goes_wrong_the_key_comes_again(error: Exception, kind: str) -> None:
    client = cluster(migration(), deployment())
    client.refuse["PUT", f"{SHOP}/status"] = [error]
    metrics, done = guarded(client)
    assert done == ["retry", "again in 0.2"]
    assert errors(metrics, kind) == 1


def test_time_that_changes_a_decision_is_waited_for() -> None:
    client = cluster(migration(None), deployment("shop:2", "shop:1", follow=True))
    _, done = guarded(client)
    assert done[0] == "succeed" and done[1].startswith("again in ")
    _, done = guarded(cluster(migration(None)))
    assert done == ["succeed"]


def test_metrics_of_a_release() -> None:
    pods = [make.pod_ended(0, make.report(Reason.SUCCEEDED, lock_wait=1.5))]
    client = cluster(migration(status=make.status(attempt())), deployment(), jobs=[job()], pods=pods)
    metrics, _ = guarded(client)
    value = metrics.registry.get_sample_value
    assert value("schemahold_runs_total", {"outcome": "Applied"}) == 1
    assert value("schemahold_release_seconds_count") == 1
    assert value("schemahold_run_duration_seconds_sum") == 8
    assert value("schemahold_lock_wait_seconds_sum") == 1.5
    assert value("schemahold_held_deployments") == 0
    assert value("schemahold_api_writes_total", {"kind": "Release"}) == 1


def test_pods_of_a_deployment_that_is_being_deleted_count() -> None:
    """Its old pods run until they have ended: a contract that did not ask for them began beside them."""
    meta = {"name": "old", "uid": "u1", "creationTimestamp": make.ago(9), "annotations": {names.VERSION_ANNOTATION: "v1"}}
    app = {"metadata": meta, "spec": {"containers": []}}
    leaving = deployment("v2", "v2", name="worker")
    leaving["metadata"]["deletionTimestamp"] = make.ago(1)
    shop = migration(contract={"run": {"command": ["x"]}})
    for one in (leaving, staying := deployment("v2", "v2")):
        one["spec"]["selector"] = {"matchLabels": {"app": one["metadata"]["name"]}}
    client = cluster(shop, leaving, staying, pods=[app])
    seen = look(client)
    assert seen is not None and [one.name for one in seen.deployments] == ["shop-api"]
    asked = {query["labelSelector"] for _, path, query in client.asked if path == PODS}
    assert {"app=worker", "app=shop-api"} <= asked
    assert seen.app_pods == (observed.AppPod(name="old", version="v1", deleting=False),)
