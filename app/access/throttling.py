"""Wrong passwords slow the next try down: by name and address together, by name, by address.

Each attempt is counted before the password is looked at, so that many at once are many, in a transaction of its own,
in the database that all processes share. A right password takes the count away again.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from types import MappingProxyType
from typing import Any

from fastapi import Request
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app.access.models import SignInFailure
from app.foundation.database import Database, impatient_transaction, run_sql
from app.foundation.errors import TooManyRequests
from app.foundation.timetable import Job


@dataclass(frozen=True)
class Limit:
    """How wrong passwords are answered: `free` of them cost nothing, each further one doubles the wait.

    Attributes:
        first_s: the first wait, in seconds.
        cap_s: the longest wait, in seconds.
        leak_s: after so many seconds without an attempt one is forgiven.
    """

    free: int
    cap_s: int
    leak_s: int
    first_s: int = 5


# A name is closed to one address long before it is closed to all: who locks somebody out on purpose must come from
# many addresses, and even then the owner gets a try a minute. An office behind one address shares the third.
LIMITS = MappingProxyType(
    {
        "pair": Limit(free=10, cap_s=900, leak_s=900),
        "name": Limit(free=100, cap_s=60, leak_s=60),
        "address": Limit(free=60, cap_s=900, leak_s=60),
    }
)
# Rows that nobody touched for so long are swept.
KEPT_HOURS = 24

# Nothing where the key is blocked: an attempt that is refused does not lengthen the wait.
_ATTEMPT = """
    insert into sign_in_failures as f (key, count, last_at) values (%(key)s, 1, clock_timestamp())
    on conflict (key) do update set (count, last_at, blocked_until) = (
        select n, clock_timestamp(), case when n > %(free)s then clock_timestamp()
            + make_interval(secs => least(%(cap)s, %(first)s * power(2, least(20, n - %(free)s - 1)))) end
        from (
            select greatest(
                0, f.count - floor(extract(epoch from clock_timestamp() - f.last_at) / %(leak)s)::int
            ) + 1 as n
        ) as counted
    )
    where f.blocked_until is null or f.blocked_until <= clock_timestamp()
    returning f.count
"""
_FORGIVE = "update sign_in_failures set count = count - 1, blocked_until = null where key = %(key)s and count > 0"


def client_address(request: Request, trusted_proxies: int) -> str:
    """The address that a request comes from.

    Args:
        trusted_proxies: how many proxies of one's own stand before the service. Each adds the address that it sees to
            the end of `X-Forwarded-For`; what stands before that anybody may have written.
    """
    peer = request.client.host if request.client else "unknown"
    if not trusted_proxies:
        return peer
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    named = hops[-trusted_proxies] if len(hops) >= trusted_proxies else peer
    try:
        return str(ip_address(named))
    except ValueError:
        return peer


def network_of(address: str) -> str:
    """What counts as one address: all of an IPv4 one, the /64 of an IPv6 one, of which one customer has as many."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ip_network((found, 64), strict=False))


def _keys(username: str, address: str) -> dict[str, str]:
    """The key of each limit. Names are hashed: what was typed may be a password, and has any length."""
    name = hashlib.sha256(username.encode(errors="surrogatepass")).hexdigest()
    network = network_of(address)[:64]
    return {"pair": f"pair:{name}:{network}", "name": f"name:{name}", "address": f"address:{network}"}


def count_attempt(database: Database, username: str, address: str) -> None:
    """Count an attempt to sign in, before it is known how it ends.

    Raises:
        TooManyRequests: too many went wrong before; with `Retry-After`. It is not said of what there were too many.
    """
    with impatient_transaction(database) as session:
        # In the order of their kinds, so that two attempts never wait for each other.
        for kind, key in sorted(_keys(username, address).items()):
            limit = LIMITS[kind]
            bounds = {"key": key, "free": limit.free, "first": limit.first_s, "cap": limit.cap_s, "leak": limit.leak_s}
            if run_sql(session, _ATTEMPT, bounds).first() is None:
                # Raised within: what the other keys counted is rolled back.
                raise _blocked(session, key)


def _blocked(session: Session, key: str) -> TooManyRequests:
    until = select(func.extract("epoch", SignInFailure.blocked_until - func.clock_timestamp()))
    seconds = session.scalar(until.where(SignInFailure.key == key)) or 1
    wait = max(1, math.ceil(seconds))
    return TooManyRequests(
        f"Too many attempts to sign in. Try again in {wait} seconds.", headers={"Retry-After": str(wait)}
    )


def forget(session: Session, username: str, address: str) -> None:
    """Take the count away after a right password. The address keeps its other failures: it may be trying names."""
    keys = _keys(username, address)
    run_sql(session, _FORGIVE, {"key": keys["address"]})
    session.execute(delete(SignInFailure).where(SignInFailure.key.in_([keys["name"], keys["pair"]])))


def take_back(database: Database, username: str, address: str) -> None:
    """Uncount an attempt whose password was never looked at."""
    with impatient_transaction(database) as session:
        for _, key in sorted(_keys(username, address).items()):
            run_sql(session, _FORGIVE, {"key": key})


def sweep(session: Session) -> int:
    """Delete what nobody touched for a day and no longer blocks; how many rows."""
    idle = text(f"last_at < now() - interval '{KEPT_HOURS} hours' and coalesce(blocked_until, last_at) < now()")
    swept: Any = session.execute(delete(SignInFailure).where(idle))
    return int(swept.rowcount)


def timetable() -> list[Job]:
    return [Job("sweep sign-in failures", "17 * * * *", lambda session, _: _swept(session))]


def _swept(session: Session) -> None:
    sweep(session)
