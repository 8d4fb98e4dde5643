"""The script that runs in the user's container, on a real busybox; the test plays lock."""

from __future__ import annotations

import importlib.resources
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if pathlib.Path(path).exists()), None)
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="no busybox: apt-get install busybox-static")


def eventually(condition: Callable[[], object], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


def _as_a_container_is_started() -> None:
    """A shell's background job, or nohup, ignores these for all its children, and no trap could catch them then."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Script:
    """One run of the script, and the files that lock would read and write."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.shared = directory / "shared"
        self.shared.mkdir()
        assert BUSYBOX
        shutil.copy(BUSYBOX, self.shared / "busybox")
        script = importlib.resources.files("schemahold.runner").joinpath("migrate.sh").read_bytes()
        (self.shared / "migrate.sh").write_bytes(script)
        self.lock_writes("held", "PGAPPNAME=schemahold migrate ns/shop\n")
        self.processes: list[subprocess.Popen[bytes]] = []

    def lock_writes(self, name: str, text: str) -> None:
        (self.shared / f".{name}").write_text(text)
        (self.shared / f".{name}").rename(self.shared / name)

    def start(self, *command: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*prefix, str(self.shared / "busybox"), "sh", str(self.shared / "migrate.sh"), *command],
            env={"SCHEMAHOLD_SHARED": str(self.shared), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_as_a_container_is_started,
        )
        self.processes.append(process)
        return process

    def exists(self, name: str) -> bool:
        return (self.shared / name).exists()

    def take_ask(self) -> None:
        eventually(lambda: self.exists("ask"))
        (self.shared / "ask").rename(self.shared / "asked")

    def go(self) -> None:
        self.take_ask()
        self.lock_writes("go", "1\n")

    def record(self, state: str | None = None) -> str:
        """Wait for the exit code and record it as lock does; what the exit file said."""
        eventually(lambda: self.exists("exit"))
        code = (self.shared / "exit").read_text().strip()
        self.lock_writes("recorded", f"{state or ('succeeded' if code == '0' else 'failed')}\n{{}}\n")
        return code

    def run(self, *command: str, state: str | None = None, **environment: str) -> tuple[int, str, str]:
        process = self.start(*command, **environment)
        self.go()
        self.record(state)
        return self.end(process)

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=20)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def script(tmp_path: pathlib.Path) -> Iterator[Script]:
    made = Script(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def python(code: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", code)


# --- what the user's command sees -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 77, 126, 127, 137, 255])
def test_exit_code_and_output_are_the_commands(script: Script, code: int) -> None:
    assert script.run("/bin/sh", "-c", f"echo out; echo err >&2; exit {code}") == (code, "out\n", "err\n")
    assert (script.shared / "exit").read_text() == f"{code}\n"


def test_arguments_arrive_as_they_are(script: Script) -> None:
    arguments = ["a b", "", "*", "$HOME", "'", '"', "\\", "-n", "two\nlines", "ü"]
    code, out, _ = script.run(*python("import sys; print(sys.argv[1:])"), *arguments)
    assert (code, out) == (0, f"{arguments}\n")


def test_builtins_do_not_shadow_the_images_programs(script: Script, tmp_path: pathlib.Path) -> None:
    for name in ("test", "echo", "exit", "kill", "cat"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho image {name}\n")
        program.chmod(0o755)
    process = script.start("test", PATH=f"{tmp_path}:/bin:/usr/bin")
    script.go()
    script.record()
    assert script.end(process) == (0, "image test\n", "")


@pytest.mark.parametrize(("name", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_run_fails_as_in_a_shell(script: Script, name: str, code: int) -> None:
    got, out, err = script.run(name, PATH="/bin")
    assert (got, out) == (code, "")
    assert name in err


def test_pgappname_is_set_unless_the_user_has_set_it(script: Script) -> None:
    code = "import os; print(os.environ.get('PGAPPNAME'), os.environ.get('PGOPTIONS'))"
    assert script.run(*python(code))[1] == "schemahold migrate ns/shop None\n"


def test_users_pgappname_stays(script: Script) -> None:
    code = "import os; print(os.environ.get('PGAPPNAME'))"
    assert script.run(*python(code), PGAPPNAME="mine")[1] == "mine\n"


def test_pgoptions_follow_the_users(script: Script) -> None:
    script.lock_writes("held", "PGOPTIONS=-c search_path=a,\\ b\n")
    code = "import os; print(os.environ.get('PGOPTIONS'))"
    assert script.run(*python(code), PGOPTIONS="-c x=1")[1] == "-c x=1 -c search_path=a,\\ b\n"


def test_nothing_but_busybox_is_needed(script: Script) -> None:
    # No PATH, no HOME; a strict umask; the command itself is the only other program.
    process = subprocess.Popen(
        [str(script.shared / "busybox"), "sh", "-c",
         f"umask 077; exec {script.shared}/busybox sh {script.shared}/migrate.sh {script.shared}/busybox true"],
        env={"SCHEMAHOLD_SHARED": str(script.shared), "PATH": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    script.processes.append(process)
    script.go()
    eventually(lambda: script.exists("exit"))
    assert (script.shared / "exit").stat().st_mode & 0o777 == 0o644
    script.record()
    assert script.end(process) == (0, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_any_uid(script: Script, tmp_path: pathlib.Path) -> None:
    for parent in [script.shared, *script.shared.parents]:
        if parent == pathlib.Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o755)
    script.shared.chmod(0o777)
    process = script.start("/usr/bin/id", "-u", prefix=("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"))
    script.go()
    script.record()
    assert script.end(process) == (0, "4711\n", "")


# --- before the start -------------------------------------------------------------------------------------------------


def test_the_command_does_not_start_before_go(script: Script, tmp_path: pathlib.Path) -> None:
    process = script.start("/bin/touch", str(tmp_path / "ran"))
    script.take_ask()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert not (tmp_path / "ran").exists()
    script.lock_writes("go", "1\n")
    script.record()
    assert script.end(process)[0] == 0
    assert (tmp_path / "ran").exists()


def test_refused(script: Script, tmp_path: pathlib.Path) -> None:
    process = script.start("/bin/touch", str(tmp_path / "ran"))
    script.take_ask()
    script.lock_writes("refused", 'AlreadyApplied: version 1 is \\ "there"\n{"reason": "AlreadyApplied"}\n')
    code, out, err = script.end(process)
    assert (code, out) == (79, "")
    assert err.startswith("schemahold: not started: AlreadyApplied: version 1 is")
    assert not (tmp_path / "ran").exists()


def test_second_run_in_one_pod_does_nothing(script: Script, tmp_path: pathlib.Path) -> None:
    first = script.start("/bin/sh", "-c", f"while [ ! -e {tmp_path}/done ]; do /bin/sleep 0.02; done; exit 4")
    script.go()
    eventually(lambda: script.exists("go"))
    code, _, err = script.end(script.start("/bin/touch", str(tmp_path / "ran")))
    assert (code, (tmp_path / "ran").exists()) == (79, False)
    assert "has run before" in err
    assert not script.exists("exit"), "the first run's exit code is still to come"
    (tmp_path / "done").touch()
    assert script.record() == "4"
    assert script.end(first)[0] == 4


def test_sigterm_before_lock_has_taken_the_ask(script: Script, tmp_path: pathlib.Path) -> None:
    process = script.start("/bin/touch", str(tmp_path / "ran"))
    eventually(lambda: script.exists("ask"))
    process.send_signal(signal.SIGTERM)
    assert script.end(process)[0] == 79
    assert script.exists("withdrawn")
    assert not script.exists("ask")
    assert not script.exists("exit")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("word", ["go", "refused"])
def test_sigterm_after_lock_has_taken_the_ask(script: Script, tmp_path: pathlib.Path, word: str) -> None:
    process = script.start("/bin/touch", str(tmp_path / "ran"))
    script.take_ask()
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.4)  # it can no longer withdraw: lock's word counts
    script.lock_writes(word, "1\n")
    assert script.end(process)[0] == 79
    assert not (tmp_path / "ran").exists()
    assert script.exists("exit") == (word == "go")
    if word == "go":
        assert (script.shared / "exit").read_text() == "withdrawn\n"


def test_a_read_only_shared_directory_starts_nothing(script: Script, tmp_path: pathlib.Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    script.shared.chmod(0o555)
    assert script.end(script.start("/bin/touch", str(tmp_path / "ran")))[0] == 79


# --- signals during the run -------------------------------------------------------------------------------------------

HANDLER = "import signal, sys, time; signal.signal({}, lambda *_: sys.exit({})); print('ready', flush=True); time.sleep(60)"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_signals_are_forwarded(script: Script, name: str) -> None:
    process = script.start(*python(HANDLER.format(f"signal.{name}", 33)))
    script.go()
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, name))
    assert script.record() == "33"
    assert script.end(process)[0] == 33


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", 143), ("SIGINT", 143), ("SIGQUIT", 143), ("SIGHUP", 129)])
def test_a_command_without_handlers_ends_as_well(script: Script, sent: str, code: int) -> None:
    # A shell lets its background children ignore INT and QUIT; an image with STOPSIGNAL SIGINT must still end in time.
    process = script.start("/bin/sh", "-c", "echo ready; exec /bin/sleep 60")
    script.go()
    assert process.stdout and process.stdout.readline() == b"ready\n"
    eventually(lambda: _name_of_child(process.pid) == "sleep")
    process.send_signal(getattr(signal, sent))
    assert script.record() == str(code)
    assert script.end(process)[0] == code


def _name_of_child(parent: int) -> str:
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return pathlib.Path(f"/proc/{children[0]}/comm").read_text().strip() if children else ""


def test_a_command_that_finishes_its_work_after_sigterm_succeeds(script: Script) -> None:
    code = (
        "import signal, time; got = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: got.append(1)); print('ready', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3)"
    )
    process = script.start(*python(code))
    script.go()
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert script.record() == "0"
    assert script.end(process)[0] == 0


def test_many_signals_lose_no_exit_code(script: Script) -> None:
    # wait is interrupted by every trapped signal, at worst in the moment in which the child ends.
    process = script.start("/bin/sh", "-c", "trap '' USR1; echo ready; /bin/sleep 1; exit 42")
    script.go()
    assert process.stdout and process.stdout.readline() == b"ready\n"
    while not script.exists("exit"):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.0005)
    assert script.record() == "42"
    assert script.end(process)[0] == 42


def test_sigterm_while_waiting_for_the_record_changes_nothing(script: Script) -> None:
    process = script.start("/bin/true")
    script.go()
    eventually(lambda: script.exists("exit"))
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.4)
    script.record()
    assert script.end(process)[0] == 0


# --- the outcome ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["unknown", "superseded", "failed", ""])
def test_zero_that_is_not_recorded_as_succeeded_is_79(script: Script, state: str) -> None:
    code, out, err = script.run("/bin/sh", "-c", "echo out", state=state or " ")
    assert (code, out) == (79, "out\n")
    assert err.startswith("schemahold: the command ended with 0, but the ledger says")


def test_another_code_stays_whatever_the_ledger_says(script: Script) -> None:
    assert script.run("/bin/sh", "-c", "exit 5", state="unknown")[0] == 5


def test_it_waits_for_the_record(script: Script) -> None:
    process = script.start("/bin/true")
    script.go()
    eventually(lambda: script.exists("exit"))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    script.record()
    assert script.end(process)[0] == 0


def test_orphans_of_the_command_are_reaped(script: Script) -> None:
    # As the first process of its own pid namespace: what the command leaves behind becomes the script's child.
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rpf", "/bin/true"], capture_output=True).returncode != 0:
        pytest.skip("this machine allows no new pid namespace")
    look = (
        "import os, time; time.sleep(0.5)\n"
        "print([p for p in os.listdir('/proc') if p.isdigit() and open(f'/proc/{p}/stat').read().split()[2] == 'Z'])"
    )
    command = ("/bin/sh", "-c", f'(/bin/sh -c "/bin/true &"); exec {sys.executable} -c "{look}"')
    process = script.start(*command, prefix=(unshare, "-rpf", "--mount-proc"))
    script.go()
    assert script.record() == "0"
    code, out, _ = script.end(process)
    assert (code, out) == (0, "[]\n")
