"""The demo's accounts: one of each role, with a password that everyone may know."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.models import Account, Role

PASSWORD = "redline-demo"  # noqa: S105  # public on purpose; the service serves it on loopback only
COUNTY, COUNTY2, PREFECTURE, PROVINCE = "220621", "220681", "220600", "220000"
ACCOUNTS = (
    ("officer", Role.officer, PROVINCE, "省级执法人员（演示）"),
    ("county", Role.county, COUNTY, "抚松县办（演示）"),
    ("county2", Role.county, COUNTY2, "临江市办（演示）"),
    ("prefecture", Role.prefecture, PREFECTURE, "白山市局（演示）"),
    ("province", Role.province, PROVINCE, "省级主管（演示）"),
    ("inspector", Role.inspector, PROVINCE, "省级督察（演示）"),
    ("admin", Role.admin, PROVINCE, "系统管理员（演示）"),
)


def ensure_accounts(session: Session) -> None:
    """Add the demo accounts that are missing."""
    present = set(session.scalars(select(Account.username)))
    for username, role, unit_code, display_name in ACCOUNTS:
        if username not in present:
            access.add_account(
                session,
                username=username,
                password=PASSWORD,
                role=role,
                unit_code=unit_code,
                display_name=display_name,
                is_demo=True,
            )
