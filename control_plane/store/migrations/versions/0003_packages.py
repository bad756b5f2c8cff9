"""Checkpoint packages."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_COLUMNS = (
    ("weights_root", sa.String(), "''"),
    ("quantization", sa.String(), "''"),
    ("packing", sa.JSON(), "'{}'"),
    ("packed_from", sa.String(), "''"),
    ("replaces", sa.Boolean(), "false"),
)


def upgrade() -> None:
    for name, kind, default in _COLUMNS:
        column = sa.Column(name, kind, nullable=False, server_default=sa.text(default))
        op.add_column("models", column)


def downgrade() -> None:
    # Not as a batch: SQLite would drop the table, to which revisions refer.
    for name, _, _ in reversed(_COLUMNS):
        op.drop_column("models", name)
