"""The messenger: a thread of a worker that makes messages and sends them, beside its runs."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from app.foundation.database import Database
from app.messages.delivering import SCHEDULE, Task, claim, deliver, record
from app.messages.destinations import Network, Resolver, resolve
from app.messages.making import make
from app.settings import Settings

log = logging.getLogger(__name__)

# Sendings at once in one worker.
THREADS: Final = 16
# How long a new event may lie before a free worker looks.
PAUSE_S: Final = 1.0
FAULT_S: Final = 15.0


class Messenger:
    """Makes and sends until it is told to stop. Several, in one process or many, share the work.

    Args:
        schedule: seconds between attempts; tests have no days.
        resolver: names to addresses.
        context: whose certificates are trusted; None: the machine's authorities.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        schedule: Sequence[float] = SCHEDULE,
        resolver: Resolver = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.database = database
        self.schedule = schedule
        self.resolver = resolver
        self.context = context
        self.networks: Sequence[Network] = settings.webhook_networks
        self.service_url = settings.service_url
        self._sending: set[Future[None]] = set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then let the sendings in progress end."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="send") as pool:
            while not stop.is_set():
                try:
                    busy = self.turn(pool)
                    pause = 0.0 if busy else PAUSE_S
                except Exception:
                    # The database may be away for a while; nothing is lost by waiting.
                    log.exception("messages could not be made or taken up; they will be")
                    pause = FAULT_S
                stop.wait(pause)

    def turn(self, pool: ThreadPoolExecutor) -> bool:
        """Make what is new, and hand what is due to the pool; whether there was anything."""
        with self.database.transaction(see_all=True) as session:
            made = make(session, self.service_url)
        self._sending = {running for running in self._sending if not running.done()}
        tasks = claim(self.database, THREADS - len(self._sending))
        self._sending |= {pool.submit(self._send, task) for task in tasks}
        return bool(made or tasks)

    def _send(self, task: Task) -> None:
        try:
            record(self.database, task, deliver(task, self.networks, self.resolver, self.context), self.schedule)
        except Exception:
            # The lease runs out, and it is sent again.
            log.exception("a message was sent or not, and could not be recorded")
