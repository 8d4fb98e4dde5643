"""How every part of the shop reaches its database."""

import os

import psycopg


def url() -> str:
    """`DATABASE_URL` as libpq understands it: SQLAlchemy's name for the driver taken out."""
    return os.environ["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://", 1)


def connect() -> psycopg.Connection:
    """One connection per use: nothing goes stale when the database restarts, and no pool to explain."""
    return psycopg.connect(url(), autocommit=True, connect_timeout=15)
