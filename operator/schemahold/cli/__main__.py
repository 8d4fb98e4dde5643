"""The command ``schemahold``, also ``python -m schemahold.cli``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from schemahold import __version__
from schemahold.cli import lint, rules


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="schemahold", description="One schema migration, once, before the code that needs it."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    lint.register(commands)
    rules.register(commands)
    given = parser.parse_args(arguments)
    code: int = given.run(given)
    return code


if __name__ == "__main__":
    sys.exit(main())
