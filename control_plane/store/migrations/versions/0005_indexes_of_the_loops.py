"""An index for whatever a controller asks in every pass."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_UNCLOSED = sa.text("closed_at IS NULL")
_VALID = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_replicas_failures", "replicas", ["deployment_id", "generation", "state", "ended_at"]
    )
    op.create_index(
        "ix_replicas_generation_ready", "replicas", ["deployment_id", "generation", "ready_at"]
    )
    op.create_index(
        "ix_replicas_newest_of_revision", "replicas", ["deployment_id", "revision_id", "id"]
    )
    op.drop_index("ix_replicas_deployment_id", "replicas")
    op.create_index("ix_instances_kept_for", "instances", ["kept_for"])
    op.create_index("ix_starts_created_at", "starts", ["created_at"])
    op.create_index(
        "ix_starts_unclosed",
        "starts",
        ["id"],
        sqlite_where=_UNCLOSED,
        postgresql_where=_UNCLOSED,
    )
    op.create_index(
        "ix_decisions_newest", "decisions", ["deployment_id", "kind", "created_at", "id"]
    )
    op.create_index(
        "ix_api_keys_valid", "api_keys", ["id"], sqlite_where=_VALID, postgresql_where=_VALID
    )


def downgrade() -> None:
    op.drop_index("ix_api_keys_valid", "api_keys")
    op.drop_index("ix_decisions_newest", "decisions")
    op.drop_index("ix_starts_unclosed", "starts")
    op.drop_index("ix_starts_created_at", "starts")
    op.drop_index("ix_instances_kept_for", "instances")
    op.create_index("ix_replicas_deployment_id", "replicas", ["deployment_id"])
    op.drop_index("ix_replicas_newest_of_revision", "replicas")
    op.drop_index("ix_replicas_generation_ready", "replicas")
    op.drop_index("ix_replicas_failures", "replicas")
