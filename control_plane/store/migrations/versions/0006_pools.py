"""What pools and quotas taught, and what a launch may take instead."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "instances", sa.Column("alternatives", sa.JSON(), nullable=False, server_default="[]")
    )
    op.add_column(
        "instances",
        sa.Column("refused", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("replicas", sa.Column("retiring", sa.String(), nullable=False, server_default=""))
    op.add_column(
        "deployments",
        sa.Column("spare_replicas", sa.Integer(), nullable=False, server_default="0"),
    )
    op.create_index("ix_instances_cloud_id", "instances", ["cloud_id"])
    op.create_table(
        "pools",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("cloud", sa.String(), nullable=False),
        sa.Column("instance_type", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("market", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("launches", sa.Double(), nullable=False),
        sa.Column("successes", sa.Double(), nullable=False),
        sa.Column("hours", sa.Double(), nullable=False),
        sa.Column("losses", sa.Double(), nullable=False),
        sa.Column("closed_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
    )
    op.create_table(
        "quotas",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("cloud", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("market", sa.String(), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotas")),
    )
    op.create_table(
        "duties",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("lock_token", sa.String(), nullable=True),
        sa.Column("lock_expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duties")),
    )


def downgrade() -> None:
    op.drop_table("duties")
    op.drop_table("quotas")
    op.drop_table("pools")
    op.drop_index("ix_instances_cloud_id", "instances")
    op.drop_column("deployments", "spare_replicas")
    op.drop_column("replicas", "retiring")
    op.drop_column("instances", "refused")
    op.drop_column("instances", "alternatives")
