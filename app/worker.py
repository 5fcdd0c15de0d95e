"""The worker: turns the timetable's wheel, carries out runs, and sends messages."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler

from app.access import idempotency, throttling
from app.casework import (
    attaching,
    deadline_jobs,
    deadline_notices,
    interval_checks,
    pickup,
    proof,
    rebounds,
    recovery,
    uploads,
)
from app.foundation.database import Database
from app.foundation.time import utc_now
from app.foundation.timetable import Job, run_due
from app.messages import mailing, retention
from app.messages.messenger import Messenger
from app.monitoring import baselines, rejudging, sweeping
from app.monitoring import service as monitoring
from app.monitoring.execution import execute_next
from app.settings import Settings
from app.statistics import snapshot_checks

log = logging.getLogger(__name__)

# How long a due tick or a queued run may lie before a free worker looks.
WHEEL_SECONDS = 5.0
QUEUE_SECONDS = 1.0
# After a fault that nobody foresaw: time for a database or a disk to come back.
FAULT_SECONDS = 15.0


def all_jobs(database: Database, settings: Settings) -> list[Job]:
    """The jobs that the rooms have in the timetable now; plans come and go while workers run."""
    with database.transaction(see_all=True) as session:
        plans = monitoring.timetable(session)
    return [
        *plans,
        *baselines.timetable(),
        *sweeping.timetable(settings),
        *rejudging.timetable(database),
        *pickup.timetable(),
        *rebounds.timetable(),
        *recovery.timetable(database),
        *attaching.timetable(),
        *uploads.timetable(settings),
        *deadline_notices.timetable(),
        *idempotency.timetable(),
        *throttling.timetable(),
        *deadline_jobs.timetable(),
        *proof.timetable(settings),
        *interval_checks.timetable(),
        *snapshot_checks.timetable(settings),
        *mailing.timetable(settings),
        *retention.timetable(),
    ]


def work(database: Database, settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set; a run in progress is let go at its next tile."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    scheduler = BackgroundScheduler(timezone="UTC")

    def turn() -> None:
        try:
            for done in run_due(database, all_jobs(database, settings), utc_now(), name):
                log.info("tick done: %s", done)
        except Exception:
            # The database may be away for a while; the wheel goes on and finds the tick again.
            log.exception("the timetable could not be read")

    scheduler.add_job(turn, "interval", seconds=WHEEL_SECONDS, next_run_time=utc_now(), max_instances=1, coalesce=True)
    scheduler.start()
    beside = _messages(database, settings, stop)
    log.info("worker %s is ready", name)
    try:
        while not stop.is_set():
            try:
                busy = execute_next(database, settings, stop) is not None
                pause = 0.0 if busy else QUEUE_SECONDS
            except Exception:
                log.exception("a run broke off; it will be taken up again")
                pause = FAULT_SECONDS
            stop.wait(pause)
    finally:
        scheduler.shutdown(wait=True)
        # Whoever left the loop by a fault ends these, too.
        stop.set()
        for thread in beside:
            thread.join()


def _messages(database: Database, settings: Settings, stop: threading.Event) -> list[threading.Thread]:
    """Threads of their own: a run takes hours, and neither a slow receiver nor a slow mail server holds anything up."""
    threads = [
        threading.Thread(target=Messenger(database, settings).run, args=(stop,), name="messenger"),
        threading.Thread(target=mailing.run, args=(database, settings, stop), name="mail"),
    ]
    for thread in threads:
        thread.start()
    return threads


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            # Tiles are committed one by one: nothing is half-written, so there is nothing to wait for.
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    return stop
