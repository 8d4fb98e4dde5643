"""The local cluster is somebody's work: what may remove it, what may not, and what is said before."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.local import cluster, components, credentials, health, leftovers, packages, processes
from tests.cluster.local.failure import Failure
from tests.cluster.local.layout import Layout

TOKEN = "the-admins"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A cluster that was finished, with credentials, whose processes live."""
    monkeypatch.setattr(packages, "need_root", lambda: None)
    monkeypatch.setattr(packages, "ensure", lambda names: None)
    monkeypatch.setattr(processes, "dead", lambda *_: [])
    made = Layout(tmp_path)
    made.credentials.mkdir(parents=True)
    rows = ("ours,system:node:node,kubelet,system:nodes", f"{TOKEN},admin,admin,system:masters")
    (made.credentials / "tokens.csv").write_text("\n".join(rows))
    (made.credentials / "ca.crt").write_text("authority")
    credentials.ensure_kubeconfig(made)
    _stamp(made)
    return made


def _stamp(layout: Layout) -> None:
    (layout.folder / "stamp").write_text(json.dumps(health.identity(layout)))


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was removed and made, instead of doing it."""
    done: list[str] = []
    monkeypatch.setattr(leftovers, "clear", lambda _: done.append("removed") or 0)
    monkeypatch.setattr(cluster, "_create", lambda _: done.append("made"))
    monkeypatch.setattr(cluster.binaries, "ensure", lambda: done.append("built"))
    monkeypatch.setattr(cluster.tunables, "remember", lambda: None)
    return done


class Answers:
    """What the API server says, path by path; ``seen``: the tokens that it was shown."""

    def __init__(self) -> None:
        ready = {"status": {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "Available")]}}
        self.readyz = (200, "ok")
        self.objects = (200, json.dumps(ready))
        self.seen: set[str] = set()


@pytest.fixture
def answers(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    said = Answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.seen.add(self.headers["Authorization"])
            code, body = said.readyz if self.path == "/readyz" else said.objects
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    monkeypatch.setattr(Layout, "server", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("ssl.create_default_context", lambda **_: None)
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    yield said
    server.shutdown()
    server.server_close()


def test_bug_kubectl_writes_the_kubeconfig_anew(layout: Layout, answers: Answers, removed: list[str]) -> None:
    """As YAML: the token was looked for in it as JSON, the look failed, and `up` wiped the cluster."""
    content = json.loads(layout.kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = "x"
    layout.kubeconfig.write_text(yaml.safe_dump(content))
    assert health.ailment(layout) == ""
    cluster.up(layout)
    assert removed == []
    assert answers.seen == {f"Bearer {TOKEN}"}
    assert yaml.safe_load(layout.kubeconfig.read_text()) == content, "it is the user's"


def test_a_lost_kubeconfig_is_written_again(layout: Layout, answers: Answers, removed: list[str]) -> None:
    layout.kubeconfig.unlink()
    cluster.up(layout)
    assert removed == []
    content = json.loads(layout.kubeconfig.read_text())
    assert content["users"] == [{"name": "admin", "user": {"token": TOKEN}}]
    assert content["clusters"][0]["cluster"]["server"] == layout.server


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (401, '{"message": "Unauthorized"}', "401 Unauthorized"),
        (500, "[+]ping ok\n[-]etcd failed: reason withheld\n", "500 [-]etcd failed: reason withheld"),
        (200, "not ok", "'not ok'"),
        (403, "[]", "403 Forbidden"),
    ],
)
def test_a_look_that_fails_never_removes_it(
    layout: Layout, answers: Answers, removed: list[str], code: int, said: str, words: str
) -> None:
    answers.readyz = (code, said)
    with pytest.raises(Failure) as failure:
        cluster.up(layout)
    assert removed == []
    for part in ("the API server is not ready", words, "stays as it is", "`make cluster-down` removes it"):
        assert part in str(failure.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("", "no token for admin"), ("one,two", "values to unpack")]
)
def test_nor_does_a_spoilt_file(
    layout: Layout, answers: Answers, removed: list[str], content: str | None, words: str
) -> None:
    path = layout.credentials / "tokens.csv"
    path.write_text(content) if content is not None else path.unlink()
    with pytest.raises(Failure, match=rf"the API server is not ready .*{words}"):
        cluster.up(layout)
    assert removed == []


def test_nor_does_silence(layout: Layout, answers: Answers, removed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setattr(Layout, "server", f"http://127.0.0.1:{port}")
    with pytest.raises(Failure, match=rf"127.0.0.1:{port}/readyz: .*Connection refused"):
        cluster.up(layout)
    assert removed == []


def test_a_look_is_repeated(
    layout: Layout, answers: Answers, removed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    answers.objects = (404, json.dumps({"message": 'nodes "node" not found'}))
    cluster.PATIENCE = 20.0  # put back by the fixture
    threading.Timer(0.3, lambda: setattr(answers, "objects", Answers().objects)).start()
    cluster.up(layout)
    assert removed == []
    assert 'the node is not ready (/api/v1/nodes/node: 404 nodes "node" not found): looking again' in capsys.readouterr().err


@pytest.mark.parametrize("body", ["", "[]", "{", '{"status": null}', '{"status": {"conditions": null}}'])
def test_no_answer_breaks_a_look(layout: Layout, answers: Answers, body: str) -> None:
    answers.objects = (200, body)
    assert health.unready(layout).startswith("the node is not ready (")


def test_what_a_condition_says_is_told(layout: Layout, answers: Answers) -> None:
    condition = {"type": "Ready", "status": "False", "message": "container runtime is down"}
    answers.objects = (200, json.dumps({"status": {"conditions": [condition]}}))
    assert health.unready(layout) == "the node is not ready (Ready is False: container runtime is down)"


def test_where_the_cache_is_does_not_count(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = components.commands(layout)
    monkeypatch.setenv("SCHEMAHOLD_CACHE", str(tmp_path / "elsewhere"))
    assert components.commands(layout) != before
    assert health.flaw(layout) == ""


def test_a_version_counts(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = health.binaries.identity
    monkeypatch.setattr(health.binaries, "identity", lambda name: "etcd-newer" if name == "etcd" else identity(name))
    assert health.flaw(layout) == "it was started with other settings or versions (etcd)"


def test_settings_count(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    files = health.settings.files
    monkeypatch.setattr(health.settings, "files", lambda *words: {**files(*words), "kubelet.json": "{}"})
    flags = components._etcd
    monkeypatch.setattr(components, "_etcd", lambda it: {**flags(it), "log-level": "debug"})
    assert health.flaw(layout) == "it was started with other settings or versions (etcd, kubelet.json)"


@pytest.mark.parametrize("stamp", ["4623e20bb9721e95", "4623820119721195", "", "[1]"])
def test_a_stamp_of_an_older_checkout(layout: Layout, stamp: str) -> None:
    (layout.folder / "stamp").write_text(stamp)
    assert health.flaw(layout) == "it was started with other settings or versions (by an older checkout)"


def test_replacing_says_so_and_why(
    layout: Layout, removed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "dead", lambda *_: ["etcd"])
    cluster.up(layout)
    assert removed == ["built", "removed", "made"], "what can fail comes before what is lost"
    [line] = [line for line in capsys.readouterr().err.splitlines() if "removing" in line]
    assert "with all that is in it, to start a new one: not running: etcd" in line


def test_unfinished_is_replaced(layout: Layout, removed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (layout.folder / "stamp").unlink()
    cluster.up(layout)
    assert removed == ["built", "removed", "made"]
    assert "it was never finished" in capsys.readouterr().err


def test_one_at_a_time_whatever_the_cache(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with cluster._alone(layout):
            entered.set()

    with cluster._alone(layout):
        monkeypatch.setenv("SCHEMAHOLD_CACHE", str(tmp_path / "elsewhere"))
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(5)
    assert entered.is_set()
