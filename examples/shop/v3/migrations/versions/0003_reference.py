"""orders have a reference: the day they were made. Nobody thought of two orders on one day, so this fails halfway."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN reference text")
    op.execute("UPDATE orders SET reference = 'ORD-' || to_char(created_at, 'YYYYMMDD')")
    op.execute("ALTER TABLE orders ADD CONSTRAINT orders_reference_key UNIQUE (reference)")


def downgrade() -> None:
    op.execute("ALTER TABLE orders DROP COLUMN reference")
