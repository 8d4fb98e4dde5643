"""What ran when, written by what ran: the proof that nothing ran twice or at once.

    python -m shop.journal start               one row
    python -m shop.journal end                 one row
    python -m shop.journal run SECONDS [EXIT]  start, sleep, end, exit with EXIT
    python -m shop.journal show                every row, one JSON object per line

`who` is $JOURNAL_WHO, else the host's name, which in a pod is the pod's. A `run` that gets SIGTERM writes `terminated`
instead of `end` and exits with 143; one that is killed leaves its `start` alone.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import NoReturn

import psycopg

from . import database

TABLES = {
    "journal": """CREATE TABLE IF NOT EXISTS journal (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        who text NOT NULL,
        event text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp())""",
    "migration_log": """CREATE TABLE IF NOT EXISTS migration_log (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        version text NOT NULL,
        event text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp())""",
}


def _ensure(connection: psycopg.Connection, table: str) -> None:
    try:
        connection.execute(TABLES[table])
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
        """Another one made it at the same moment: IF NOT EXISTS does not cover that."""


def write(event: str) -> None:
    who = os.environ.get("JOURNAL_WHO") or socket.gethostname()
    with database.connect() as connection:
        _ensure(connection, "journal")
        connection.execute("INSERT INTO journal (who, event) VALUES (%s, %s)", [who, event])


def log_migration(version: str, event: str) -> None:
    """For migrations/env.py: on a connection of its own, so that it outlives a rolled back migration."""
    with database.connect() as connection:
        _ensure(connection, "migration_log")
        connection.execute("INSERT INTO migration_log (version, event) VALUES (%s, %s)", [version, event])


def show() -> None:
    with database.connect() as connection:
        _ensure(connection, "journal")
        for number, who, event, at in connection.execute("SELECT id, who, event, at FROM journal ORDER BY id"):
            sys.stdout.write(json.dumps({"id": number, "who": who, "event": event, "at": at.isoformat()}) + "\n")


def run(seconds: float, code: int) -> NoReturn:
    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    write("start")
    try:
        time.sleep(seconds)
    except SystemExit:
        write("terminated")
        raise
    write("end")
    sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(prog="shop.journal")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "end", "show"):
        commands.add_parser(name)
    running = commands.add_parser("run")
    running.add_argument("seconds", type=float)
    running.add_argument("exit", type=int, nargs="?", default=0)
    asked = parser.parse_args()
    if asked.command == "run":
        run(asked.seconds, asked.exit)
    elif asked.command == "show":
        show()
    else:
        write(asked.command)


if __name__ == "__main__":
    main()
