"""One message to one address: signed as Standard Webhooks has it, sent over a connection of its own.

No proxy of the environment's, no redirect, no second try, no more of the answer read than its status: what the
receiver does costs `TOTAL_S` seconds and a few KiB at most.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from standardwebhooks import Webhook as Signer
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from app import __version__
from app.messages.destinations import Destination

# From the connection's first packet to the answer's status, seconds.
TOTAL_S: Final = 15.0
CONNECT_S: Final = 5.0
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # how one begins, not one


@dataclass(frozen=True)
class Outcome:
    """What became of a sending: the receiver's status, or why there was none."""

    status: int | None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def new_secret() -> bytes:
    """A key of 32 bytes; the specification wants 24 to 64."""
    return secrets.token_bytes(32)


def shown(secret: bytes) -> str:
    """A key as its owner writes it down."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def headers_of(message_id: str, body: str, keys: Sequence[bytes], now: datetime) -> dict[str, str]:
    """The headers of a message, one signature for each key (Standard Webhooks 1.0)."""
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"Redline/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(key).sign(message_id, now, body) for key in keys),
    }


@lru_cache
def trusted() -> ssl.SSLContext:
    """The machine's authorities, or those that `SSL_CERT_FILE` names."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def send(
    destination: Destination, headers: dict[str, str], body: bytes, context: ssl.SSLContext | None = None
) -> Outcome:
    """POST a body; never raises for what the receiver or the network does."""
    connection = _connection(destination, context or trusted())
    late = threading.Event()

    def cut() -> None:
        late.set()
        # A receiver that answers byte by byte outlasts every limit on a single read.
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TOTAL_S, cut)
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        connection.timeout = TOTAL_S
        given = {"Host": destination.host_header, "Accept-Encoding": "identity", "Connection": "close", **headers}
        connection.request("POST", destination.target, body, given, preload_content=False, decode_content=False)
        answer = connection.getresponse()
        # What was cut off in the middle of its headers reads like an answer that is whole.
        return Outcome(None, "too slow") if late.is_set() else Outcome(answer.status)
    except ssl.SSLError:
        return Outcome(None, "too slow" if late.is_set() else "no trusted TLS connection")
    except TimeoutError:
        return Outcome(None, "too slow")
    except (HTTPError, OSError, ValueError) as fault:
        return Outcome(None, "too slow" if late.is_set() else _words(fault))
    except Exception:  # http.client's own, of an answer that is none
        return Outcome(None, "too slow" if late.is_set() else "no answer in HTTP")
    finally:
        timer.cancel()
        connection.close()


def _words(fault: Exception) -> str:
    name = type(fault).__name__
    if "Timeout" in name:
        return "too slow"
    return "no trusted TLS connection" if "SSL" in name else "no connection"


def _connection(destination: Destination, context: ssl.SSLContext) -> HTTPConnection:
    """To the address that was checked; the certificate must be the host's."""
    if not destination.is_https:
        return HTTPConnection(destination.address, destination.port, timeout=CONNECT_S)
    return HTTPSConnection(
        destination.address,
        destination.port,
        timeout=CONNECT_S,
        ssl_context=context,
        server_hostname=destination.host,
    )
