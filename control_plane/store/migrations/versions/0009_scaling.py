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
    op.add_column(
        "rollouts", sa.Column("watched_s", sa.Double(), server_default="0", nullable=False)
    )
    op.add_column(
        "instances", sa.Column("warned", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    # Those that are deleted too: whoever takes their name goes on with their budget.
    op.create_index("ix_deployments_name", "deployments", ["name", "id"])


def downgrade() -> None:
    op.drop_index("ix_deployments_name", "deployments")
    op.drop_column("instances", "warned")
    op.drop_column("rollouts", "watched_s")
    op.drop_column("deployments", "override_until")
    op.drop_column("deployments", "override_replicas")
    op.drop_column("models", "facts")
