"""The rules: their names, which ``schemahold:allow`` takes and which do not change, and a sentence for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from schemahold.core.sql.model import Class

EXPAND, CONTRACT, UNSAFE = Class.EXPAND, Class.CONTRACT, Class.UNSAFE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """``cls``: what a statement with this finding is at least; ``expand`` means that the finding is only a warning.

    ``sized``: only the table's size makes it dangerous, so it says nothing about small ones.
    """

    name: str
    cls: Class
    sentence: str
    sized: bool = False


def _rules(*rules: Rule) -> Mapping[str, Rule]:
    return {rule.name: rule for rule in rules}


def _rule(name: str, cls: Class, sentence: str, *, sized: bool = False) -> Rule:
    return Rule(name=name, cls=cls, sentence=sentence, sized=sized)


RULES: Mapping[str, Rule] = _rules(
    # columns
    _rule(
        "add-column-not-null", UNSAFE, "A new NOT NULL column without a default fails if there are rows, and old INSERTs."
    ),
    _rule("add-column-rewrite", UNSAFE, "A new column whose value differs per row rewrites the table.", sized=True),
    _rule("add-column-check", UNSAFE, "A new column's CHECK is tested on every row while everybody waits.", sized=True),
    _rule("add-column-references", UNSAFE, "A new column's foreign key locks two tables at once.", sized=True),
    _rule("add-column-unique", UNSAFE, "A new column's UNIQUE or PRIMARY KEY builds its index meanwhile.", sized=True),
    _rule(
        "add-column-type",
        EXPAND,
        "If the new column's type is a domain with constraints, the table is rewritten.",
        sized=True,
    ),
    _rule("drop-column", CONTRACT, "Code that names the column fails."),
    _rule("change-column-type", CONTRACT, "Code that reads or writes the column meets another type."),
    _rule("change-column-type-rewrite", UNSAFE, "Most changes of a type rewrite the table and its indexes.", sized=True),
    _rule("set-not-null", CONTRACT, "Code that writes NULL or leaves the column out fails."),
    _rule("set-not-null-scan", UNSAFE, "SET NOT NULL reads every row while everybody waits.", sized=True),
    _rule("drop-not-null", EXPAND, "Code that never expected NULL may read one."),
    _rule("set-default", EXPAND, "Rows that old code writes get the new default."),
    _rule("drop-default", CONTRACT, "INSERTs that leave the column out store NULL, or fail."),
    _rule(
        "generated-column", CONTRACT, "Another expression or identity changes what code reads, or refuses what it writes."
    ),
    # constraints
    _rule("new-constraint", CONTRACT, "Code that writes what the new constraint or unique index forbids fails."),
    _rule("add-check", UNSAFE, "A CHECK without NOT VALID is tested on every row while everybody waits.", sized=True),
    _rule(
        "add-foreign-key", UNSAFE, "A foreign key without NOT VALID is tested while writes to both tables wait.", sized=True
    ),
    _rule("add-unique", UNSAFE, "UNIQUE and PRIMARY KEY build their index while everybody waits.", sized=True),
    _rule("add-exclusion", UNSAFE, "EXCLUDE builds its index while everybody waits, and has no online form.", sized=True),
    _rule("primary-key-nulls", EXPAND, "PRIMARY KEY USING INDEX scans the table if a column may be NULL.", sized=True),
    _rule(
        "validate-together",
        UNSAFE,
        "VALIDATE beside its NOT VALID keeps the lock for as long as the scan takes.",
        sized=True,
    ),
    _rule("drop-constraint", CONTRACT, "Code may rely on it: ON CONFLICT, ON DELETE CASCADE."),
    _rule("alter-constraint", CONTRACT, "Code meets errors at another moment, or where there were none."),
    _rule("enforce-constraint", UNSAFE, "ENFORCED tests every row while writes wait.", sized=True),
    # indexes
    _rule("create-index", UNSAFE, "CREATE INDEX without CONCURRENTLY makes writes wait until it is built.", sized=True),
    _rule("drop-index", CONTRACT, "Queries of running code may need the index, and ON CONFLICT a unique one."),
    _rule("drop-index-blocking", UNSAFE, "DROP INDEX without CONCURRENTLY makes reads and writes queue behind it."),
    _rule("reindex", UNSAFE, "REINDEX without CONCURRENTLY makes reads and writes wait until it is built.", sized=True),
    # tables
    _rule("drop-table", CONTRACT, "Code that uses the table fails."),
    _rule("drop-cascade", UNSAFE, "CASCADE drops objects that the statement does not name."),
    _rule("truncate", UNSAFE, "TRUNCATE removes every row at once, and blocks the table."),
    _rule("rename", CONTRACT, "Code that uses the old name fails."),
    _rule("set-schema", CONTRACT, "Code that uses the old name fails."),
    _rule("change-owner", CONTRACT, "Code that connects as the former owner loses its rights."),
    _rule("rewrite-table", UNSAFE, "The table is written anew while everybody waits.", sized=True),
    _rule("set-unlogged", UNSAFE, "An unlogged table is empty after a crash, and on every replica."),
    _rule("create-partition", EXPAND, "PARTITION OF blocks the parent, and scans its default partition.", sized=True),
    _rule("attach-partition", EXPAND, "ATTACH PARTITION scans what it attaches, and the default partition.", sized=True),
    _rule("detach-partition", CONTRACT, "Queries on the parent no longer see the partition's rows."),
    _rule("detach-partition-blocking", UNSAFE, "DETACH PARTITION without CONCURRENTLY blocks parent and partition."),
    _rule("no-inherit", CONTRACT, "Queries on the parent no longer see the child's rows."),
    _rule("replica-identity", CONTRACT, "Without an identity, UPDATE and DELETE on a published table fail."),
    _rule("lock-table", UNSAFE, "LOCK TABLE blocks the application until the transaction ends."),
    _rule("disable-trigger", CONTRACT, "What the trigger or rule did for running code, it does no longer."),
    _rule("row-security", CONTRACT, "Running code sees other rows, or may no longer write some."),
    _rule("create-rule", CONTRACT, "A rule changes what the statements of running code do."),
    # views, routines, types
    _rule("drop-view", CONTRACT, "Code that reads the view fails."),
    _rule("replace-view", EXPAND, "Running code reads the new view at once; only appended columns leave it as it was."),
    _rule("refresh-view", UNSAFE, "REFRESH without CONCURRENTLY makes reads wait until it is filled.", sized=True),
    _rule("drop-function", CONTRACT, "Code that calls it fails."),
    _rule("replace-function", EXPAND, "Running code calls the new definition at once."),
    _rule("drop-type", CONTRACT, "Code that uses the type fails."),
    _rule("alter-type", CONTRACT, "Code that reads or writes values of the type meets another form."),
    _rule("add-enum-value", EXPAND, "Code that knows the old values only may read the new one."),
    _rule("enum-value-used", UNSAFE, "A new enum value cannot be used in the transaction that adds it (55P04)."),
    _rule("domain-scan", UNSAFE, "A domain's constraint is tested on every table that uses the domain."),
    # other objects
    _rule("drop-object", CONTRACT, "Code that uses the object fails."),
    _rule("alter-object", CONTRACT, "Running code uses the object as it is."),
    _rule("alter-sequence", CONTRACT, "Running code draws numbers that collide, or that it does not expect."),
    _rule("publication", EXPAND, "UPDATE and DELETE on a published table without a primary key fail."),
    _rule("create-cast", EXPAND, "An implicit cast may change how queries of running code are read."),
    _rule("revoke", CONTRACT, "Code that uses the right fails."),
    _rule("alter-role", CONTRACT, "Code that connects with the role may be refused."),
    _rule("change-setting", EXPAND, "New connections of running code get the new setting."),
    _rule(
        "beyond-schema",
        UNSAFE,
        "It reaches beyond what it names: a role's belongings, a tablespace, the server, the session.",
    ),
    # data
    _rule("unbounded-write", UNSAFE, "One statement locks and writes as many rows as there are.", sized=True),
    _rule("unknown-function", UNSAFE, "A SELECT whose function may do anything."),
    _rule("unknown-code", UNSAFE, "Nobody can tell from the text what it runs: DO, CALL, EXECUTE and the like."),
    _rule("unknown-statement", UNSAFE, "A statement that these rules do not know."),
    _rule("newer-syntax", UNSAFE, "Older servers cannot read it."),
    # of the judgement itself
    _rule("unused-allow", UNSAFE, "An override that lifts nothing: the statement does not have that finding."),
)


def all_rules() -> Mapping[str, Rule]:
    """All rules by name, in the order in which documentation lists them."""
    return RULES
