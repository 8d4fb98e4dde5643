"""What v2 asks of the database: an order has a quantity. On v1's schema every one of these fails."""

from typing import Any

import psycopg


def summary(connection: psycopg.Connection) -> dict[str, Any]:
    row = connection.execute("SELECT count(*), coalesce(sum(quantity), 0) FROM orders").fetchone()
    assert row is not None
    return {"orders": row[0], "pieces": row[1]}


def add(connection: psycopg.Connection, order: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(
        "INSERT INTO orders (item, quantity) VALUES (%s, %s) RETURNING id",
        [order["item"], order.get("quantity", 1)],
    ).fetchone()
    assert row is not None
    return {"id": row[0]}
