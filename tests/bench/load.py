"""Clients that ask as fast as they are answered: HTTP over a raw socket, SQL over psycopg; each in its own process."""

from __future__ import annotations

import multiprocessing
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Any

Ask = Callable[[str], int]


@dataclass(frozen=True)
class Load:
    """What several clients got together: answers a second, and their mean size in bytes."""

    per_second: float
    mean_bytes: float


def http_client(port: int, headers: dict[str, str]) -> Ask:
    """One kept connection to a service of this machine; asks by path, tells the length of the body.

    Raises:
        RuntimeError: an answer that is not 200, 204 or 304.
    """
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def ask(path: str) -> int:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n".encode())
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += _received(connection)
        head = answer[:end].decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if status not in (200, 204, 304):
            raise RuntimeError(f"{path}: {head}")
        body = bytes(answer[end + 4 :])
        if "transfer-encoding: chunked" in head:
            return _read_chunks(connection, body)
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        left = length - len(body)
        while left > 0:
            left -= len(_received(connection))
        return length

    return ask


def _received(connection: socket.socket) -> bytes:
    got = connection.recv(1 << 18)
    if not got:
        raise RuntimeError("the service closed the connection")
    return got


def _read_chunks(connection: socket.socket, body: bytes) -> int:
    size = 0
    while True:
        while (end := body.find(b"\r\n")) < 0:
            body += _received(connection)
        chunk = int(body[:end], 16)
        while len(body) < end + 4 + chunk:
            body += _received(connection)
        size, body = size + chunk, body[end + 4 + chunk :]
        if chunk == 0:
            return size


def sql_client(url: str, prepare: Sequence[str]) -> Ask:
    """One connection of psycopg that runs complete statements, each giving one value of bytes."""
    from app.foundation.database_setup import connect

    connection: Any = connect(url)
    for statement in prepare:
        connection.execute(statement)

    def ask(statement: str) -> int:
        row: Any = connection.execute(statement, binary=True).fetchone()
        return len(row[0] or b"")

    return ask


def run(clients: Sequence[Callable[[], Ask]], questions: Sequence[str], seconds: float) -> Load:
    """All clients at once for `seconds`, each going round the questions in an order of its own.

    With `seconds` 0 each asks every question once, so that caches, connections and statements are warm.
    """
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(len(clients)), context.Queue()
    processes = [
        context.Process(target=_work, args=(make, list(questions), number, seconds, barrier, results), daemon=True)
        for number, make in enumerate(clients)
    ]
    for process in processes:
        process.start()
    got = [results.get(timeout=seconds + 300) for _ in processes]
    for process in processes:
        process.join()
    if failed := [item for item in got if isinstance(item, str)]:
        raise RuntimeError(failed[0])
    answers, size = sum(item[0] for item in got), sum(item[1] for item in got)
    return Load(sum(item[0] / item[2] for item in got), size / max(answers, 1))


def _work(
    make: Callable[[], Ask], questions: list[str], seed: int, seconds: float, barrier: Any, results: Queue[Any]
) -> None:
    try:
        ask = make()
        random.Random(seed).shuffle(questions)
        barrier.wait(timeout=60)
        began, answers, size = time.perf_counter(), 0, 0
        while answers < len(questions) if seconds == 0 else time.perf_counter() < began + seconds:
            size += ask(questions[answers % len(questions)])
            answers += 1
        results.put((answers, size, time.perf_counter() - began))
    except Exception as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")
