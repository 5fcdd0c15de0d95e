"""Photos sent by many clients at once, beside a plain copy of the same bytes, and beside looking into them alone.

Photos of 4 MB by 20 clients to two API processes on an embedded cluster, one request each; every photo is another file
of one of 20 cases. The copy writes the same bytes by as many threads, each file synced to the disk as the storage's
are. What the service does besides is looking into each file, hashing it, and two rows.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.access import service as access
from app.access.models import Role
from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.casework.contents import read_facts
from app.casework.models import EvidenceKind
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.migrate import upgrade
from app.settings import REPOSITORY
from tests.bench.service import ours
from tests.bench.tables import ratio, show
from tests.casework_steps import add_detection
from tests.conftest import COUNTY, PASSWORD, PROVINCE

PHOTOS, CLIENTS, CASES = 1000, 20, 20
BYTES = 4_000_000
_BOUNDARY = "redline-bench"


def make_photo() -> bytes:
    """A JPEG of 12 million pixels and about 4 MB, as a phone takes it: soft ground and the sensor's noise."""
    rng = np.random.default_rng(7)
    soft = Image.fromarray(rng.integers(40, 200, (40, 30, 3), np.uint8)).resize((4000, 3000), Image.Resampling.BICUBIC)
    pixels = np.asarray(soft, np.int16) + rng.normal(0, 9, (3000, 4000, 1)).astype(np.int16)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    made = b""
    for quality in range(95, 40, -3):
        target = io.BytesIO()
        image.save(target, "JPEG", quality=quality)
        made = target.getvalue()
        if len(made) <= BYTES:
            break
    # Up to the size in a comment, as makers' notes do.
    while (room := BYTES - len(made)) > 4:
        length = min(room - 2, 65_000)
        made = made[:2] + b"\xff\xfe" + length.to_bytes(2, "big") + bytes(length - 2) + made[2:]
    return made


def another(photo: bytes, number: int) -> bytes:
    """The same picture in another file."""
    return photo[:2] + b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big") + photo[2:]


def in_threads(count: int, work: Callable[[int], Any]) -> float:
    """Seconds for `work(number)` of `count` numbers by `CLIENTS` threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(count)))
    return time.perf_counter() - began


class _Senders:
    """A kept connection a thread."""

    def __init__(self, ports: Sequence[int], token: str, cases: Sequence[str], photo: bytes) -> None:
        self._token, self._cases, self._photo = token, cases, photo
        self._own = threading.local()
        # Clients are shared out among the processes.
        self._turns = itertools.cycle(ports)

    def send(self, number: int) -> None:
        if not hasattr(self._own, "connection"):
            port = next(self._turns)
            self._own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="kind"\r\n\r\nphoto\r\n--{_BOUNDARY}\r\n'
            f'Content-Disposition: form-data; name="file"; filename="{number}.jpg"\r\n\r\n'
        ).encode()
        body = b"".join((head, another(self._photo, number), f"\r\n--{_BOUNDARY}--\r\n".encode()))
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        }
        path = f"/api/v1/cases/{self._cases[number % len(self._cases)]}/evidence"
        self._own.connection.request("POST", path, body, headers)
        answer = self._own.connection.getresponse()
        content = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {content[:300]!r}")


def _prepare(database: Database) -> tuple[dict[str, str], list[str]]:
    """Divisions, two accounts with tokens, and detections that wait."""
    with database.transaction(see_all=True) as session:
        import_layer(
            session,
            layer=Layer.divisions,
            path=REPOSITORY / "sample" / "jilin" / "divisions.geojson",
            valid_from=date(2020, 1, 1),
            source_document="bench",
            imported_by=None,
        )
        tokens = {}
        for username, role, unit in (("officer", Role.officer, PROVINCE), ("county", Role.county, COUNTY)):
            account = access.add_account(session, username=username, password=PASSWORD, role=role, unit_code=unit)
            session.flush()
            tokens[username], _ = access.issue_token(session, account, "bench", timedelta(hours=2))
        detections = [str(add_detection(session).id) for _ in range(CASES)]
    return tokens, detections


def _dispatch(port: int, token: str, detections: Sequence[str]) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "If-Match": '"0"'}
    cases = []
    for detection in detections:
        connection.request("POST", f"/api/v1/detections/{detection}/dispatch", "{}", headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {content}")
        cases.append(str(content["id"]))
    return cases


def run(photos: int = PHOTOS) -> None:
    """Prints a table."""
    photo = make_photo()
    with (
        tempfile.TemporaryDirectory(prefix="redline-bench-") as name,
        EmbeddedCluster(Path(name) / "cluster") as cluster,
    ):
        folder = Path(name)
        urls = cluster.create_database("bench_evidence")
        upgrade(urls.owner)
        database = Database(urls.application)
        tokens, detections = _prepare(database)
        copies = folder / "copies"
        copies.mkdir()

        def copy(number: int) -> None:
            with (copies / f"{number}.jpg").open("xb") as target:
                target.write(another(photo, number))
                target.flush()
                os.fsync(target.fileno())

        def read(number: int) -> None:
            read_facts(io.BytesIO(another(photo, number)), EvidenceKind.photo)

        with ours(urls, folder) as ports:
            cases = _dispatch(ports[0], tokens["officer"], detections)
            senders = _Senders(ports, tokens["county"], cases, photo)
            # Each process loads what it needs for its first photo.
            in_threads(2 * CLIENTS, lambda number: senders.send(10**6 + number))
            copied = in_threads(photos, copy)
            sent = in_threads(photos, senders.send)
        looked = in_threads(photos, read)
        database.dispose()
    megabytes = photos * len(photo) / 1e6
    print(f"{photos} photos of {len(photo) / 1e6:.1f} MB, {CLIENTS} clients, 2 processes, {CASES} cases")
    rows = [
        (what, f"{seconds:.1f}", f"{photos / seconds:.1f}", f"{megabytes / seconds:.0f}", ratio(copied, seconds))
        for what, seconds in (
            ("plain copy, each file synced", copied),
            ("pictures looked into, 1 process", looked),
            ("sent as evidence", sent),
        )
    ]
    show(("", "s", "photos/s", "MB/s", "of the copy"), rows)
