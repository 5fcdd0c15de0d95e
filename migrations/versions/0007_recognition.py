"""The kind of ground of each tile

A tile stores it with its baseline. States of the monitor before, whose version differs, are fitted anew by the next run
of each plan.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tile_states", sa.Column("ground", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("tile_states", "ground")
