"""orders, with the three of the opening day"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE orders (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            item text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now())
    """)
    op.execute("INSERT INTO orders (item) VALUES ('tea'), ('coffee'), ('tea')")


def downgrade() -> None:
    op.execute("DROP TABLE orders")
