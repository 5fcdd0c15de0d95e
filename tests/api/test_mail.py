"""Mail through a real SMTP server: a code that confirms, a digest once a week, refusals."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import ValidationError
from sqlalchemy import select, update

from app.foundation.time import utc_now
from app.messages.mail import Mailer
from app.messages.mailing import prepare_digests, send_next
from app.messages.models import Mail, MailSettings
from app.messages.vocabulary import MailState
from app.settings import Settings, is_mail_address
from tests.api.test_messages import new_case
from tests.casework_steps import API, Desk
from tests.conftest import COUNTY2, World


@dataclass
class Post:
    """A mail server's other end; `refuses` is what it says to a recipient."""

    refuses: str | None = None
    letters: list[EmailMessage] = field(default_factory=list)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: list[str]) -> str:
        if self.refuses:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.letters.append(letter)
        return "250 OK"


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def mailer(post: Post) -> Iterator[Mailer]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    controller = Controller(post, hostname="127.0.0.1", port=port)
    controller.start()
    found = Mailer.of(
        Settings(
            smtp_host="127.0.0.1", smtp_port=port, smtp_security="none", mail_from="redline@example.org", _env_file=None
        )
    )
    assert found is not None
    yield found
    controller.stop()


def choose(world: World, version: int, **given: object) -> dict:
    headers = Desk(world).headers("county") | {"If-Match": f'"{version}"'}
    body = {"address": "wang@example.org", "weekly_digest": True} | given
    answer = world.client.put(f"{API}/inbox/settings", headers=headers, json=body)
    assert answer.status_code == 200, answer.text
    held: dict = answer.json()
    return held


def words(letter: EmailMessage) -> str:
    body = letter.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_an_address_counts_when_its_code_came_back_and_a_digest_comes_once_a_week(
    world: World, mailer: Mailer, post: Post
) -> None:
    desk = Desk(world)
    mine, theirs = new_case(desk), new_case(desk, COUNTY2)
    assert choose(world, 0)["is_confirmed"] is False
    now = utc_now()
    with world.database.transaction(see_all=True) as session:
        assert prepare_digests(session, now) == 0, "nobody's address yet"
    assert send_next(world.database, mailer, None) and not send_next(world.database, mailer, None)
    code = re.search(r"[A-Z2-7]{5}-[A-Z2-7]{5}", words(post.letters[0]))
    assert code
    for wrong in ("AAAAA-AAAAA", "王", code[0][:-1]):
        assert desk.post("county", "/inbox/settings/confirm", {"code": wrong}, None).status_code == 422
    assert desk.post("county2", "/inbox/settings/confirm", {"code": code[0]}, None).status_code == 422
    assert desk.post("county", "/inbox/settings/confirm", {"code": code[0].lower()}, None).json()["is_confirmed"]
    assert desk.post("county", "/inbox/settings/confirm", {"code": code[0]}, None).status_code == 422, "used"
    for expected in (1, 0):
        with world.database.transaction(see_all=True) as session:
            assert prepare_digests(session, now) == expected
    # A worker dies with it in its hands: another sends it when the lease has run out.
    with world.database.transaction() as session:
        session.execute(update(Mail).values(leased_until=datetime(2100, 1, 1, tzinfo=UTC)))
    assert not send_next(world.database, mailer, "https://redline.example")
    with world.database.transaction() as session:
        session.execute(update(Mail).values(leased_until=now))
    assert send_next(world.database, mailer, "https://redline.example")
    letter = post.letters[1]
    assert letter["To"] == "wang@example.org" and "在办 1 件" in letter["Subject"]
    html = letter.get_body(("html",))
    assert html is not None
    for text in (words(letter), html.get_content()):
        assert mine["number"] in text and theirs["number"] not in text and "已派发：1" in text
        assert f"https://redline.example/api/v1/cases/{mine['id']}" in text
    assert not send_next(world.database, mailer, None)


def test_a_server_that_is_busy_is_tried_again_and_one_that_refuses_is_noted(
    world: World, mailer: Mailer, post: Post
) -> None:
    choose(world, 0)
    post.refuses = "451 later"
    assert send_next(world.database, mailer, None)
    with world.database.transaction() as session:
        mail = session.scalars(select(Mail)).one()
        assert (mail.state, mail.attempts) == (MailState.pending, 1) and mail.next_at > utc_now()
        mail.next_at = utc_now()
    post.refuses = "550 nobody"
    assert send_next(world.database, mailer, None)
    with world.database.transaction() as session:
        assert session.scalars(select(Mail.state)).all() == [MailState.failed]
        assert session.scalars(select(MailSettings.bounced_at)).one() is not None
    answer = world.client.get(f"{API}/inbox/settings", headers=Desk(world).headers("county"))
    assert answer.json()["bounced_at"] and answer.headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    "address",
    ["a", "a@b\r\nBcc: x@y.org", "a@b.org\n", "<a@b.org>", "a b@c.org", "a@b.org,c@d.org", "王@b.org", "@b.org"],
)
def test_an_address_is_one_address_and_nothing_more(address: str) -> None:
    assert not is_mail_address(address)
    assert is_mail_address("wang.x+y@sub.example.org")


@pytest.mark.parametrize(
    "given",
    [{"smtp_host": "h"}, {"smtp_host": "h", "mail_from": "a@b.org", "smtp_user": "u"},
     {"smtp_host": "h", "mail_from": "a@b.org", "smtp_user": "u", "smtp_password": "p", "smtp_security": "none"}],
)  # fmt: skip
def test_settings_of_mail_are_whole(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(**given, _env_file=None)
