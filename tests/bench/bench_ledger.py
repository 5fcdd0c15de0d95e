"""Verification of both ledgers: events a second and core, next to reading the hashes alone and hashing alone.

The time of a core is that of this process and of the database's process together, read from /proc. The ledgers are
read as the service reads them: by its own role, through row-level security.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.casework import proof, seal_files, seals
from app.casework.hash_chain import CASES
from app.casework.signing import Signer, create_key
from app.casework.verifying import _rows, _statement, verify
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.migrate import upgrade
from tests.bench.casework_data import fill
from tests.bench.tables import show

EVENTS, EVENTS_A_CASE = 400_000, 20
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    wall: float
    client: float
    server: float

    def row(self, name: str, events: int) -> list[str]:
        return [
            name, f"{self.wall:.2f}", f"{self.client:.2f}", f"{self.server:.2f}", f"{events / self.wall:,.0f}",
            f"{events / (self.client + self.server):,.0f}",
        ]  # fmt: skip


def cost(session: Session, work: Callable[[], object]) -> Cost:
    process = session.scalar(text("select pg_backend_pid()"))
    stat = Path(f"/proc/{process}/stat")

    def server() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    before, wall, client = server(), time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - client, server() - before)


def read_hashes(session: Session) -> int:
    """What no verification can do without: every hash, in order."""
    read = 0
    for _ in _rows(session, "select sequence, hash from case_events order by sequence"):
        read += 1
    return read


def contents(session: Session, most: int) -> list[bytes]:
    """What is hashed, of some events: the end of each row."""
    limited = f"select * from ({_statement(CASES, None)}) as one offset {2 * most} limit {most}"
    return [row[-700:] for row in _rows(session, limited)]


def run(events: int = EVENTS) -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedCluster(Path(folder), fsync=False) as cluster:
        urls = cluster.create_database("bench_ledger")
        upgrade(urls.owner)
        began = time.perf_counter()
        filled = fill(urls.owner, events // EVENTS_A_CASE, EVENTS_A_CASE, reviewed=True)
        total = filled.events + filled.review_events
        print(f"{filled.cases:,} cases, {filled.events:,} events, {filled.review_events:,} of reviews, ", end="")
        print(f"made in {time.perf_counter() - began:.0f} s")
        database = Database(urls.application)
        measure(database, total, filled.events, Path(folder))
        database.dispose()


def measure(database: Database, total: int, events: int, folder: Path) -> None:
    rows = []
    with database.transaction(see_all=True) as session:
        read_hashes(session)
        rows.append(cost(session, lambda: read_hashes(session)).row("every hash read, nothing checked", events))
        sample = contents(session, events // 4)
        hashed = cost(session, lambda: [hashlib.sha256(one).digest() for one in sample])
        rows.append(hashed.row("700 bytes hashed, nothing read", len(sample)))
        for _ in range(2):
            rows.append(cost(session, lambda: _intact(verify(session).intact)).row("verify", total))
        signer = Signer(create_key(folder / "key.pem"))
        rows.append(cost(session, lambda: seals.seal(session, signer)).row("seal", total))
        written = cost(session, lambda: seals.write_missing(session, folder / "seals"))
        rows.append(written.row("write the seal's file, and check it", total))
        path = folder / "seals" / seals.file_name(1)
        kept = seal_files.read(path)
        checked = cost(session, lambda: _intact(proof.verify_with_seals(session, [kept], [signer.jwk]).intact))
        rows.append(checked.row("verify with the kept seal", total))
    print(f"the seal's file has {path.stat().st_size / 2**20:.1f} MiB\n")
    head = ["what", "wall s", "this process, CPU s", "database, CPU s", "events/s", "events/s and core"]
    show(head, rows)


def _intact(intact: bool) -> None:
    if not intact:
        raise AssertionError("the made ledger does not hold")
