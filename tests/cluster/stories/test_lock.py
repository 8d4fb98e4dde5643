"""The database's lock: who has it is named, waiting is bounded, and no two migrations of a database run at once."""

from __future__ import annotations

import dataclasses
import datetime
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from schemahold.database import lock
from tests.cluster.stories.stage import DATABASES, Json, Stage, deployment, filmed, migration, shop

OK = ("/no-shell", "exit", "0")
# Also how long an unreachable database is tried: a busy machine needs some seconds to connect.
SHORT = {"lock": {"timeout": "5s"}}
OTHER_TOOL = "nightly-report"
# Begins, and ends when the story says so: nothing depends on how long anything takes.
UNTIL_TOLD = (
    "python",
    "-c",
    "import time\n"
    "import psycopg\n"
    "from shop import database, journal\n"
    # The shop gives up after 3 s, which a busy machine may need.
    "database.connect = lambda: psycopg.connect(database.url(), autocommit=True, connect_timeout=60)\n"
    "journal.write('start')\n"
    "with database.connect() as connection:\n"
    "    while not connection.execute(\"SELECT 1 FROM journal WHERE event = 'go on'\").fetchone():\n"
    "        time.sleep(0.1)\n"
    "journal.write('end')\n",
)


@dataclasses.dataclass(frozen=True)
class Session:
    """Somebody else's session that holds the key."""

    here: Stage
    pid: int

    def let_go(self) -> None:
        self.here.sql(f"select pg_terminate_backend({self.pid})")


@contextmanager
def holding(here: Stage, key: int) -> Iterator[Session]:
    """psql as the database's own role, as another tool of the same team would be."""
    login = [f"PGPASSWORD={here.database}", f"PGAPPNAME={OTHER_TOOL}"]
    psql = ["psql", "-h", "127.0.0.1", "-U", here.database, "-d", here.database, "-v", "ON_ERROR_STOP=1"]
    hold = ["-c", f"select pg_advisory_lock({key})", "-c", "select pg_sleep(600)"]
    there = [here.kubectl.binary, f"--kubeconfig={here.kubectl.kubeconfig}", f"--namespace={DATABASES}"]
    words = [*there, "exec", "deploy/postgres", "--", "env", *login, *psql, *hold]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        found = f"select pid from pg_stat_activity where application_name = '{OTHER_TOOL}' and query like '%pg_sleep%'"
        pid = 0
        try:
            pid = int(
                here.until("the other session holds the key", lambda: here.sql(f"{found} and datname = current_database()"))
            )
            yield Session(here, pid)
        finally:
            if pid:
                Session(here, pid).let_go()
            process.terminate()


# Somebody else has the lock


def test_timeout_names_the_holder_and_is_retried(here: Stage) -> None:
    with holding(here, lock.key("")) as holder, filmed(here, "schemamigrations", "pods") as film:
        here.apply(deployment("v1"), migration("v1", OK, retries=1, **SHORT))
        here.until("it has given up", lambda: here.condition("Stalled"))

        stalled = here.condition("Stalled")
        assert stalled["reason"] == "LockTimeout"
        for part in (f"pid {holder.pid}", f"'{OTHER_TOOL}'", "spec.lock.timeout", "Tried 2 times", "`spec.retries`: 1"):
            assert part in stalled["message"], stalled
        attempt = here.status()["attempt"]
        assert (attempt["number"], attempt["tries"], attempt["reason"]) == (2, 2, "LockTimeout")
        assert "exitCode" not in attempt

        between = [tried for one in film.states("schemamigrations") if (tried := _waits_to_retry(one))]
        assert between == sorted(between) and set(between) == {1}, "attempts are counted while it goes on"
        assert not _migrate_ran(film.states("pods")), here.describe("shop")
    assert here.ledger() == []
    assert here.is_held()
    here.until("the Deployment says it too", lambda: here.annotation("failed") == "v1")
    for pod in here.attempt_pods():
        assert _lock_wait(pod) < 30, "it fails fast"


def _waits_to_retry(one: Json) -> int:
    """How many tries a state between two attempts shows, 0 for other states."""
    status = one.get("status") or {}
    going_on = [each for each in status.get("conditions") or [] if each["type"] == "Reconciling"]
    if not going_on or going_on[0]["reason"] != "LockTimeout":
        return 0
    assert OTHER_TOOL in going_on[0]["message"], going_on
    assert "next attempt follows" in going_on[0]["message"], going_on
    return int(status["attempt"]["tries"])


def _migrate_ran(pods: Sequence[Json]) -> bool:
    found = [one for pod in pods for one in pod["status"].get("containerStatuses") or []]
    return any(one["name"] == "migrate" and "waiting" not in one["state"] for one in found)


def _lock_wait(pod: Json) -> float:
    """From gate's start to its end."""
    [gate] = [one for one in pod["status"]["initContainerStatuses"] if one["name"] == "gate"]
    ended = gate["state"]["terminated"]
    return (_time(ended["finishedAt"]) - _time(ended["startedAt"])).total_seconds()


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_goes_through_at_a_later_attempt(here: Stage) -> None:
    with holding(here, lock.key("")) as holder:
        here.apply(deployment("v1"), migration("v1", OK, retries=50, **SHORT))
        here.until("the second attempt", lambda: (here.status().get("attempt") or {}).get("number", 0) >= 2)
        assert here.is_held()
        holder.let_go()
        here.await_reason("Applied")
    here.await_rollout("v1")
    [row] = here.ledger()
    assert row["state"] == "succeeded"
    assert row["attempt"] == here.status()["attempt"]["number"] >= 2


def test_goes_through_at_the_first_attempt(here: Stage) -> None:
    """Whoever lets go within `lock.timeout` has cost nothing but time."""
    with holding(here, lock.key("")) as holder:
        here.apply(deployment("v1"), migration("v1", OK, lock={"timeout": "5m"}))
        here.until("gate says whom it waits for", lambda: f"pid {holder.pid}" in _log(here, "shop", "gate"))
        assert here.reason() == "WaitingForLock"
        assert here.is_held() and here.ledger() == []
        holder.let_go()
        here.await_reason("Applied")
    assert len(here.jobs()) == 1
    here.await_rollout("v1")


def _log(here: Stage, name: str, container: str) -> str:
    """Of the newest attempt's pod, "" as long as there is none."""
    pods = here.attempt_pods(name)
    if not pods:
        return ""
    newest = max(pods, key=lambda pod: int(pod["metadata"]["labels"]["schemahold.dev/attempt"]))
    code, said = here.kubectl("logs", newest["metadata"]["name"], "-c", container)
    return said if code == 0 else ""


def test_no_retries(here: Stage) -> None:
    """`retries: 0` stops at once, and only a person's word goes on."""
    with holding(here, lock.key("")) as holder:
        here.apply(deployment("v1"), migration("v1", OK, retries=0, **SHORT))
        here.until("it has given up", lambda: here.condition("Stalled"))
        assert here.condition("Stalled")["reason"] == "LockTimeout"
        assert f"pid {holder.pid}" in here.condition("Stalled")["message"]
        assert len(here.jobs()) == 1
    here.run("annotate", "schemamigration/shop", "somebody=looks")  # so that the operator looks again
    here.steadily("nothing goes on by itself", lambda: len(here.jobs()) == 1 and here.is_held())
    here.annotate("schemamigration/shop", retry_at="the report is done")
    here.await_reason("Applied")
    here.await_rollout("v1")


def test_another_lock_name_is_another_lock(here: Stage) -> None:
    """Who holds the default key does not stop a migration with a name of its own, and the other way round."""
    reporting = {"timeout": "5s", "name": "reporting"}
    with holding(here, lock.key("")):
        here.apply(deployment("v1"), migration("v1", OK, lock=reporting))
        here.await_reason("Applied")
    with holding(here, lock.key("reporting")) as holder:
        here.apply(deployment("v2"), migration("v2", OK, lock=reporting, retries=0))
        here.until("it has given up", lambda: here.condition("Stalled"))
        assert here.condition("Stalled")["reason"] == "LockTimeout"
        assert f"pid {holder.pid}" in here.condition("Stalled")["message"]


# Two migrations on one database


def _begin(here: Stage, name: str, secret: str = "shop-db", lock_name: str = "") -> None:
    """A SchemaMigration and its Deployment; its migrate writes `journal` as `name`."""
    made = shop("v1", name=f"{name}-api", migration=name, env={"JOURNAL_WHO": name})
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["env"][0]["valueFrom"]["secretKeyRef"]["name"] = secret
    database = {"urlFrom": {"secretKeyRef": {"name": secret, "key": "url"}}}
    settings = {"timeout": "5m", "name": lock_name}
    here.apply(made, migration("v1", UNTIL_TOLD, name=name, database=database, lock=settings))


def _started(here: Stage) -> list[str]:
    return [row["who"] for row in here.starts()]


def _go_on(here: Stage) -> None:
    here.sql("insert into journal (who, event) values ('the story', 'go on')")


def _finish(here: Stage) -> None:
    for name in ("one", "two"):
        here.await_reason("Applied", name=name)
        here.await_rollout("v1", f"{name}-api")
        assert len(here.jobs(name)) == 1


def _intervals(here: Stage) -> dict[str, tuple[str, str]]:
    """When each migrate began and ended, as it wrote itself."""
    found: dict[str, dict[str, str]] = {}
    for row in here.rows("select * from journal order by id"):
        found.setdefault(row["who"], {})[row["event"]] = row["at"]
    return {who: (events["start"], events["end"]) for who, events in found.items() if "start" in events}


def _overlap(here: Stage) -> bool:
    intervals = _intervals(here)
    assert set(intervals) == {"one", "two"}, intervals
    (begin_one, end_one), (begin_two, end_two) = intervals["one"], intervals["two"]
    return begin_one < end_two and begin_two < end_one


def test_one_secret_never_overlap(here: Stage) -> None:
    """The operator sees that both mean the same database: the second has no Job yet."""
    _begin(here, "one")
    here.until("the first runs", lambda: _started(here) == ["one"], name="one")
    _begin(here, "two")
    here.until("the second waits", lambda: here.reason("two") == "WaitingForLock", name="two")
    assert re.search(r"Job 'one-1' .*same database", here.condition("Ready", "two")["message"])
    here.steadily("only one has begun", lambda: _started(here) == ["one"] and here.jobs("two") == [])
    _go_on(here)
    _finish(here)
    assert not _overlap(here), _intervals(here)


def test_two_secrets_never_overlap(here: Stage) -> None:
    """Only the database knows that both mean the same: the second's pod waits there."""
    here.apply(here.secret("other-db"))
    _begin(here, "one")
    here.until("the first runs", lambda: _started(here) == ["one"], name="one")
    _begin(here, "two", secret="other-db")
    ours = f"{lock.APPLICATION}{here.namespace}/one"[:63]
    here.until("the second's gate names the first", lambda: ours in _log(here, "two", "gate"), name="two")
    here.steadily("only one has begun", lambda: _started(here) == ["one"])
    assert [row["state"] for row in here.ledger()] == ["running"]
    _go_on(here)
    _finish(here)
    assert not _overlap(here), _intervals(here)


def test_two_secrets_at_the_same_moment(here: Stage) -> None:
    """Nobody is first: whoever gets the lock runs, and the other one after it."""
    here.apply(here.secret("other-db"))
    _begin(here, "one")
    _begin(here, "two", secret="other-db")
    here.until("one of them runs", lambda: _started(here), name="one")
    [first] = _started(here)
    second = {"one": "two", "two": "one"}[first]
    ours = f"{lock.APPLICATION}{here.namespace}/{first}"[:63]
    here.until("the other's gate names it", lambda: ours in _log(here, second, "gate"), name=second)
    _go_on(here)
    _finish(here)
    assert not _overlap(here), _intervals(here)


def test_waiting_for_one_of_ours_is_no_failure(here: Stage) -> None:
    """A lock timeout against a migration that is alive costs none of `spec.retries`."""
    here.apply(here.secret("other-db"))
    _begin(here, "one")
    here.until("the first runs", lambda: _started(here) == ["one"], name="one")
    other = {"urlFrom": {"secretKeyRef": {"name": "other-db", "key": "url"}}}
    made = deployment("v1", name="two-api", migration="two")
    here.apply(made, migration("v1", OK, name="two", database=other, retries=0, **SHORT))
    here.until("it has tried twice", lambda: (here.status("two").get("attempt") or {}).get("number", 0) >= 2, name="two")
    assert here.status("two")["attempt"].get("tries", 0) == 0
    assert not here.condition("Stalled", "two")
    _go_on(here)
    here.await_reason("Applied", name="two")
    here.await_reason("Applied", name="one")


def test_lock_names_may_overlap(here: Stage) -> None:
    here.apply(here.secret("other-db"))
    _begin(here, "one", lock_name="orders")
    _begin(here, "two", secret="other-db", lock_name="reports")
    here.until("both run at once", lambda: sorted(_started(here)) == ["one", "two"], name="two")
    assert [row["state"] for row in here.ledger()] == ["running", "running"]
    _go_on(here)
    _finish(here)
    assert _overlap(here), _intervals(here)
