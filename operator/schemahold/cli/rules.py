"""``schemahold rules``: every rule that ``lint`` and the pod judge by, as a table in Markdown (docs/rules.md)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from schemahold.core.sql import rules

_HEAD = """# Rules

What `schemahold lint` and the pod of sql mode judge by; `-- schemahold:allow <rule>: <reason>` above a statement lifts one.
`contract` breaks code that is running: it belongs into a file named `*.contract.sql`. `unsafe` blocks or breaks whatever
runs: write it the safe way, which the finding shows. By size: it counts on tables above `sql.largeTable` rows, and in lint
always.

| rule | class | by size | why |
|---|---|---|---|
"""


def register(commands: Any) -> None:
    """Add the command to argparse's."""
    parser: argparse.ArgumentParser = commands.add_parser("rules", help="what the rules are", description=__doc__)
    parser.set_defaults(run=run)


def run(_given: argparse.Namespace) -> int:
    sys.stdout.write(text())
    return 0


def text() -> str:
    rows = (f"| `{one.name}` | {one.cls} | {'yes' if one.sized else ''} | {one.sentence} |\n" for one in _sorted())
    return _HEAD + "".join(rows)


def _sorted() -> list[rules.Rule]:
    return sorted(rules.all_rules().values(), key=lambda one: one.name)
