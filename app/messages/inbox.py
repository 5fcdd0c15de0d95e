"""The inbox of an account, and where it wants its mail."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.guards import invalid
from app.casework.lifecycle import STATE_LABELS
from app.casework.models import Case
from app.casework.transitions import check_version
from app.foundation.errors import NotFound, StaleVersion, TooManyRequests
from app.foundation.identity import new_id
from app.messages.mailing import digest_of
from app.messages.models import InboxMessage, Mail, MailSettings
from app.messages.schemas import InboxAnswer, MailAnswer, MailChoice
from app.messages.vocabulary import WORDS, MailKind

# Codes that an account may have sent, so that nobody fills another's mailbox with them.
MOST_CODES_A_DAY: Final = 5


def select_own(caller: Caller) -> Select[Any]:
    """The caller's messages of cases that it may see still."""
    mine = select(InboxMessage).join(Case, Case.id == InboxMessage.case_id)
    return in_jurisdiction(mine.where(InboxMessage.account_id == caller.account_id), caller, Case)


def unread(session: Session, caller: Caller) -> int:
    waiting = (
        select_own(caller)
        .where(InboxMessage.read_at.is_(None))
        .with_only_columns(func.count(), maintain_column_froms=True)
    )
    return int(session.scalars(waiting).one())


def mark(session: Session, caller: Caller, message_id: UUID) -> InboxMessage:
    """Mark one as read; done again, it stays read since then.

    Raises:
        NotFound: there is none, or it is not the caller's.
    """
    message: InboxMessage | None = session.scalar(select_own(caller).where(InboxMessage.id == message_id))
    if message is None:
        raise NotFound()
    _mark(session, [message.id])
    session.refresh(message)
    return message


def mark_up_to(session: Session, caller: Caller, message_id: UUID) -> None:
    """Mark a message and all older ones as read."""
    message = session.scalar(select_own(caller).where(InboxMessage.id == message_id))
    if message is None:
        raise invalid("up_to", "there is no such message in your inbox")
    older = select_own(caller).where(InboxMessage.id <= message_id, InboxMessage.read_at.is_(None))
    _mark(session, older.with_only_columns(InboxMessage.id, maintain_column_froms=True))


def _mark(session: Session, ids: Any) -> None:
    session.execute(
        update(InboxMessage)
        .where(InboxMessage.id.in_(ids), InboxMessage.read_at.is_(None))
        .values(read_at=func.now())
        .execution_options(synchronize_session=False)
    )


def answers(session: Session, messages: Sequence[InboxMessage]) -> list[InboxAnswer]:
    wanted = select(Case.id, Case.number).where(Case.id.in_({message.case_id for message in messages}))
    numbers = {row.id: row.number for row in session.execute(wanted)}
    return [_answer(message, numbers[message.case_id]) for message in messages]


def _answer(message: InboxMessage, number: str) -> InboxAnswer:
    words = WORDS[message.event]
    filled = {
        "number": number,
        "state": STATE_LABELS[message.state] if message.state else "",
        "state_en": message.state.value if message.state else "",
        "due": message.due_on.isoformat() if message.due_on else "",
    }
    return InboxAnswer(
        id=message.id,
        event=message.event,
        title=words.title,
        title_en=words.title_en,
        body=words.body.format(**filled),
        body_en=words.body_en.format(**filled),
        case_id=message.case_id,
        case_number=number,
        state=message.state,
        due_on=message.due_on,
        made_at=message.made_at,
        read_at=message.read_at,
    )


def mail_settings(session: Session, caller: Caller, *, lock: bool = False) -> MailSettings | None:
    statement = select(MailSettings).where(MailSettings.account_id == caller.account_id)
    return session.scalar(statement.with_for_update() if lock else statement)


def choose_mail(session: Session, caller: Caller, version: int, given: MailChoice) -> MailSettings:
    """Where mail goes, and which. Another address is nobody's until the code that is sent there comes back.

    Raises:
        StaleVersion: it was changed meanwhile.
        TooManyRequests: enough codes were sent today.
    """
    held = mail_settings(session, caller, lock=True)
    if held is None:
        if version != 0:
            raise StaleVersion("If-Match names no version of this resource; read it again and send its ETag.")
        fresh = insert(MailSettings).values(account_id=caller.account_id, version=0)
        session.execute(fresh.on_conflict_do_nothing())
        held = mail_settings(session, caller, lock=True)
        assert held is not None
    check_version(held.version, version)
    if given.weekly_digest and given.address is None:
        raise invalid("address", "a digest needs an address to be sent to")
    held.version += 1
    held.weekly_digest = given.weekly_digest
    if given.address != held.address or (held.bounced_at is not None and given.address is not None):
        held.address = given.address
        held.confirmed_at = held.code_digest = held.code_until = held.bounced_at = None
    if held.address is not None and held.confirmed_at is None:
        _ask_for_code(session, held)
    session.flush()
    return held


def _ask_for_code(session: Session, held: MailSettings) -> None:
    today = select(func.count()).where(
        Mail.account_id == held.account_id,
        Mail.kind == MailKind.confirmation,
        Mail.made_at > func.now() - timedelta(days=1),
    )
    if session.scalars(today).one() >= MOST_CODES_A_DAY:
        raise TooManyRequests("Several codes were sent today; try again tomorrow.", headers={"Retry-After": "86400"})
    session.add(Mail(id=new_id(), account_id=held.account_id, kind=MailKind.confirmation, key=str(held.version)))


def confirm(session: Session, caller: Caller, code: str) -> MailSettings:
    """Show that the address is the account's own. 50 random bits that hold a day are not guessed over HTTP.

    Raises:
        Invalid: it is not the code that was sent last, or too old.
    """
    held = mail_settings(session, caller, lock=True)
    if held is not None and held.code_digest is not None and held.code_until is not None:
        now = session.scalars(select(func.clock_timestamp())).one()
        if now < held.code_until and hmac.compare_digest(held.code_digest, digest_of(caller.account_id, code)):
            held.confirmed_at, held.code_digest, held.code_until = now, None, None
            held.version += 1
            session.flush()
            return held
    raise invalid("code", "it is not the code that was sent last, or older than a day; save the address for another")


def mail_answer(held: MailSettings | None, sends_mail: bool) -> MailAnswer:
    return MailAnswer(
        version=held.version if held else 0,
        address=held.address if held else None,
        is_confirmed=held is not None and held.confirmed_at is not None,
        bounced_at=held.bounced_at if held else None,
        weekly_digest=held is not None and held.weekly_digest,
        service_sends_mail=sends_mail,
    )
