"""The cold-start ledger, and what stays at zero."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("replicas", sa.Column("wakes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("instances", sa.Column("kept_for", sa.String(), nullable=True))
    op.create_table(
        "starts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("replica_id", sa.String(), nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.Column("revision_id", sa.String(), nullable=False),
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("instance_type", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("standby", sa.Boolean(), nullable=False),
        sa.Column("bytes_by_tier", sa.JSON(), nullable=False),
        sa.Column("phases_s", sa.JSON(), nullable=False),
        sa.Column("usd", sa.Double(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("launched_at", sa.Double(), nullable=True),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["replica_id"], ["replicas.id"], name=op.f("fk_starts_replica_id")),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_starts_deployment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_starts")),
        sa.UniqueConstraint("replica_id", "wakes", name=op.f("uq_starts_replica_id_wakes")),
    )
    op.create_index("ix_starts_deployment_id", "starts", ["deployment_id", "id"])
    op.create_index("ix_starts_revision_ready", "starts", ["revision_id", "ready_at"])


def downgrade() -> None:
    op.drop_table("starts")
    op.drop_column("instances", "kept_for")
    op.drop_column("replicas", "wakes")
