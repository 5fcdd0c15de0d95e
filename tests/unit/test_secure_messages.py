"""Mail and webhooks over real TLS: nothing is said, and no password, to whom cannot be trusted."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.foundation.time import utc_now
from app.messages.destinations import Destination
from app.messages.mail import Letter, Mailer, NotSent
from app.messages.sending import Outcome, send
from app.settings import Settings
from tests.certificates import contexts

LETTER = Letter("wang@example.org", "题", "文", "<p>文</p>")


@dataclass
class Post:
    """A mail server that says who signed in, and keeps what comes."""

    signed_in: list[tuple[bytes, bytes]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.bodies.append(envelope.content)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        self.signed_in.append((given.login, given.password))
        return AuthResult(success=given.password == b"right", handled=False)


@contextmanager
def mail_server(post: Post, context: ssl.SSLContext | None, *, at_once: bool = False) -> Iterator[int]:
    """A server on 127.0.0.1, its port: TLS from the first byte, by STARTTLS, or not at all."""
    options: dict[str, object] = {"tls_context": context, "auth_require_tls": True} if context and not at_once else {}
    if at_once:
        options = {"ssl_context": context, "auth_require_tls": False}
    elif context is None:
        # It asks for the password in clear text.
        options = {"auth_require_tls": False}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    controller = Controller(post, hostname="127.0.0.1", port=port, authenticator=post.authenticate, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def mailer(port: int, security: str, context: ssl.SSLContext, password: str = "right") -> Mailer:
    settings = Settings(
        smtp_host="127.0.0.1", smtp_port=port, smtp_security=security, smtp_user="red", smtp_password=password,
        mail_from="redline@example.org", _env_file=None,
    )  # fmt: skip
    made = Mailer.of(settings, context)
    assert made is not None
    return made


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_letter_goes_out_signed_in_and_in_secret(security: str, tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "127.0.0.1")
    post = Post()
    with mail_server(post, server, at_once=security == "tls") as port:
        mailer(port, security, client).send(uuid4(), LETTER, utc_now())
        with pytest.raises(NotSent, match="535") as refusal:
            mailer(port, security, client, "wrong").send(uuid4(), LETTER, utc_now())
    assert "wrong" not in str(refusal.value)
    # A client that is refused tries every mechanism that the server offers.
    assert set(post.signed_in) == {(b"red", b"right"), (b"red", b"wrong")} and len(post.bodies) == 1


def test_no_password_goes_to_a_server_without_tls_or_with_anothers_certificate(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "127.0.0.1")
    others, _ = contexts(tmp_path, "127.0.0.2")
    named_otherwise, trusting = contexts(tmp_path, "127.0.0.3")
    post = Post()
    for offered, trusted in ((None, client), (others, client), (named_otherwise, trusting)):
        with mail_server(post, offered) as port, pytest.raises(NotSent):
            mailer(port, "starttls", trusted).send(uuid4(), LETTER, utc_now())
    with mail_server(post, server, at_once=True) as port, pytest.raises(NotSent):
        mailer(port, "tls", trusting).send(uuid4(), LETTER, utc_now())
    assert post.signed_in == [] and post.bodies == []


@contextmanager
def hook_server(context: ssl.SSLContext, bodies: list[bytes]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None:
            return

    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_webhook_goes_to_the_host_that_its_certificate_names_and_to_no_other(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, "127.0.0.1")
    named_otherwise, trusting = contexts(tmp_path, "127.0.0.3")
    bodies: list[bytes] = []
    untrusted = Outcome(None, "no trusted TLS connection")
    with hook_server(server, bodies) as port:
        there = Destination(True, "127.0.0.1", "127.0.0.1", port, "/")
        assert send(there, {}, b"{}", client) == Outcome(204)
        assert send(there, {}, b"{}", trusting) == untrusted
        # The address is right, and the name for which it stood is not the certificate's.
        assert send(Destination(True, "hook.example", "127.0.0.1", port, "/"), {}, b"{}", client) == untrusted
    with hook_server(named_otherwise, bodies) as port:
        assert send(Destination(True, "127.0.0.1", "127.0.0.1", port, "/"), {}, b"{}", trusting) == untrusted
    assert bodies == [b"{}"]
