"""Where webhooks may be sent: addresses of the public internet, and networks that the operator lists.

Anybody with an account names addresses here, and the service stands inside an office's network: what it may be talked
into asking there (server-side request forgery) is decided on the addresses that a name stands for, at registration and
again at every sending, and the connection goes to the very address that was decided on. So a name that changes
between looking and connecting (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# A host's name and port to the addresses that it stands for; raises OSError.
Resolver = Callable[[str, int], Sequence[str]]

RESOLVE_S: Final = 5.0
MAX_URL: Final = 2000
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label begins with a letter: `0x7f.1`, `127.1` and `2130706433` are numbers to some resolvers (WHATWG URL,
# host parsing).
_NAME = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.?")
# Global by IANA's registry, or by Python's list of it (before 3.11.10), but a way to IPv4 addresses inside, or a
# cloud's own: 6to4, Teredo, ORCHID and benchmarks (2001::/23), Azure's metadata, Oracle's (192.0.0.192).
_REFUSED: Final[tuple[Network, ...]] = (
    ip_network("2001::/23"),
    ip_network("2002::/16"),
    ip_network("168.63.129.16/32"),
    ip_network("192.0.0.0/24"),
    ip_network("192.88.99.0/24"),
)
# All that is given out as unicast (RFC 4291): without mapped, translated (64:ff9b::/96), local and site-local ones.
_UNICAST_6: Final = IPv6Network("2000::/3")
_resolving = ThreadPoolExecutor(8, thread_name_prefix="resolve")


class Unfit(Exception):
    """Why nothing is sent to an address, in words for its owner."""


@dataclass(frozen=True)
class Destination:
    """Where a webhook goes.

    Attributes:
        host: as certificate and `Host` have it.
        address: to connect to; one of the host's, and allowed.
        target: path and query.
    """

    is_https: bool
    host: str
    address: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.is_https else 80) else f"{name}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by the machine's resolver, waited for no longer than `RESOLVE_S`."""
    asked = _resolving.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        return [str(row[4][0]) for row in asked.result(RESOLVE_S)]
    except TooLate:
        asked.cancel()
        raise OSError("the name was not resolved in time") from None
    except UnicodeError:
        raise OSError("no name") from None


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is public, or in a network that the operator lists. A mapped one counts as what it maps."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in networks):
        return True
    if isinstance(address, IPv6Address) and address not in _UNICAST_6:
        return False
    refused = any(address.version == network.version and address in network for network in _REFUSED)
    return address.is_global and not address.is_multicast and not refused


def find(url: str, networks: Sequence[Network], resolver: Resolver = resolve) -> Destination:
    """Where to send to, now. Every address of the host must be allowed.

    Raises:
        Unfit: it is no address of the form wanted, or leads where nothing is sent.
    """
    is_https, host, port, target = _parts(url)
    try:
        literal: Address | None = ip_address(host)
    except ValueError:
        literal = None
        if not _NAME.fullmatch(host) or len(host) > 253:
            raise Unfit("its host is neither a name nor an IP address in the usual form") from None
    try:
        found = [str(literal)] if literal else list(dict.fromkeys(resolver(host, port)))
        addresses = [ip_address(address.partition("%")[0]) for address in found]
    except (OSError, ValueError):
        addresses = []
    # One answer for a name that there is not and for one inside: nobody learns the names of a network by asking.
    if not addresses or not all(is_allowed(address, networks) for address in addresses):
        raise Unfit("its host stands for no address, or for one that nothing may be sent to")
    if not is_https and not all(address.is_loopback for address in addresses):
        raise Unfit("it must begin with https://")
    return Destination(is_https, host.rstrip("."), str(addresses[0]), port, target)


def _parts(url: str) -> tuple[bool, str, int, str]:
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise Unfit(f"it is no URL of at most {MAX_URL} printable ASCII characters (a Chinese name goes as xn--…)")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise Unfit("it is no URL") from None
    if parts.scheme not in ("https", "http"):
        raise Unfit("it must begin with https://")
    if "@" in parts.netloc or "#" in url:
        raise Unfit("it holds a user, a password or a fragment; the signature says who sends")
    if not host or port == 0:
        raise Unfit("it names no host, or no port that there is")
    is_https = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return is_https, host, port or (443 if is_https else 80), target
