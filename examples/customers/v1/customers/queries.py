"""What v1 asks of the database: a customer has a name, and the one of the old system."""

from typing import Any

import psycopg


def summary(connection: psycopg.Connection) -> dict[str, Any]:
    """The latest customers."""
    rows = connection.execute("SELECT name, legacy_name FROM customers ORDER BY id DESC LIMIT 3")
    return {"customers": [{"name": name, "legacy_name": legacy_name} for name, legacy_name in rows]}


def add(connection: psycopg.Connection, customer: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(
        "INSERT INTO customers (name, legacy_name) VALUES (%s, %s) RETURNING id",
        [customer["name"], customer.get("legacy_name")],
    ).fetchone()
    assert row is not None
    return {"id": row[0]}
