"""The hold, as people meet it: kubectl as they type it, on a real API server with its real controllers."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster import hold_support as support
from tests.cluster.hold_support import ADMIN, APPROVER, EDITOR, Kubectl, Place, Reply, User

LABEL = "schemahold.dev/migration"
HPA = User("system:serviceaccount:kube-system:horizontal-pod-autoscaler", ("system:serviceaccounts",))

Json = dict[str, Any]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with support.prepared(support.connect(), "hold-stories") as made:
        yield made


@dataclass
class Shop:
    """One Deployment and those who write to it. Its version is the annotation's."""

    place: Place
    kubectl: Kubectl
    name: str

    def manifest(self, version: str, **spec: Any) -> Json:
        made = support.deployment(self.name, labels={LABEL: "shop"}, version=version)
        made["spec"].update(spec)
        return made

    def run(self, *words: str, user: User | None = EDITOR, stdin: Json | None = None, fails: bool = False) -> str:
        for _ in range(10):  # a controller may have written in between: then one types it again
            code, output = self.kubectl(*words, user=user, stdin=stdin)
            if "the object has been modified" not in output:
                break
        assert (code != 0) == fails, output
        return output

    def apply(self, version: str, *words: str, user: User = EDITOR, **spec: Any) -> str:
        return self.run("apply", "-f", "-", *words, user=user, stdin=self.manifest(version, **spec))

    def differs(self, *words: str) -> bool:
        """What `kubectl diff` says of version 1; a controller's status may be part of it for a moment."""
        return self.kubectl("diff", "-f", "-", *words, user=EDITOR, stdin=self.manifest("1"))[0] != 0

    def get(self) -> Json:
        return self.place.api.get(f"{self.place.deployments}/{self.name}")

    def annotations(self) -> dict[str, str]:
        """Ours, without the group."""
        found = self.get()["metadata"].get("annotations", {})
        return {key.partition("/")[2]: value for key, value in found.items() if key.startswith("schemahold.dev/")}

    def paused(self) -> bool:
        return bool(self.get()["spec"].get("paused", False))

    def assert_held(self, version: str, approved: str | None) -> None:
        wanted = {"held": version} | ({"approved": approved} if approved else {})
        assert self.paused()
        assert {key: self.annotations().get(key) for key in ("held", "approved")} == {"approved": None, **wanted}

    def assert_runs(self, version: str) -> None:
        assert not self.paused()
        found = self.annotations()
        assert (found.get("approved"), found.get("held")) == (version, None)

    def patch(self, patch: Any, *, user: User, kind: str = support.MERGE, status: bool = False) -> Reply:
        path = f"{self.place.deployments}/{self.name}{'/status' if status else ''}"
        return self.place.api.request("PATCH", path, patch, user=user, content_type=kind)

    def release(self, version: str) -> Reply:
        """As the operator does it."""
        held, approved = "/metadata/annotations/schemahold.dev~1held", "/metadata/annotations/schemahold.dev~1approved"
        patch = [
            {"op": "test", "path": held, "value": version},
            {"op": "add", "path": approved, "value": version},
            {"op": "remove", "path": held},
            {"op": "remove", "path": "/spec/paused"},
        ]
        return self.patch(patch, user=self.place.operator, kind=support.JSON_PATCH)

    def running(self, version: str) -> "Shop":
        self.apply(version)
        reply = self.release(version)
        assert reply.ok, reply.message
        self.assert_runs(version)
        self.settled()
        return self

    def settled(self) -> None:
        """The Deployment controller has seen the last write."""

        def seen() -> bool:
            found = self.get()
            observed = found.get("status", {}).get("observedGeneration")
            return bool(observed == found["metadata"]["generation"])

        support.until("the Deployment controller has seen it", seen)

    def rolled_out(self) -> list[str]:
        """The versions that have a ReplicaSet."""
        path = f"/apis/apps/v1/namespaces/{self.place.namespace}/replicasets?labelSelector=app%3D{self.name}"
        templates = [found["spec"]["template"] for found in self.place.api.get(path)["items"]]
        return sorted(template["metadata"]["annotations"]["schemahold.dev/version"] for template in templates)


numbers = itertools.count()


@pytest.fixture
def shop(place: Place) -> Shop:
    kubectl = Kubectl(support.kubectl_binary(), place.api.kubeconfig, place.namespace)
    return Shop(place, kubectl, f"shop-{next(numbers)}")


def test_the_policies_have_no_type_warnings(place: Place) -> None:
    def policies() -> list[Json]:
        return list(place.api.get(f"{support.ADMISSION}/validatingadmissionpolicies")["items"])

    def checked(policy: Json) -> bool:
        observed = policy.get("status", {}).get("observedGeneration")
        return bool(observed == policy["metadata"]["generation"])

    support.until("they are type-checked", lambda: all(checked(policy) for policy in policies()))
    results = [policy["status"].get("typeChecking", {}) for policy in policies()]
    assert [warning for result in results for warning in result.get("expressionWarnings", [])] == []


# New versions ---------------------------------------------------------------------------------------------------------


def test_first_apply_is_held_and_says_so(shop: Shop) -> None:
    output = shop.apply("1")
    assert "version '1' is held until SchemaMigration 'shop' has migrated to it" in output
    shop.assert_held("1", None)
    shop.settled()
    assert shop.rolled_out() == []


def test_new_version_has_no_replicaset_before_the_release(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    shop.settled()
    shop.assert_held("2", "1")
    assert shop.rolled_out() == ["1"]
    assert shop.release("2").ok
    shop.assert_runs("2")
    support.until("the new ReplicaSet is there", lambda: "2" in shop.rolled_out())


def test_server_side_apply(shop: Shop) -> None:
    shop.running("1")
    for _ in range(2):
        shop.apply("2", "--server-side", "--force-conflicts")
        shop.assert_held("2", "1")
    assert shop.release("2").ok
    shop.apply("2", "--server-side")  # no conflict: the release owns nothing that is applied
    shop.assert_runs("2")


@pytest.mark.parametrize("way", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_apply_again_is_no_change(shop: Shop, way: tuple[str, ...]) -> None:
    """Else Flux and Argo CD would apply for ever."""
    shop.apply("1", *way)
    for then in ("while held", "released"):
        before = shop.get()["metadata"]
        support.until("nothing differs", lambda: not shop.differs(*way))
        shop.apply("1", *way)
        assert shop.get()["metadata"]["generation"] == before["generation"], then
        if then == "while held":
            assert shop.release("1").ok


def test_replace(shop: Shop) -> None:
    """It drops every annotation and `paused`; admission puts ours back."""
    shop.running("1")
    shop.run("replace", "-f", "-", stdin=shop.manifest("2"))
    shop.assert_held("2", "1")
    shop.run("replace", "-f", "-", stdin=shop.manifest("2"))
    shop.assert_held("2", "1")
    shop.run("replace", "-f", "-", stdin=shop.manifest("1"))
    shop.assert_runs("1")


def test_set_image_without_a_version_annotation(shop: Shop) -> None:
    shop.apply("")
    assert shop.release("shop:1").ok
    assert "version 'shop:2' is held" in shop.run("set", "image", f"deployment/{shop.name}", "app=shop:2")
    shop.assert_held("shop:2", "shop:1")


def test_set_image_under_a_fixed_version_is_told(shop: Shop) -> None:
    shop.running("1")
    output = shop.run("set", "image", f"deployment/{shop.name}", "app=shop:2")
    assert "the image changed from 'shop:1' to 'shop:2' under the version '1'" in output
    shop.assert_runs("1")


def test_versions_coalesce_and_a_late_release_misses(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    shop.apply("3")
    late = shop.release("2")
    assert late.status == 422  # how the API server says that a JSON patch's `test` failed
    shop.assert_held("3", "1")


def test_a_digest_mutator_after_ours(shop: Shop) -> None:
    """Reinvocation: what is held is the image that is stored."""
    with Digests(shop.place, shop.name):
        shop.apply("")
        version = shop.get()["spec"]["template"]["spec"]["containers"][0]["image"]
        assert version.startswith("shop:1@sha256:")
        shop.assert_held(version, None)
        assert shop.release(version).ok
        shop.apply("")  # the tag again: the same digest, so nothing new
        shop.assert_runs(version)


class Digests:
    """A mutating policy of somebody else that comes after ours and writes digests."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.only = place, name
        self.policy = f"zz-digests-{place.namespace}"

    def __enter__(self) -> None:
        image = "/spec/template/spec/containers/0/image"
        read = "object.spec.template.spec.containers[0].image"
        digest = "0" * 64
        spec = {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments"],
                    }
                ]
            },
            "matchConditions": [
                {"name": "one", "expression": f"object.metadata.name == '{self.only}' && !{read}.contains('@')"}
            ],
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {
                        "expression": f"[JSONPatch{{op: 'replace', path: '{image}', value: {read} + '@sha256:{digest}'}}]"
                    },
                }
            ],
        }
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.place.namespace}}
        binding = {"policyName": self.policy, "matchResources": {"namespaceSelector": selector}}
        self._put("MutatingAdmissionPolicy", spec)
        self._put("MutatingAdmissionPolicyBinding", binding)
        support.until("digests are written", self._acts)

    def _acts(self) -> bool:
        probe = support.deployment(self.only)
        reply = self.place.api.request("POST", f"{self.place.deployments}?dryRun=All", probe)
        return "@" in json.dumps(reply.body.get("spec", {}))

    def _put(self, kind: str, spec: Json) -> None:
        api_version = "admissionregistration.k8s.io/v1"
        thing = {"apiVersion": api_version, "kind": kind, "metadata": {"name": self.policy}, "spec": spec}
        self.place.api.ensure(self._path(kind), thing)

    def _path(self, kind: str) -> str:
        return support.path_of({"kind": kind})

    def __exit__(self, *_: object) -> None:
        for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
            self.place.api.request("DELETE", f"{self._path(kind)}/{self.policy}")


# Rollbacks and restarts -----------------------------------------------------------------------------------------------


def test_rollback_by_apply_needs_no_operator(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    shop.apply("1")
    shop.assert_runs("1")


def test_undo_while_held_is_refused_by_kubectl(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    assert "paused" in shop.run("rollout", "undo", f"deployment/{shop.name}", "--to-revision=1", fails=True)
    shop.assert_held("2", "1")


def test_undo_after_the_release_is_held(shop: Shop) -> None:
    """It replaces every annotation by the old ReplicaSet's, `approved: 1` among them."""
    shop.running("1")
    shop.apply("2")
    assert shop.release("2").ok
    support.until("both ReplicaSets are there", lambda: shop.rolled_out() == ["1", "2"])
    shop.run("rollout", "undo", f"deployment/{shop.name}")
    shop.assert_held("1", "2")


def test_restart(shop: Shop) -> None:
    shop.running("1")
    shop.run("rollout", "restart", f"deployment/{shop.name}")
    shop.assert_runs("1")


# Pauses ---------------------------------------------------------------------------------------------------------------


def test_resume_while_held(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    for user in (EDITOR, ADMIN):
        shop.run("rollout", "resume", f"deployment/{shop.name}", user=user)
        shop.assert_held("2", "1")


def test_own_pause(shop: Shop) -> None:
    shop.running("1")
    shop.run("rollout", "pause", f"deployment/{shop.name}")
    assert "only you resume it" in shop.apply("2")
    assert shop.paused() and "held" not in shop.annotations()
    shop.run("rollout", "resume", f"deployment/{shop.name}")
    shop.assert_held("2", "1")


def test_own_pause_outlives_the_approval(shop: Shop) -> None:
    shop.running("1")
    shop.run("rollout", "pause", f"deployment/{shop.name}")
    shop.apply("2")
    approval = {"metadata": {"annotations": {"schemahold.dev/approved": "2"}}}
    assert shop.patch(approval, user=shop.place.operator).ok
    assert shop.paused() and shop.annotations()["approved"] == "2"
    shop.run("rollout", "resume", f"deployment/{shop.name}")
    shop.assert_runs("2")


@pytest.mark.parametrize("way", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_paused_false_in_the_manifest_is_told(shop: Shop, way: tuple[str, ...]) -> None:
    assert "spec.paused is in the manifest" in shop.apply("1", *way, paused=False)
    shop.assert_held("1", None)


# Scaling --------------------------------------------------------------------------------------------------------------


def test_scale_while_held(shop: Shop) -> None:
    shop.apply("1")
    shop.run("scale", f"deployment/{shop.name}", "--replicas=2")
    shop.assert_held("1", None)
    assert shop.get()["spec"]["replicas"] == 2


def test_the_autoscaler_s_scale_while_held(shop: Shop) -> None:
    shop.apply("1")
    path = f"{shop.place.deployments}/{shop.name}/scale"

    def scaled() -> bool:  # the Deployment controller may be faster, as it may be for the autoscaler
        scale = shop.place.api.get(path)
        return shop.place.api.request("PUT", path, {**scale, "spec": {"replicas": 3}}, user=HPA).ok

    support.until("it is scaled", scaled)
    shop.assert_held("1", None)
    assert shop.get()["spec"]["replicas"] == 3


# Forgeries ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [EDITOR, APPROVER, ADMIN], ids=["editor", "approver", "admin"])
def test_approved_by_hand(shop: Shop, user: User) -> None:
    shop.running("1")
    shop.apply("2")
    shop.run("annotate", f"deployment/{shop.name}", "schemahold.dev/approved=2", "--overwrite", user=user)
    shop.assert_held("2", "1")
    forged = {"metadata": {"annotations": {"schemahold.dev/approved": "2", "schemahold.dev/held": None}}}
    assert shop.patch({**forged, "spec": {"paused": None}}, user=user).ok
    shop.assert_held("2", "1")


@pytest.mark.parametrize("user", [EDITOR, ADMIN], ids=["editor", "admin"])
def test_annotations_do_not_move_in_a_status_write(shop: Shop, user: User) -> None:
    shop.running("1")
    shop.apply("2")
    forged = {"schemahold.dev/approved": "2", "schemahold.dev/held": None, "schemahold.dev/adopted": "1", "mine": "x"}
    assert shop.patch({"metadata": {"annotations": forged}}, user=user, status=True).ok
    shop.assert_held("2", "1")
    assert shop.get()["metadata"]["annotations"]["mine"] == "x"
    assert "adopted" not in shop.annotations()


def test_the_operator_approves_only_what_is_there(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    reply = shop.patch({"metadata": {"annotations": {"schemahold.dev/approved": "3"}}}, user=shop.place.operator)
    assert not reply.ok
    assert "['schemahold.dev/approved'] must be the version '2', not '3'" in reply.message


def test_failed_is_the_operator_s_word(shop: Shop) -> None:
    shop.apply("1")
    for user, stored in ((EDITOR, None), (shop.place.operator, "1")):
        assert shop.patch({"metadata": {"annotations": {"schemahold.dev/failed": "1"}}}, user=user).ok
        assert shop.annotations().get("failed") == stored
    shop.run("annotate", f"deployment/{shop.name}", "schemahold.dev/failed-")
    assert shop.annotations()["failed"] == "1"


# Exports --------------------------------------------------------------------------------------------------------------


def recreate(shop: Shop) -> None:
    export = shop.get()
    export["metadata"] = {key: export["metadata"].get(key) for key in ("name", "labels", "annotations")}
    export.pop("status")
    shop.run("delete", f"deployment/{shop.name}")
    shop.run("create", "-f", "-", stdin=export)


def test_recreated_from_an_export_of_what_ran(shop: Shop) -> None:
    shop.running("1")
    recreate(shop)
    shop.assert_held("1", None)


def test_recreated_from_an_export_made_while_held(shop: Shop) -> None:
    """Its `paused: true` is ours, not its user's: it must not stay for ever."""
    shop.running("1")
    shop.apply("2")
    recreate(shop)
    shop.assert_held("2", None)
    assert shop.release("2").ok
    shop.assert_runs("2")


# Break-glass ----------------------------------------------------------------------------------------------------------


def test_break_glass_without_the_verb(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    output = shop.run("annotate", f"deployment/{shop.name}", "schemahold.dev/break-glass=fire")
    assert "had no effect" in output
    shop.assert_held("2", "1")
    shop.run("rollout", "resume", f"deployment/{shop.name}", user=APPROVER)
    shop.assert_held("2", "1")  # a reason that was there already lets nothing through


def test_break_glass_with_the_reason_of_before(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    words = ("annotate", f"deployment/{shop.name}", "--overwrite")
    shop.run(*words, "schemahold.dev/break-glass=fire")  # by somebody without the verb
    told = "break-glass counts only when its reason is new"
    assert told in shop.run(*words, "schemahold.dev/break-glass=fire", user=ADMIN)
    shop.assert_held("2", "1")
    assert told not in shop.run(*words, "schemahold.dev/break-glass=fire, says the admin", user=ADMIN)
    shop.assert_runs("2")


@pytest.mark.parametrize("user", [APPROVER, ADMIN], ids=["approver", "admin"])
def test_break_glass_with_the_verb(shop: Shop, user: User) -> None:
    shop.running("1")
    shop.apply("2")
    shop.run("annotate", f"deployment/{shop.name}", "schemahold.dev/break-glass=fire", user=user)
    shop.assert_runs("2")
    assert shop.annotations()["break-glass-by"] == f"{user.name} 2"
    shop.apply("3")
    shop.assert_held("3", "2")


# Opting in and out ----------------------------------------------------------------------------------------------------


def test_label_on_what_runs_adopts_it(shop: Shop) -> None:
    manifest = shop.manifest("1")
    manifest["metadata"]["labels"] = {}
    shop.run("apply", "-f", "-", stdin=manifest)
    assert not shop.paused()
    shop.run("label", f"deployment/{shop.name}", f"{LABEL}=shop")
    shop.assert_runs("1")
    assert shop.annotations()["adopted"] == "1"
    shop.apply("2")
    shop.assert_held("2", "1")
    assert shop.annotations()["adopted"] == "1"


def test_label_off_what_runs(shop: Shop) -> None:
    shop.running("1")
    shop.run("label", f"deployment/{shop.name}", f"{LABEL}-")
    assert shop.annotations() == {} and not shop.paused()


def test_label_off_while_held_without_the_verb(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    output = shop.run("label", f"deployment/{shop.name}", f"{LABEL}-", fails=True)
    assert "must stay 'shop' while version '2' is held: roll back to version '1' first" in output
    assert "rollout resume" not in output
    shop.assert_held("2", "1")


def test_label_off_while_held_with_the_verb(shop: Shop) -> None:
    shop.running("1")
    shop.apply("2")
    output = shop.run("label", f"deployment/{shop.name}", f"{LABEL}-", user=APPROVER)
    assert f"kubectl rollout resume deployment/{shop.name}" in output
    assert shop.paused() and shop.annotations() == {}
    shop.run("rollout", "resume", f"deployment/{shop.name}")
    assert not shop.paused()


def test_label_off_together_with_a_rollback(shop: Shop) -> None:
    """The commit that brought both is reverted: nothing is held any more, so nobody is asked."""
    shop.running("1")
    shop.apply("2")
    manifest = shop.manifest("1")
    manifest["metadata"]["labels"] = {}
    shop.run("apply", "-f", "-", stdin=manifest)
    assert shop.annotations() == {} and not shop.paused()


def test_label_off_by_replace_with_the_verb_stays_paused(shop: Shop) -> None:
    shop.running("1")
    manifest = shop.manifest("2")
    shop.run("replace", "-f", "-", stdin=manifest)
    manifest["metadata"]["labels"] = {}
    shop.run("replace", "-f", "-", stdin=manifest, user=APPROVER)
    assert shop.paused() and shop.annotations() == {}


def test_label_corrected_while_held(shop: Shop) -> None:
    shop.apply("1")
    shop.run("label", f"deployment/{shop.name}", f"{LABEL}=other", "--overwrite")
    shop.assert_held("1", None)
    shop.run("label", f"deployment/{shop.name}", f"{LABEL}=shop", "--overwrite")
    assert shop.release("1").ok
    shop.assert_runs("1")


def test_without_the_label_it_is_none_of_ours(shop: Shop) -> None:
    manifest = shop.manifest("1")
    manifest["metadata"].update(labels={}, annotations={"schemahold.dev/approved": "x"})
    output = shop.run("apply", "-f", "-", stdin=manifest)
    assert "Warning" not in output
    assert shop.annotations() == {"approved": "x"} and not shop.paused()


# The operator ---------------------------------------------------------------------------------------------------------


def test_the_operator_s_probe(shop: Shop) -> None:
    reply = shop.place.api.request(
        "POST", f"{shop.place.deployments}?dryRun=All", shop.manifest("1"), user=shop.place.operator
    )
    assert reply.ok and reply.body["spec"]["paused"] and reply.warnings == ()


# Answers --------------------------------------------------------------------------------------------------------------

ANSWER = "schemahold.dev/answer"
ANSWERED_BY = "schemahold.dev/answered-by"


@pytest.fixture
def answers(place: Place) -> Iterator[str]:
    """The path of the SchemaMigration on which APPROVER has the verb."""
    path = f"{place.migrations}/{support.MIGRATION}"
    place.api.request("DELETE", path)
    support.until("it is gone", lambda: place.api.request("GET", path).status == 404)
    reply = place.api.request("POST", place.migrations, support.migration(support.MIGRATION), user=EDITOR)
    assert reply.ok, reply.message
    yield path
    place.api.request("DELETE", path)


def annotate(place: Place, path: str, user: User, **values: str | None) -> Reply:
    names = {"answer": ANSWER, "by": ANSWERED_BY, "other": "mine"}
    patch = {"metadata": {"annotations": {names[key]: value for key, value in values.items()}}}
    return place.api.request("PATCH", path, patch, user=user, content_type=support.MERGE)


def test_an_answer_with_the_verb_is_signed(place: Place, answers: str) -> None:
    reply = annotate(place, answers, APPROVER, answer="7 retry the pod was evicted", by="someone else")
    assert reply.ok, reply.message
    assert reply.body["metadata"]["annotations"][ANSWERED_BY] == APPROVER.name
    kept = annotate(place, answers, EDITOR, other="x", by="me").body["metadata"]["annotations"]
    assert kept[ANSWERED_BY] == APPROVER.name
    changed = annotate(place, answers, ADMIN, answer="7 applied looked by hand").body["metadata"]["annotations"]
    assert changed[ANSWERED_BY] == ADMIN.name
    gone = annotate(place, answers, EDITOR, answer=None)
    assert gone.ok and ANSWERED_BY not in gone.body["metadata"].get("annotations", {})


# Whole, so that an operator that happens to run here leaves it alone.
ENDED = {"number": 1, "job": "shop-1", "version": "1", "finishedAt": "2026-11-22T12:00:00Z"}
ASKED = {
    "nothing is known": ({}, False),
    "another end": ({"attempt": {**ENDED, "reason": "MigrationFailed"}}, False),
    "the row is known": ({"outcome": {"row": 7, "version": "1"}}, True),
    "the row is not known yet": ({"attempt": {**ENDED, "reason": "OutcomeUnknown"}}, True),
}


@pytest.mark.parametrize(("status", "asked"), ASKED.values(), ids=ASKED.keys())
def test_an_answer_that_nobody_asked_for_is_told(place: Place, answers: str, status: Json, asked: bool) -> None:
    kind = {"status": {"observedGeneration": 1, **status}}
    assert place.api.request("PATCH", f"{answers}/status", kind, user=ADMIN, content_type=support.MERGE).ok
    dry = f"{answers}?dryRun=All"
    told = [text for text in annotate(place, dry, ADMIN, answer="7 retry why").warnings if "no outcome is open" in text]
    assert len(told) == (not asked), told
    assert annotate(place, dry, ADMIN, other="x").warnings == ()


def test_an_answer_without_the_verb(place: Place, answers: str) -> None:
    reply = annotate(place, answers, EDITOR, answer="7 retry please")
    assert not reply.ok
    assert "ask someone with the verb 'approve' on SchemaMigration 'shop'" in reply.message
    assert annotate(place, answers, APPROVER, answer="7 retry please").ok
    assert not annotate(place, answers, EDITOR, answer="7 applied please").ok
    assert annotate(place, answers, EDITOR, answer="7 retry please", other="y").ok, "the same answer is no new one"


@pytest.mark.parametrize(
    "answer", ["yes", "7", "7 retry", "7 retry ", "retry 7 why", "7 Retry why", "7 retry why\nnot", f"7 retry {'x' * 249}"]
)
def test_an_answer_of_another_form(place: Place, answers: str, answer: str) -> None:
    reply = annotate(place, answers, ADMIN, answer=answer)
    assert not reply.ok and "must be '<row id> retry <reason>'" in reply.message


def test_an_answer_of_256_characters(place: Place, answers: str) -> None:
    assert annotate(place, answers, ADMIN, answer=f"7 retry {'x' * 248}").ok


def test_a_signature_without_an_answer(place: Place, answers: str) -> None:
    reply = annotate(place, answers, ADMIN, by="me")
    assert reply.ok and ANSWERED_BY not in reply.body["metadata"].get("annotations", {})


def test_created_with_an_answer(place: Place) -> None:
    thing = support.migration("shop-again", {ANSWER: "7 retry why", ANSWERED_BY: "me"})
    dry = f"{place.migrations}?dryRun=All"
    assert not place.api.request("POST", dry, thing, user=EDITOR).ok
    made = place.api.request("POST", dry, thing, user=ADMIN)
    assert made.ok and made.body["metadata"]["annotations"][ANSWERED_BY] == ADMIN.name
