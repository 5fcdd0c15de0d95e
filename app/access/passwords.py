"""Passwords: argon2id, a few computations at once, and what a password must be."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.foundation.errors import Busy, Invalid

MIN_LENGTH = 10
MAX_LENGTH = 256
# One computation takes 64 MiB (RFC 9106, second recommended option, as argon2-cffi has it).
AT_ONCE = 4
# Others wait, in threads that all requests share: a burst of sign-ins leaves most of them to signed-in people.
WAITING = 16

_hasher = PasswordHasher()
_computing = threading.BoundedSemaphore(AT_ONCE)
_queue = threading.BoundedSemaphore(AT_ONCE + WAITING)


@contextmanager
def _turn() -> Iterator[None]:
    if not _queue.acquire(blocking=False):
        raise Busy("Many people sign in at this moment. Try again in a few seconds.", headers={"Retry-After": "3"})
    try:
        with _computing:
            yield
    finally:
        _queue.release()


def hash_password(password: str) -> str:
    """The argon2id hash, with its parameters and salt.

    Raises:
        Busy: too many computations wait already.
    """
    with _turn():
        return _hasher.hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Whether a password fits a hash; without one it takes as long, and does not fit.

    Raises:
        Busy: too many computations wait already.
    """
    with _turn():
        try:
            fits = _hasher.verify(password_hash or _decoy(), password)
        except (VerificationError, InvalidHashError):
            return False
    return fits and bool(password_hash)


def is_outdated(password_hash: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


@lru_cache
def _decoy() -> str:
    """Verified when the name is unknown, so that the answer takes as long as for a known one."""
    return _hasher.hash(secrets.token_hex(8))


def check_password(password: str, username: str) -> None:
    """Length alone, and not the account's own name (NIST SP 800-63B, 5.1.1.2: no rules of composition).

    Raises:
        Invalid: it is too short or too long, or is the name.
    """
    if len(password) < MIN_LENGTH:
        raise Invalid(f"A password has at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise Invalid(f"A password has at most {MAX_LENGTH} characters.")
    if password.strip().lower() == username:
        raise Invalid("A password is not the account's own name.")


def check_new_password(old: str, new: str, username: str) -> None:
    """As `check_password`; and it is another one.

    Raises:
        Invalid: it will not do.
    """
    check_password(new, username)
    if old == new:
        raise Invalid("The new password is the old one.")


def one_time_password() -> str:
    """A password for somebody else to type once: 20 letters and digits, none of them easily taken for another."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    groups = ("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))
    return "-".join(groups)
