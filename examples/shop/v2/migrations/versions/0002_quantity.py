"""orders have a quantity; v1 does not know it, and the default serves it"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN quantity integer NOT NULL DEFAULT 1")


def downgrade() -> None:
    op.execute("ALTER TABLE orders DROP COLUMN quantity")
