"""Squawk's opinion beside our own: a second pair of eyes, whose findings are warnings.

It runs as a subprocess on copies of the files, without network, with a configuration of its own, so that no ``.squawk.toml``
above the working directory counts, and with its ignoring comments taken out: an override of ours has a reason, and counts.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from schemahold.core.sql.model import Class, Finding, Severity

MISSING = "squawk is not installed, so its advice is missing: pip install 'schemahold[lint]', or --no-advice"
TIMEOUT = 60.0
#: Larger files are rows, about which squawk has nothing to say.
LARGEST = 4 << 20
AT_ONCE = 500

_COVERED = """
adding-field-with-default adding-foreign-key-constraint adding-not-nullable-field adding-required-field
adding-serial-primary-key-field ban-alter-domain-with-add-constraint ban-alter-extension ban-alter-function-options
ban-alter-generated-expression ban-alter-identity ban-alter-policy-condition ban-alter-policy-roles ban-alter-role-options
ban-alter-row-level-security ban-alter-sequence-values ban-alter-system-options ban-alter-view-options ban-add-column
ban-add-composite-attribute ban-add-enum-value ban-alter-database-options ban-concurrent-index-creation-in-transaction
ban-create-policy ban-detach-inheritance ban-disable-trigger ban-drop-column ban-drop-constraint ban-drop-database
ban-drop-domain ban-drop-extension ban-drop-function ban-drop-generated-expression ban-drop-index ban-drop-not-null
ban-drop-policy ban-drop-schema ban-drop-sequence ban-drop-table ban-drop-type ban-drop-view ban-new-write-restriction
ban-replace-view-function ban-replica-identity ban-revoke ban-set-default ban-set-schema ban-truncate-cascade
ban-uncommitted-transaction changing-column-type constraint-missing-not-valid disallowed-unique-constraint renaming-column
renaming-object renaming-table require-concurrent-index-creation require-concurrent-index-deletion
require-concurrent-partition-detach require-concurrent-reindex transaction-nesting
"""

#: What our rules say, or the files' shape, or what the pod does by itself (timeouts, transactions, one run only).
COVERED = frozenset(_COVERED.split()) | {"require-lock-timeout", "require-statement-timeout", "require-timeout-settings"}
#: Taste; and ``syntax-error``, since Postgres's own grammar has read the file.
STYLE = frozenset(
    {"prefer-robust-stmts", "require-enum-value-ordering", "require-table-schema", "syntax-error", "unused-ignore"}
)

_IGNORING = re.compile(rb"squawk-(?=ignore|disable)", re.IGNORECASE)


class Unusable(Exception):
    """Squawk ran, and its answer cannot be used."""


def ask(files: Mapping[str, pathlib.Path], *, pg_version: int, say: Callable[[str], None]) -> list[Finding]:
    """Advice on ``files`` (name to show → file).  ``say`` hears in one line why there is none."""
    program = _program()
    if not program:
        say(MISSING)
        return []
    found: list[Finding] = []
    try:
        chosen = [(name, path) for name, path in files.items() if path.stat().st_size <= LARGEST]
        for start in range(0, len(chosen), AT_ONCE):
            found += _ask(program, chosen[start : start + AT_ONCE], pg_version)
    except (OSError, subprocess.SubprocessError, Unusable) as error:
        say(f"squawk gave no advice: {error}")
    return found


def _program() -> str:
    """Squawk beside this Python, or on the PATH; "" when there is none."""
    beside = pathlib.Path(sys.executable).with_name("squawk")
    return str(beside) if beside.is_file() else shutil.which("squawk") or ""


def _ask(program: str, files: Sequence[tuple[str, pathlib.Path]], pg_version: int) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="schemahold-") as directory:
        here = pathlib.Path(directory)
        (here / "squawk.toml").touch()
        shown = {}
        for number, (name, path) in enumerate(files):
            shown[f"{number}.sql"] = name
            (here / f"{number}.sql").write_bytes(neutral(path.read_bytes()))
        version = [f"--pg-version={pg_version // 10_000}.{pg_version % 10_000}"] if pg_version else []
        command = [program, "-c", "squawk.toml", "--reporter", "json", *version, *shown]
        done = subprocess.run(command, cwd=here, capture_output=True, timeout=TIMEOUT, check=False)
    for each in _answers(done):
        if wanted(each["rule_name"]):
            yield _finding(shown[each["file"]], each)


def neutral(text: bytes) -> bytes:
    """The text with squawk's ignoring comments made ordinary ones, and everything where it was."""
    return _IGNORING.sub(lambda found: found[0][:-1] + b"_", text)


def wanted(rule: str) -> bool:
    """Whether a rule says what nobody else does, and is more than taste."""
    return rule not in COVERED | STYLE and not rule.startswith("prefer-")


def _answers(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """Its findings.  Exit code 1 says that there are some."""
    try:
        answers = json.loads(done.stdout)
    except ValueError:
        answers = None
    if done.returncode not in (0, 1) or not isinstance(answers, list):
        words = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Unusable(words or f"exit code {done.returncode}")
    return answers


def _finding(file: str, answer: Mapping[str, Any]) -> Finding:
    return Finding(
        file=file,
        line=answer["line"] + 1,
        statement=0,
        rule=answer["rule_name"],
        severity=Severity.WARNING,
        cls=Class.EXPAND,
        lock="",
        breaks=answer["message"],
        fix=answer["help"] or "",
        source="squawk",
    )
