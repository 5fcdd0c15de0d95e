"""A messenger in a process of its own, with short waits: `python -m tests.message_worker DATABASE_URL`."""

from __future__ import annotations

import sys
import threading
from ipaddress import ip_network

from app.foundation.database import Database
from app.messages.messenger import Messenger
from app.settings import Settings


def main(url: str) -> None:
    settings = Settings(webhook_networks=[ip_network("127.0.0.0/8")], _env_file=None)
    # Hours of a receiver that fails, in seconds: an attempt each tenth of one, many times.
    Messenger(Database(url), settings, schedule=[0.1] * 200).run(threading.Event())


if __name__ == "__main__":
    main(sys.argv[1])
