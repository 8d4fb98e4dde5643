"""What v3 asks of the database: an order has a reference that customers can quote."""

from typing import Any

import psycopg


def summary(connection: psycopg.Connection) -> dict[str, Any]:
    row = connection.execute(
        "SELECT count(*), coalesce(sum(quantity), 0), (array_agg(reference ORDER BY id DESC))[1] FROM orders"
    ).fetchone()
    assert row is not None
    return {"orders": row[0], "pieces": row[1], "latest": row[2]}


def add(connection: psycopg.Connection, order: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(
        "INSERT INTO orders (item, quantity, reference) "
        "VALUES (%s, %s, 'ORD-' || gen_random_uuid()) RETURNING id, reference",
        [order["item"], order.get("quantity", 1)],
    ).fetchone()
    assert row is not None
    return {"id": row[0], "reference": row[1]}
