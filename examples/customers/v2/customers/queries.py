"""What v2 asks of the database: nothing of the old system any more, so it does not matter whether that column is there."""

from typing import Any

import psycopg


def summary(connection: psycopg.Connection) -> dict[str, Any]:
    """The latest customers."""
    rows = connection.execute("SELECT name FROM customers ORDER BY id DESC LIMIT 3")
    return {"customers": [{"name": name} for (name,) in rows]}


def add(connection: psycopg.Connection, customer: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute("INSERT INTO customers (name) VALUES (%s) RETURNING id", [customer["name"]]).fetchone()
    assert row is not None
    return {"id": row[0]}
