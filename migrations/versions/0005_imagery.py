"""Which sensor's mapping each scene is read by; configurations of sources hold what was said only"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What the earlier version wrote into every configuration where the administrator had said nothing. Left there it would
# count as said, and keep a Sentinel-2 source from the rules of its sensor (the offset of baseline 04.00 among them).
DEFAULTS = {
    "bands": '{"blue": "blue", "green": "green", "red": "red", "nir": "nir", "swir16": "swir16"}',
    "mask_kind": '"scl"',
    "mask_asset": '"scl"',
    "default_scale": "0.0001",
    "default_offset": "0.0",
    "default_nodata": "0.0",
}


# An offset of 0 may have been meant: where scenes have been read with it, it stays until someone takes it out, lest
# their reflectance silently fall by 0.1.
UNLESS_IN_USE = " and not exists (select from scenes where scenes.source_id = sources.id)"


def upgrade() -> None:
    op.add_column("scenes", sa.Column("sensor", sa.Text(), nullable=True))
    # Row-level security holds for the tables' owner, too.
    op.execute("select set_config('redline.scope', 'all', true)")
    for key, value in DEFAULTS.items():
        unless = UNLESS_IN_USE if key == "default_offset" else ""
        op.execute(
            sa.text(
                "update sources set configuration = configuration - :key"
                " where configuration -> :key = cast(:value as jsonb)" + unless
            ).bindparams(key=key, value=value)
        )


def downgrade() -> None:
    for key, value in DEFAULTS.items():
        op.execute(
            sa.text(
                "update sources set configuration = configuration || jsonb_build_object(:key, cast(:value as jsonb))"
                " where not jsonb_exists(configuration, :key)"
            ).bindparams(key=key, value=value)
        )
    op.drop_column("scenes", "sensor")
