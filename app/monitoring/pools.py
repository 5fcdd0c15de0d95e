"""Where tiles are computed: on threads of this process, or on a Dask cluster. Both take a few jobs at a time."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event
from typing import Any

from app.imagery.refs import SceneReadError
from app.monitoring.tiles import NoHistory, TileFailed, TileJob, TileResult, TileStopped, compute_tile
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a tile could not be computed. `final`: what is wrong lies in the images or the state, and stays."""

    reason: str
    final: bool = False


@dataclass(frozen=True)
class Unknown:
    """Why nothing can be known of a tile yet: nothing is wrong, and its cells are blind spots."""

    reason: str


Outcome = TileResult | Unknown | Failure


class Pool(ABC):
    """Takes jobs while `room` is positive and gives each outcome once, in the order in which they end."""

    @property
    @abstractmethod
    def room(self) -> int:
        """How many more jobs to give it now; a few wait in line, so that no worker is idle."""

    @abstractmethod
    def submit(self, job: TileJob) -> None:
        """Begin a job, or put it in line."""

    @abstractmethod
    def ended(self, seconds: float) -> list[tuple[TileJob, Outcome]]:
        """Jobs that have ended since, after at most so many seconds; nothing of them is kept here."""


def attempt(job: TileJob, stop: Event | None = None) -> Outcome:
    """Compute a tile; a fault is an outcome, so that one tile's does not end the others.

    Nothing of the error itself is kept: GDAL's cannot travel from a cluster's worker.
    """
    try:
        return compute_tile(job, stop=stop)
    except NoHistory as reason:
        return Unknown(str(reason))
    except TileFailed as failure:
        cause = failure.__cause__
        transient = isinstance(cause, OSError) or (isinstance(cause, SceneReadError) and cause.transient)
        return Failure(str(failure), final=not transient)
    except TileStopped as reason:
        return Failure(str(reason))
    except Exception as error:
        log.exception("tile %d,%d of plan %s failed", job.row, job.col, job.plan_id)
        return unforeseen(error)


def unforeseen(error: BaseException) -> Failure:
    return Failure(f"an unforeseen fault ({type(error).__name__}); the operators' log has the cause")


@contextmanager
def open_pool(settings: Settings) -> Iterator[Pool]:
    """The pool that the settings name. Left early, it drops the jobs in line; those in progress end at their next scene
    here, and are left alone on a cluster, where nobody waits for them."""
    if not settings.dask_scheduler:
        with ThreadPoolExecutor(settings.run_threads, thread_name_prefix="tile") as threads:
            stop = Event()
            try:
                yield _Threads(threads, settings.run_threads, stop)
            finally:
                stop.set()
                threads.shutdown(wait=True, cancel_futures=True)
        return
    from distributed import Client

    with Client(settings.dask_scheduler, set_as_default=False) as client:
        cluster = _Cluster(client)
        try:
            yield cluster
        finally:
            cluster.cancel()


class _Threads(Pool):
    """Here: reading and the kernels leave the interpreter's lock alone, so threads are enough."""

    def __init__(self, executor: ThreadPoolExecutor, threads: int, stop: Event) -> None:
        # One waits in line, so that no thread is idle while an outcome is committed.
        self._executor, self._most, self._stop = executor, threads + 1, stop
        self._jobs: dict[Future[Outcome], TileJob] = {}

    @property
    def room(self) -> int:
        return self._most - len(self._jobs)

    def submit(self, job: TileJob) -> None:
        self._jobs[self._executor.submit(attempt, job, self._stop)] = job

    def ended(self, seconds: float) -> list[tuple[TileJob, Outcome]]:
        if not self._jobs:
            # Nothing to wait for but time.
            self._stop.wait(seconds)
        done, _ = wait(self._jobs, timeout=seconds, return_when=FIRST_COMPLETED)
        return [(self._jobs.pop(future), future.result()) for future in done]


class _Cluster(Pool):
    """A Dask cluster. The scheduler gives a lost worker's tiles to another; one that takes workers down with it fails.

    A task that ran twice has written the same bytes under the same names, and only one outcome comes back.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._jobs: dict[Any, TileJob] = {}
        self._ended: Queue[Any] = Queue()

    @property
    def room(self) -> int:
        # Asked each time: workers come and go. Where there is none yet, one job waits for the first.
        threads = sum(int(count) for count in self._client.nthreads().values())
        return max(2 * threads, 1) - len(self._jobs)

    def submit(self, job: TileJob) -> None:
        future = self._client.submit(attempt, job, pure=False)
        self._jobs[future] = job
        future.add_done_callback(self._ended.put)

    def ended(self, seconds: float) -> list[tuple[TileJob, Outcome]]:
        futures = []
        with suppress(Empty):
            futures.append(self._ended.get(timeout=seconds))
            while True:
                futures.append(self._ended.get_nowait())
        # Popped, a future is let go, and with it the result on the cluster.
        return [(self._jobs.pop(future), self._outcome(future)) for future in futures]

    def _outcome(self, future: Any) -> Outcome:
        from distributed import KilledWorker

        if future.status == "cancelled" or future.status == "lost":
            raise ConnectionError("the Dask scheduler has gone, and the tiles in progress with it")
        try:
            outcome: Outcome = future.result()
            return outcome
        except KilledWorker as error:
            times = error.allowed_failures + 1
            return Failure(f"{times} workers of the cluster ended while they computed it", final=True)
        except Exception as error:
            log.exception("a tile failed on the cluster")
            return unforeseen(error)

    def cancel(self) -> None:
        if self._jobs:
            self._client.cancel(list(self._jobs), force=True)
            self._jobs.clear()
