"""Once a killed command was "failed" while its statement ran on in the server, and was committed beside the next run."""

from __future__ import annotations

import sys

from schemahold.api.pod import Reason
from schemahold.database import lock

# A client that is killed in the middle of a statement, as by the kernel or at the end of a grace period.
KILLED = """
import psycopg, subprocess, sys, time
url, seconds = sys.argv[1:]
sleep = "import psycopg, sys; psycopg.connect(sys.argv[1]).execute('SELECT pg_sleep(' + sys.argv[2] + ')')"
client = subprocess.Popen([sys.executable, "-c", sleep, url, seconds])
watch = psycopg.connect(url, autocommit=True, application_name="watch")
asleep = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
while not watch.execute(asleep).fetchone():
    time.sleep(0.05)
client.kill()
client.wait()
sys.exit(3)
"""


def test_a_statement_that_runs_on_makes_it_unknown(pods, database) -> None:
    ended = pods().run(sys.executable, "-c", KILLED, database.url(), "60")
    assert ended.lock_report.reason is Reason.UNKNOWN
    assert ended.lock_report.exit_code == 3
    assert "1 of the command's database sessions still ran" in ended.lock_report.message
    [(state, sessions)] = database.execute("SELECT state, jsonb_array_length(sessions) FROM schemahold.ledger")
    assert state == "unknown" and sessions >= 1
    refused = pods(version="2").run("/bin/true")
    assert refused.gate_report.reason is Reason.OUTCOME_UNKNOWN and refused.gate_report.backends == 1
    answered = pods(version="2", answer="1 retry it was killed", answered_by="ann").run("/bin/true")
    assert answered.migrate == 0  # its session was ended first
    assert not database.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'")


def test_a_statement_that_ends_in_time_does_not(pods, database) -> None:
    ended = pods().run(sys.executable, "-c", KILLED, database.url(), "2")
    assert ended.lock_report.reason is Reason.FAILED
    assert database.rows("state") == [("failed",)]


def test_ours_is_not_the_command_s() -> None:
    from schemahold.api import pod

    assert not lock.application_name("ns/shop").startswith(pod.MIGRATE_APPLICATION)
