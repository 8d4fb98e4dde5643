"""The removal of a column, which the stories of SQL files and of the contract tell: `customers` loses `legacy_name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cluster.stories.stage import Json, Stage, config_map, deployment, sql_migration

NOW, NEVER = "0s", "24h"  # of contract.after

TABLE = "CREATE TABLE customers (id bigint PRIMARY KEY, name text, legacy_name text);\n"
DROP = "ALTER TABLE customers DROP COLUMN legacy_name;\n"
FIRST, LAST = "0001_customers.sql", "0002_drop_legacy_name.contract.sql"
V1 = {FIRST: TABLE}
V2 = {**V1, LAST: DROP}


def apply(here: Stage, version: str, files: Mapping[str, str], **spec: Any) -> None:
    """One apply of files, Deployment and SchemaMigration, as a release does it."""
    here.apply(config_map(files), deployment(version), sql_migration(version, **spec))


def out(here: Stage, version: str) -> None:
    """Until it is applied and rolled out."""
    here.await_reason("Applied")
    here.await_rollout(version)


def release(here: Stage, version: str, files: Mapping[str, str], **spec: Any) -> None:
    apply(here, version, files, **spec)
    out(here, version)


def contracted(here: Stage, reason: str = "Contracted") -> Json:
    """Until the contract's condition has this reason; the condition."""
    found = here.until(f"the contract is {reason}", lambda: _of_reason(here, reason))
    return dict(found)


def _of_reason(here: Stage, reason: str) -> Json:
    found = here.condition("Contracted")
    return found if found.get("reason") == reason else {}


def is_there(here: Stage, column: str = "legacy_name") -> bool:
    return column in here.sql("select attname from pg_attribute where attrelid = 'customers'::regclass").split()


def rows(here: Stage) -> list[tuple[str, str, str]]:
    """The ledger: version, phase and state, in order."""
    return [(row["version"], row["phase"], row["state"]) for row in here.ledger()]
