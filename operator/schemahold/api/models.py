"""The SchemaMigration kind as pydantic models; ``crds/`` is generated from them (``api/crd.py``)."""

from schemahold.api.schema import Model, refuse_unless
from schemahold.api.spec import VERSION_LENGTH, Contract, Database, Lock, Run, Spec, Sql, Work
from schemahold.api.status import (
    TEXT_LENGTH,
    Applied,
    Attempt,
    Condition,
    Floor,
    Held,
    Ledger,
    Outcome,
    Pin,
    Released,
    Settling,
    Status,
    dump_status,
    parse_status,
)
from schemahold.api.status import Contract as ContractStatus

__all__ = [
    "TEXT_LENGTH",
    "VERSION_LENGTH",
    "Applied",
    "Attempt",
    "Condition",
    "Contract",
    "ContractStatus",
    "Database",
    "Floor",
    "Held",
    "Ledger",
    "Lock",
    "Model",
    "Outcome",
    "Pin",
    "Released",
    "Run",
    "Settling",
    "Spec",
    "Sql",
    "Status",
    "Work",
    "dump_status",
    "parse_status",
    "refuse_unless",
]
