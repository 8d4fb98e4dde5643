"""What each statement does to code that is running: its class, its lock, what it breaks, and the safe form.

:func:`read` is the table, by statement kind, from PostgreSQL's documentation and from what real servers do
(``tests/database/test_sql_rules.py``).  One module for each thing a statement can be about:

    tables, columns, constraints, indexes   DDL on what has rows
    data, bounds                            rows: how many can a statement touch?
    objects                                 everything else, and how each remaining kind is classed
    versions                                what older servers cannot read
    scene                                   what the statements before this one made known
    catalogue                               the rules' names and sentences

A kind that is in no table is ``unknown-statement``: unsafe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from schemahold.core.sql import parse
from schemahold.core.sql.parse import Tree
from schemahold.core.sql.rules import data, indexes, objects, tables, versions
from schemahold.core.sql.rules.catalogue import RULES, Rule, all_rules
from schemahold.core.sql.rules.effects import Effect, Reading, finding
from schemahold.core.sql.rules.nodes import Node
from schemahold.core.sql.rules.scene import Known, Scene, Transaction

__all__ = [
    "HANDLERS",
    "RULES",
    "Effect",
    "Known",
    "Reading",
    "Rule",
    "Scene",
    "Transaction",
    "all_rules",
    "concurrently",
    "detaches_concurrently",
    "read",
]

concurrently = indexes.concurrently
detaches_concurrently = tables.detaches_concurrently

HANDLERS: Mapping[str, Callable[[Node, Scene], Iterator[Effect]]] = {
    **objects.HANDLERS,
    **data.HANDLERS,
    **tables.HANDLERS,
    **indexes.HANDLERS,
}


def read(tree: Tree, scene: Scene) -> Reading:
    """What a statement does where it stands.  The scene learns it."""
    reading = Reading.of(_excusable(effect, scene) for effect in _effects(tree, scene))
    scene.learn(tree.kind, tree.node)
    return reading


def _effects(tree: Tree, scene: Scene) -> Iterator[Effect]:
    if tree.kind in HANDLERS:
        yield from HANDLERS[tree.kind](tree.node, scene)
    else:
        yield finding(
            "unknown-statement",
            breaks=f"what this statement ({tree.kind}) locks and breaks is not known here.",
            fix="see what it does, and say so in an override.",
        )
    yield from versions.newer(tree, scene)
    yield from _new_values(tree, scene)


def _excusable(effect: Effect, scene: Scene) -> Effect:
    """With a word on how the table would have been new."""
    if effect.table not in scene.transaction.maybe:
        return effect
    more = f" Or make '{effect.table}' without IF NOT EXISTS: what a transaction has made is free to change."
    return dataclasses.replace(effect, fix=effect.fix + more)


def _new_values(tree: Tree, scene: Scene) -> Iterator[Effect]:
    """The enum values that this transaction adds, and that a later statement of it names."""
    if not scene.transaction.enum_values:
        return  # hardly ever is there one, and looking takes time
    constants = (each.node.sval.sval for each in parse.every(tree.node) if each.kind == "a_const")
    for value in dict.fromkeys(constants):
        name = scene.transaction.enum_values.get(value)
        if name:
            yield finding(
                "enum-value-used",
                breaks=f"it fails with 55P04: '{value}' of '{name}' cannot be used before it is committed.",
                fix="use the value in a later file.",
            )
