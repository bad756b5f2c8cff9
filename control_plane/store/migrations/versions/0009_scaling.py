"""What a model's size says of its speed, and what an owner orders for a while."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("models", sa.Column("facts", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("deployments", sa.Column("override_replicas", sa.Integer(), nullable=True))
    op.add_column(
        "deployments",
        sa.Column("override_until", sa.Double(), server_default="0", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("deployments", "override_until")
    op.drop_column("deployments", "override_replicas")
    op.drop_column("models", "facts")
