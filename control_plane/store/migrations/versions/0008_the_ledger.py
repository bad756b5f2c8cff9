"""What machines cost, who used them, and what their owners may spend."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_UNMETERED = sa.text("launched_at IS NOT NULL AND metered_at IS NULL")


def upgrade() -> None:
    op.add_column("instances", sa.Column("launched_at", sa.Double(), nullable=True))
    op.add_column("instances", sa.Column("metered_at", sa.Double(), nullable=True))
    op.add_column("replicas", sa.Column("placed_at", sa.Double(), nullable=True))
    # What runs already is billed from its request on: nobody wrote down when it came.
    op.execute(
        "UPDATE instances SET launched_at = created_at "
        "WHERE cloud_id != '' AND cloud != 'joined' AND ended_at IS NULL"
    )
    op.execute("UPDATE replicas SET placed_at = created_at WHERE instance_id IS NOT NULL")
    op.create_index(
        "ix_instances_unmetered",
        "instances",
        ["id"],
        sqlite_where=_UNMETERED,
        postgresql_where=_UNMETERED,
    )
    op.create_index("ix_replicas_ended_at", "replicas", ["ended_at"])
    op.create_table(
        "pool_prices",
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("usd_per_hour", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "since", name=op.f("pk_pool_prices")),
    )
    op.create_table(
        "charges",
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("machine_micros", sa.BigInteger(), nullable=False),
        sa.Column("extra_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_charges_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "hour", name=op.f("pk_charges")),
    )
    op.create_table(
        "charge_shares",
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.Column("slot_seconds", sa.Double(), nullable=False),
        sa.Column("used_micros", sa.BigInteger(), nullable=False),
        sa.Column("idle_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_charge_shares_instance_id")
        ),
        sa.PrimaryKeyConstraint(
            "instance_id", "hour", "deployment_id", name=op.f("pk_charge_shares")
        ),
    )
    op.create_index("ix_charge_shares_hour", "charge_shares", ["hour"])
    op.create_index("ix_charge_shares_deployment_hour", "charge_shares", ["deployment_id", "hour"])
    op.create_table(
        "token_counts",
        sa.Column("revision_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("deployment_id", sa.String(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "revision_id", "tenant", "hour", "epoch", name=op.f("pk_token_counts")
        ),
    )
    op.create_index("ix_token_counts_hour", "token_counts", ["hour"])
    op.create_index("ix_token_counts_deployment_hour", "token_counts", ["deployment_id", "hour"])
    op.create_index("ix_token_counts_tenant_hour", "token_counts", ["tenant", "hour"])
    op.create_table(
        "tenant_budgets",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("usd_per_day", sa.Double(), nullable=True),
        sa.Column("usd_per_month", sa.Double(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenant_budgets")),
    )
    op.create_table(
        "spendings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("day_micros", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.BigInteger(), nullable=False),
        sa.Column("month_micros", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spendings")),
    )


def downgrade() -> None:
    for table in (
        "spendings",
        "tenant_budgets",
        "token_counts",
        "charge_shares",
        "charges",
        "pool_prices",
    ):
        op.drop_table(table)
    op.drop_index("ix_replicas_ended_at", "replicas")
    op.drop_index("ix_instances_unmetered", "instances")
    op.drop_column("replicas", "placed_at")
    op.drop_column("instances", "metered_at")
    op.drop_column("instances", "launched_at")
