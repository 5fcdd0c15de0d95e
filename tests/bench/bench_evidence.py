"""Photos sent by many clients at once, beside a plain copy of the same bytes, and beside looking into them alone.

Photos of 4 MB by 20 clients to two API processes on an embedded cluster, as forms (one request each) and as resumable
uploads (two each); every photo is another file of one of 20 cases. The copy writes the same bytes by as many threads,
each file synced to the disk as the storage's are. The bare body is the limit of HTTP: the same clients, and two
processes of uvicorn and Starlette that write each body to a file and sync it. Clients and servers share the machine's
cores; the columns on the right tell how many milliseconds of a core a photo takes of each.
"""

from __future__ import annotations

import base64
import http.client
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
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
from tests.bench.service import free_port, ours, service
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
    """A kept connection a thread; clients are shared out among the processes."""

    def __init__(self, ports: Sequence[int], photo: bytes, token: str = "", cases: Sequence[str] = ()) -> None:
        self._token, self._cases, self._photo = token, cases, photo
        self._own = threading.local()
        self._turns = itertools.cycle(ports)

    def _ask(self, method: str, path: str, headers: dict[str, str], *body: bytes) -> http.client.HTTPResponse:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", next(self._turns), timeout=120)
        headers |= {"Authorization": f"Bearer {self._token}", "Content-Length": str(sum(map(len, body)))}
        self._own.connection.request(method, path, body, headers)
        answer: http.client.HTTPResponse = self._own.connection.getresponse()
        content = answer.read()
        if answer.status not in (201, 204):
            raise RuntimeError(f"{answer.status}: {content[:300]!r}")
        return answer

    def _path(self, number: int) -> str:
        return f"/api/v1/cases/{self._cases[number % len(self._cases)]}/evidence"

    def send_bare(self, number: int) -> None:
        self._ask("POST", "/", {}, another(self._photo, number))

    def send_form(self, number: int) -> None:
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="kind"\r\n\r\nphoto\r\n--{_BOUNDARY}\r\n'
            f'Content-Disposition: form-data; name="file"; filename="{number}.jpg"\r\n\r\n'
        ).encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        photo = another(self._photo, number)
        self._ask("POST", self._path(number), headers, head, photo, f"\r\n--{_BOUNDARY}--\r\n".encode())

    def send_upload(self, number: int) -> None:
        photo = another(self._photo, number)
        tus = {"Tus-Resumable": "1.0.0"}
        said = {"kind": b"photo", "filename": f"{number}.jpg".encode()}
        metadata = ",".join(f"{name} {base64.b64encode(value).decode()}" for name, value in said.items())
        begun = self._ask(
            "POST",
            self._path(number) + "/uploads",
            tus | {"Upload-Length": str(len(photo)), "Upload-Metadata": metadata},
        )
        piece = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        self._ask("PATCH", begun.headers["Location"], piece, photo)


@dataclass(frozen=True)
class _Took:
    """Seconds of the clock, and of the processors by the clients and by all that they asked."""

    what: str
    seconds: float
    own: float
    others: float


def _measure(what: str, photos: int, work: Callable[[int], Any]) -> _Took:
    def used() -> tuple[float, float]:
        own, others = psutil.Process().cpu_times(), 0.0
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                others += times.user + times.system
        return own.user + own.system, others

    own, others = used()
    seconds = in_threads(photos, work)
    own_after, others_after = used()
    return _Took(what, seconds, own_after - own, others_after - others)


def _warm(send: Callable[[int], None], number: int) -> None:
    send(10**6 + number)


def _peak_mib(ports: Sequence[int]) -> list[float]:
    """The most memory that each process that listens there had resident (VmHWM), MiB."""
    peaks = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(line.laddr.port in ports and line.status == psutil.CONN_LISTEN for line in child.net_connections()):
                status = Path(f"/proc/{child.pid}/status").read_text()
                peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return peaks


def _bare(folder: Path, stack: ExitStack) -> list[int]:
    """Two processes that write bodies into a folder; their ports."""
    folder.mkdir()
    ports = [free_port() for _ in range(2)]
    for port in ports:
        command = [sys.executable, "-m", "tests.bench.bare_upload", str(folder), str(port)]
        stack.enter_context(service(command, {}, port, folder.with_suffix(".log")))
    return ports


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
        ExitStack() as stack,
    ):
        folder = Path(name)
        urls = cluster.create_database("bench_evidence")
        upgrade(urls.owner)
        database = Database(urls.application)
        tokens, detections = _prepare(database)
        database.dispose()
        copies, bodies = folder / "copies", folder / "bodies"
        copies.mkdir()

        def copy(number: int) -> None:
            with (copies / f"{number}.jpg").open("xb") as target:
                target.write(another(photo, number))
                target.flush()
                os.fsync(target.fileno())

        def read(number: int) -> None:
            read_facts(io.BytesIO(another(photo, number)), EvidenceKind.photo)

        ports = stack.enter_context(ours(urls, folder))
        half = CASES // 2
        cases = _dispatch(ports[0], tokens["officer"], detections)
        bare = _Senders(_bare(bodies, stack), photo)
        forms = _Senders(ports, photo, tokens["county"], cases[:half])
        uploads = _Senders(ports, photo, tokens["county"], cases[half:])
        # Each process loads what it needs for its first photo.
        for send in (bare.send_bare, forms.send_form, uploads.send_upload):
            in_threads(2 * CLIENTS, partial(_warm, send))
        took = [_measure("plain copy, each file synced", photos, copy)]
        shutil.rmtree(copies)
        took.append(_measure("a bare body to a file, synced", photos, bare.send_bare))
        shutil.rmtree(bodies)
        took += [
            _measure("pictures looked into, 1 process", photos, read),
            _measure("evidence by a form", photos, forms.send_form),
            _measure("evidence by a resumable upload", photos, uploads.send_upload),
        ]
        peaks = _peak_mib(ports)
    print(f"{photos} photos of {len(photo) / 1e6:.1f} MB, {CLIENTS} clients, 2 processes, {half} cases a way")
    print(f"most memory of a process: {max(peaks):.0f} MiB")
    megabytes, (copied, plain) = photos * len(photo) / 1e6, (each.seconds for each in took[:2])
    rows = [
        (
            each.what,
            f"{each.seconds:.1f}",
            f"{photos / each.seconds:.1f}",
            f"{megabytes / each.seconds:.0f}",
            ratio(copied, each.seconds),
            ratio(plain, each.seconds),
            f"{1000 * each.own / photos:.0f}",
            f"{1000 * each.others / photos:.0f}",
        )
        for each in took
    ]
    show(("", "s", "photos/s", "MB/s", "of the copy", "of the bare", "client ms", "server ms"), rows)
