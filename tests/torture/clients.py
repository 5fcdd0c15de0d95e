"""Clients that decide on the same cases at the same time, and remember what they were answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

from tests.casework_steps import API, fields_of, photo
from tests.torture.service import Service

# Who gives which command in which state; every state leads on, so that cases go round.
WAYS: dict[str, list[tuple[str, str]]] = {
    "dispatched": [("county", "start_verification"), ("county", "return")],
    "returned": [("officer", "redispatch")],
    "verifying": [("county", "confirm"), ("county", "propose_unfounded"), ("county", "propose_permitted")],
    "unfounded_proposed": [("prefecture", "uphold_proposal"), ("prefecture", "reject_proposal")],
    "permitted_proposed": [("prefecture", "uphold_proposal"), ("prefecture", "reject_proposal")],
    "unfounded": [("province", "take_up_again")],
    "permitted": [("province", "take_up_again")],
    "confirmed": [("county", "submit_plan")],
    "planned": [("prefecture", "approve_plan"), ("prefecture", "return_plan")],
    "rectifying": [("county", "report_progress"), ("county", "request_closure"), ("county", "request_closure")],
    "closure_requested": [("prefecture", "accept"), ("prefecture", "return_closure")],
    "accepted": [("province", "publicise"), ("province", "return_acceptance")],
    "publicised": [("province-other", "close")],
    "closed": [("province", "reopen")],
    "reopened": [("county", "resume")],
}
LOST = frozenset({409, 412})
_PATIENCE = 120.0


@dataclass(frozen=True)
class Win:
    """A command that was answered as done: at which version it was decided, by whom."""

    case_id: str
    version: int
    command: str
    username: str


@dataclass
class Tally:
    """What all clients were answered."""

    wins: list[Win] = field(default_factory=list)
    # By case: keys of uploads that were taken.
    uploads: Counter[str] = field(default_factory=Counter)
    # Cases that were merged, into which.
    merged: list[tuple[str, str]] = field(default_factory=list)
    # Detections and the cases made of them.
    dispatched: list[tuple[str, str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    # Tries that nobody took, requests whose answer never came, those answered "later", and the answers given again.
    refused: int = 0
    broken: int = 0
    postponed: int = 0
    replayed: int = 0
    surprises: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def surprise(self, answer: httpx2.Response) -> None:
        with self.lock:
            self.surprises.append(
                f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
            )


@dataclass
class Client:
    """One client: reads a case, decides, and asks again under the same key until it is answered."""

    service: Service
    headers: dict[str, dict[str, str]]
    tally: Tally
    cases: list[str]
    pairs: list[tuple[str, str]]
    detections: list[str]
    seed: int

    def run(self, stop: threading.Event) -> None:
        self.draw = random.Random(self.seed)
        self.turn = self.draw.randrange(len(self.service.apis))
        with httpx2.Client(timeout=60) as self.http:
            while not stop.is_set():
                dice = self.draw.random()
                if dice < 0.03:
                    self.merge(*self.draw.choice(self.pairs))
                elif dice < 0.06:
                    self.dispatch(self.draw.choice(self.detections))
                else:
                    self.decide(self.draw.choice(self.cases))

    def decide(self, case_id: str) -> None:
        seen = self.send("province", "GET", f"/cases/{case_id}")
        if seen.status_code != 200:
            return self.tally.surprise(seen)
        state, version = seen.json()["state"], seen.json()["version"]
        username, command = self.draw.choice(WAYS[state])
        fields = fields_of(command)
        if command in ("request_closure", "take_up_again"):
            proof = self.upload(case_id)
            if proof is None:
                return None
            fields["evidence_id"] = proof
        answer = self.command(username, case_id, version, command, fields)
        if answer.status_code == 200:
            with self.tally.lock:
                self.tally.wins.append(Win(case_id, version, command, username))
            if answer.json()["version"] != version + 1:
                self.tally.surprise(answer)
        else:
            self.lose(answer, LOST)
        return None

    def command(
        self, username: str, case_id: str, version: int, command: str, fields: dict[str, Any]
    ) -> httpx2.Response:
        body = {"command": command, "fields": fields}
        match = {"If-Match": f'"{version}"'}
        return self.send(username, "POST", f"/cases/{case_id}/transitions", match, json=body)

    def upload(self, case_id: str) -> str | None:
        files = {"file": ("photo.jpg", photo(), "image/jpeg")}
        answer = self.send("county", "POST", f"/cases/{case_id}/evidence", files=files, data={"kind": "photo"})
        if answer.status_code != 201:
            # Evidence of a case that others have brought to its end meanwhile.
            self.lose(answer, LOST)
            return None
        with self.tally.lock:
            self.tally.uploads[case_id] += 1
        return str(answer.json()["id"])

    def merge(self, one: str, other: str) -> None:
        """Two clients merge two cases into each other: locks taken in any other order than by id would meet here."""
        case_id, into = self.draw.sample((one, other), 2)
        fields = fields_of("merge") | {"into_case_id": into}
        answer = self.command("province", case_id, 1, "merge", fields)
        if answer.status_code == 200:
            with self.tally.lock:
                self.tally.merged.append((case_id, into))
        else:
            # 422: the other is merged itself.
            self.lose(answer, LOST | {422})

    def dispatch(self, detection_id: str) -> None:
        answer = self.send("officer", "POST", f"/detections/{detection_id}/dispatch", {"If-Match": '"0"'}, json={})
        if answer.status_code == 201:
            with self.tally.lock:
                self.tally.dispatched.append((detection_id, answer.json()["id"]))
        else:
            self.lose(answer, LOST)

    def lose(self, answer: httpx2.Response, expected: frozenset[int]) -> None:
        with self.tally.lock:
            self.tally.lost += 1
        if answer.status_code not in expected:
            self.tally.surprise(answer)

    def send(
        self, username: str, method: str, path: str, headers: dict[str, str] | None = None, **content: Any
    ) -> httpx2.Response:
        """The answer, from whichever API gives one; a write is sent under one key until then, at times once more."""
        named = self.headers[username] | (headers or {}) | {"Idempotency-Key": str(uuid4())}
        answer = self.answer(method, path, named, content)
        if method == "POST" and answer.is_success and self.draw.random() < 0.1:
            # As if the answer had been lost on its way.
            again = self.answer(method, path, named, content)
            if (again.status_code, again.content) != (answer.status_code, answer.content):
                self.tally.surprise(again)
        return answer

    def answer(self, method: str, path: str, headers: dict[str, str], content: dict[str, Any]) -> httpx2.Response:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            address = self.service.apis[self.turn].address
            try:
                answer = self.http.request(method, address + API + path, headers=headers, **content)
            except httpx2.TransportError as error:
                refused = isinstance(error, httpx2.ConnectError)
                with self.tally.lock:
                    self.tally.refused += refused
                    self.tally.broken += not refused
                # The other one, until it breaks too.
                self.turn = (self.turn + 1) % len(self.service.apis)
                time.sleep(0.1)
                continue
            with self.tally.lock:
                self.tally.statuses[answer.status_code] += 1
                self.tally.replayed += answer.headers.get("idempotency-replayed") == "true"
            if answer.status_code != 503 and "still-in-progress" not in answer.text:
                return answer
            with self.tally.lock:
                self.tally.postponed += 1
            time.sleep(self.draw.uniform(0.2, 1))
        raise AssertionError(f"no answer to {method} {path} in {_PATIENCE} s")
