"""Mail goes out as deliveries do: taken by a lease, written from what holds then, sent outside of any transaction.

A worker that dies between sending and recording sends again, under the same Message-ID; none is left out.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.service import caller_of, enter
from app.foundation.database import Database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.foundation.timetable import Job
from app.messages import digest
from app.messages.delivering import wait
from app.messages.mail import Bounced, Letter, Mailer, NotSent
from app.messages.models import Mail, MailSettings
from app.messages.vocabulary import MailKind, MailState
from app.settings import Settings

log = logging.getLogger(__name__)

# Waits after each failed attempt, seconds; about a day and a half in all.
SCHEDULE: Final[tuple[float, ...]] = (60, 300, 1800, 7200, 14400, 28800, 43200, 43200)
LEASE: Final = timedelta(minutes=5)
CODE_LIFE: Final = timedelta(hours=24)
PAUSE_S: Final = 2.0
FAULT_S: Final = 15.0


def new_code() -> str:
    """A code of 50 random bits, in letters and digits that are read aloud without doubt (base32): no guessing."""
    word = base64.b32encode(secrets.token_bytes(10)).decode()[:10]
    return f"{word[:5]}-{word[5:]}"


def digest_of(account_id: UUID, code: str) -> bytes:
    plain = code.strip().upper().replace("-", "")
    return hashlib.sha256(f"{account_id}:{plain}".encode(errors="surrogatepass")).digest()


def prepare_digests(session: Session, tick: datetime) -> int:
    """Put the digests of the tick's week into the post, one for each account that wants one; how many are new."""
    wanted = (
        select(MailSettings.account_id)
        .join(Account, Account.id == MailSettings.account_id)
        .where(
            MailSettings.weekly_digest,
            MailSettings.confirmed_at.is_not(None),
            MailSettings.bounced_at.is_(None),
            Account.is_active,
        )
    )
    week = digest.week_of(legal_day(tick))
    rows = [
        {"id": new_id(), "account_id": account_id, "kind": MailKind.digest, "key": week}
        for account_id in session.scalars(wanted)
    ]
    if not rows:
        return 0
    made = session.execute(insert(Mail).values(rows).on_conflict_do_nothing().returning(Mail.id))
    return len(made.all())


def send_next(
    database: Database, mailer: Mailer, service_url: str | None, schedule: Sequence[float] = SCHEDULE
) -> bool:
    """Send one mail that is due; False: there is none."""
    taken = _claim(database)
    if taken is None:
        return False
    mail_id, lease = taken
    with database.transaction(see_all=True) as session:
        letter = _write(session, session.get_one(Mail, mail_id), service_url)
    fault: NotSent | None = None
    if letter is not None:
        try:
            mailer.send(mail_id, letter, utc_now())
        except NotSent as not_sent:
            fault = not_sent
    with database.transaction(see_all=True) as session:
        mail = session.scalar(select(Mail).where(Mail.id == mail_id, Mail.lease == lease).with_for_update())
        if mail is not None:
            _record(session, mail, letter, fault, schedule)
    return True


def _claim(database: Database) -> tuple[UUID, UUID] | None:
    now = func.clock_timestamp()
    with database.transaction() as session:
        mail = session.scalar(
            select(Mail)
            .where(
                Mail.state == MailState.pending,
                Mail.next_at <= now,
                or_(Mail.leased_until.is_(None), Mail.leased_until <= now),
            )
            .order_by(Mail.next_at, Mail.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if mail is None:
            return None
        lease = mail.lease = uuid4()
        mail.leased_until = session.scalars(select(now)).one() + LEASE
        return mail.id, lease


def _write(session: Session, mail: Mail, service_url: str | None) -> Letter | None:
    """A mail as it reads now; None: there is nothing to send any more."""
    wanted = session.scalar(select(MailSettings).where(MailSettings.account_id == mail.account_id).with_for_update())
    account = session.get_one(Account, mail.account_id)
    if wanted is None or wanted.address is None or not account.is_active or wanted.bounced_at is not None:
        return None
    if mail.kind is MailKind.confirmation:
        if wanted.confirmed_at is not None:
            return None
        code = new_code()
        wanted.code_digest = digest_of(account.id, code)
        wanted.code_until = session.scalars(select(func.clock_timestamp())).one() + CODE_LIFE
        return _confirmation(wanted.address, code)
    today = legal_day(utc_now())
    # Of a week that is over, nobody wants to know what is due in it.
    if wanted.confirmed_at is None or not wanted.weekly_digest or mail.key != digest.week_of(today):
        return None
    caller = caller_of(session, account)
    enter(session, caller)
    figures = digest.read(session, caller, mail.key, today)
    return digest.letter(figures, wanted.address, account.display_name, service_url)


def _confirmation(address: str, code: str) -> Letter:
    hours = int(CODE_LIFE.total_seconds() // 3600)
    text = f"您的邮箱确认码：{code}\n\n{hours} 小时内有效。如非本人操作，请忽略本邮件。"
    page = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line)
    return Letter(address, "邮箱确认码", text, f'<!doctype html><html lang="zh-CN"><meta charset="utf-8">{page}</html>')


def _record(
    session: Session, mail: Mail, letter: Letter | None, fault: NotSent | None, schedule: Sequence[float]
) -> None:
    now = session.scalars(select(func.clock_timestamp())).one()
    mail.lease = mail.leased_until = None
    mail.done_at = now
    if letter is None:
        mail.state = MailState.dropped
        return
    mail.attempts += 1
    mail.last_error = str(fault) if fault else None
    if fault is None:
        mail.state = MailState.sent
    elif isinstance(fault, Bounced) or mail.attempts > len(schedule):
        mail.state = MailState.failed
        if isinstance(fault, Bounced):
            _note_bounce(session, mail.account_id, letter.to, now)
    else:
        mail.done_at = None
        mail.next_at = now + wait(schedule[mail.attempts - 1])


def _note_bounce(session: Session, account_id: UUID, address: str, now: datetime) -> None:
    held = select(MailSettings).where(MailSettings.account_id == account_id, MailSettings.address == address)
    settings = session.scalar(held.with_for_update())
    if settings is not None:
        settings.bounced_at = now
        settings.version += 1


def run(database: Database, settings: Settings, stop: threading.Event) -> None:
    """Send mail until `stop` is set; without a server in the settings there is nothing to do."""
    mailer = Mailer.of(settings)
    while mailer is not None and not stop.is_set():
        try:
            pause = 0.0 if send_next(database, mailer, settings.service_url) else PAUSE_S
        except Exception:
            log.exception("a mail could not be written or recorded; it will be tried again")
            pause = FAULT_S
        stop.wait(pause)


def timetable(settings: Settings) -> list[Job]:
    """Monday at 08:00; the later ticks are for a worker that was away then, and for who wants the digest since."""
    if Mailer.of(settings) is None:
        return []

    def work(session: Session, tick: datetime) -> None:
        prepare_digests(session, tick)

    return [Job("weekly digests", "0 8-20 * * *", work)]
