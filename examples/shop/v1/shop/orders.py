"""What v1 asks of the database."""

from typing import Any

import psycopg


def summary(connection: psycopg.Connection) -> dict[str, Any]:
    row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row is not None
    return {"orders": row[0]}


def add(connection: psycopg.Connection, order: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute("INSERT INTO orders (item) VALUES (%s) RETURNING id", [order["item"]]).fetchone()
    assert row is not None
    return {"id": row[0]}
