"""Measures the judgement of 100 small files, without squawk and after import: ``python -m tests.perf.bench_lint``."""

from __future__ import annotations

import pathlib
import statistics
import tempfile
import time

from schemahold.cli import lint

FILE = (
    "CREATE TABLE t{0} (id bigint PRIMARY KEY, a text NOT NULL);\n"
    "CREATE INDEX i{0} ON t{0} (a);\n"
    "ALTER TABLE t{0} ADD COLUMN b text;\n"
    "INSERT INTO t{0} VALUES (1, 'x', 'y');\n"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, 101):
            (pathlib.Path(folder) / f"{number:04}_a.sql").write_text(FILE.format(number))
        times = []
        for _ in range(9):
            began = time.perf_counter()
            lint.lint([pathlib.Path(folder)], with_advice=False)
            times.append(time.perf_counter() - began)
    print(f"lint of 100 files: median {statistics.median(times) * 1000:.0f} ms, best {min(times) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
