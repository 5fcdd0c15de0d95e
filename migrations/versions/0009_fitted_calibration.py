"""The calibration that was fitted on simulated areas, instead of the first one, where that is still in use"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARAMETERS = {
    "version": "2",
    "sharpness": 8.5,
    "offsets": {
        "aquaculture": 0.08,
        "clearing": 0.19,
        "cloud": -0.12,
        "construction": -0.32,
        "crop_calendar": -0.53,
        "cultivation": -0.32,
        "drought": -0.28,
        "energy": 0.34,
        "fire": 0.12,
        "flood": 0.09,
        "grazing": 0.24,
        "impoundment": -0.18,
        "industry": -0.59,
        "landslide": -0.1,
        "mining": 0.03,
        "other": 0.54,
        "quarry": 0.51,
        "road": -0.01,
        "water_level": 0.3,
    },
    "other_score": 0.2,
    "basis": "simulated areas of both recipes, seeds 1 to 6 (tests/bench/fit_calibration.py)",
}


USERS = ("runs", "detections", "detection_changes")


def upgrade() -> None:
    connection = op.get_bind()
    # Walled tables show nothing otherwise.
    op.execute("select set_config('redline.scope', 'all', true)")
    first = connection.execute(sa.text("select status from calibrations where version = '1'")).scalar()
    # Where a set of one's own was switched on, it stays, and the new one lies beside it.
    connection.execute(
        sa.text(
            "insert into calibrations (id, version, status, revision, parameters, held_out, basis) values"
            " ('00000000-0000-7000-8000-000000000002', '2', 'retired', 1, cast(:parameters as jsonb), '[]', '{}')"
        ),
        {"parameters": json.dumps(PARAMETERS)},
    )
    if first == "active":
        op.execute("update calibrations set status = 'retired' where version = '1'")
        op.execute("update calibrations set status = 'active' where version = '2'")
    # A set by which nothing was ever named is of no interest.
    unused = " and ".join(f"not exists (select from {table} where calibration = '1')" for table in USERS)
    op.execute(
        f"delete from calibrations where version = '1' and {unused}"
        " and not exists (select from calibrations where compared_with = '1')"
        " and not exists (select from calibration_decisions d where d.calibration_id = calibrations.id)"
    )


def downgrade() -> None:
    op.execute(
        "insert into calibrations (id, version, status, revision, parameters, held_out, basis)"
        " select '00000000-0000-7000-8000-000000000001', '1', 'retired', 1,"
        ' \'{"version": "1", "sharpness": 8.0, "offsets": {}, "other_score": 0.5, "basis": "not fitted"}\','
        " '[]', '{}' where not exists (select from calibrations where version = '1')"
    )
    connection = op.get_bind()
    gone = connection.execute(sa.text("delete from calibrations where version = '2' returning status")).scalar()
    if gone == "active":
        op.execute("update calibrations set status = 'active' where version = '1'")
