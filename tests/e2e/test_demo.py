"""`redline demo` as a newcomer meets it: real processes, the whole simulated area, the README's own walks."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from shapely.geometry import shape

from app.demo.accounts import PASSWORD
from app.demo.setup import SEED
from app.settings import REPOSITORY

READY_SECONDS = 600


@dataclass
class Demo:
    """The demo on a data directory and a port of its own."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    family: list[psutil.Process] = field(default_factory=list)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "REDLINE_DATA_DIR": str(self.data_dir), "REDLINE_PORT": str(self.port)}

    def start(self) -> None:
        log = (self.data_dir.parent / "demo.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "demo"], cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log
        )
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            assert self.process.poll() is None, (self.data_dir.parent / "demo.log").read_text()
            assert time.monotonic() < deadline, "the demo did not become ready"
            time.sleep(0.2)
        self.family = self._family()

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def _family(self) -> list[psutil.Process]:
        """The demo's processes, and its database's, which has a session of its own."""
        assert self.process is not None
        own = psutil.Process(self.process.pid)
        pid_file = self.data_dir / "postgres"
        servers = [int(path.read_text().split()[0]) for path in pid_file.rglob("postmaster.pid")]
        assert servers, "the database left no pid file"
        trees = [own, *(psutil.Process(pid) for pid in servers)]
        return [process for tree in trees for process in (tree, *tree.children(recursive=True))]

    def end(self, number: signal.Signals) -> None:
        """Ctrl-C to the demo, or kill -9 to every process of it."""
        assert self.process is not None
        for process in [psutil.Process(self.process.pid)] if number == signal.SIGINT else self.family:
            if process.is_running():
                process.send_signal(number)
        self.process.wait(60)
        _, alive = psutil.wait_procs(self.family, timeout=30)
        assert not alive, f"still there: {alive}"

    def get(self, username: str, path: str, **parameters: Any) -> Any:
        answer = httpx2.get(f"{self.api}{path}", params=parameters, headers=self.headers(username), timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def headers(self, username: str) -> dict[str, str]:
        form = {"username": username, "password": PASSWORD}
        answer = httpx2.post(f"{self.api}/auth/token", data=form, timeout=60)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def everything(self) -> dict[str, list[Any]]:
        """What must be the same after every restart."""
        return {
            path: self.get("province", path, limit=1000)["items"]
            for path in ("/detections", "/cases", "/sources", "/plans", "/divisions", "/redlines", "/permits")
        }

    @property
    def truth(self) -> list[dict[str, Any]]:
        path = self.data_dir / "sample" / f"changbai-{SEED}" / "truth.geojson"
        features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
        return features


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Demo(tmp_path_factory.mktemp("demo") / "data directory", port)
    running.data_dir.mkdir()
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.end(signal.SIGINT)


def hits(demo: Demo, feature: dict[str, Any]) -> list[dict[str, Any]]:
    """The detections that lie on a feature of the truth, the one with most in common first."""
    ground = shape(feature["geometry"])
    detections = demo.get("province", "/detections", limit=1000)["items"]
    common = [(shape(d["geometry"]).intersection(ground).area, d["id"], d) for d in detections]
    return [d for area, _, d in sorted(common, key=lambda item: item[:2], reverse=True) if area > 0]


def test_every_planted_change_in_a_red_line_is_found_where_it_is(demo: Demo) -> None:
    planted = [f for f in demo.truth if f["properties"]["planted"] and f["properties"]["in_redline"]]
    assert {f["properties"]["activity"] for f in planted} >= {
        "mining", "quarry", "road", "impoundment", "construction", "clearing",
    }  # fmt: skip
    for feature in planted:
        truth = feature["properties"]
        found = hits(demo, feature)
        assert found, f"{truth['id']} was missed"
        best = found[0]
        assert best["simulated"]
        assert best["confidence"] == "high", truth["id"]
        assert best["confirmed_on"] >= truth["starts"], truth["id"]
        assert best["lead_unit"]["code"] == truth["county"], truth["id"]
        touched = {o["code"] for o in best["overlaps"] if o["layer"] == "redlines"}
        assert set(truth["in_redline"]) <= touched, truth["id"]
        assert best["verdict"] in ("prohibited", "needs_recognition"), truth["id"]


def test_the_authorised_road_is_covered_by_its_permit(demo: Demo) -> None:
    (road,) = (f for f in demo.truth if f["properties"]["permit"])
    found = [d for d in hits(demo, road) if d["confidence"] == "high"]
    assert found
    for detection in found:
        permits = {o["code"] for o in detection["overlaps"] if o["layer"] == "permits"}
        assert permits == {road["properties"]["permit"]}
        assert detection["verdict"] == "allowed"


def test_decoys_and_false_sites_are_counted(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what the officer would be bothered with; a decoy that is reported is no failure, silence about it is."""
    decoys = [f for f in demo.truth if not f["properties"]["planted"] and not f["properties"]["permit"]]
    reported = {f["properties"]["id"]: [d["activity"] for d in hits(demo, f)] for f in decoys}
    on_truth = {d["id"] for f in demo.truth for d in hits(demo, f)}
    simulated = [d for d in demo.get("province", "/detections", limit=1000)["items"] if d["simulated"]]
    false = [d for d in simulated if d["id"] not in on_truth]
    with capsys.disabled():
        print(f"\ndecoys reported: {sum(map(bool, reported.values()))} of {len(decoys)} {reported}")
        print(f"false sites: {len(false)}, of them confirmed: {sum(d['confidence'] == 'high' for d in false)}")
    assert len(decoys) >= 4


def test_the_real_series_belongs_to_no_county(demo: Demo) -> None:
    real = [d for d in demo.get("province", "/detections", limit=1000)["items"] if not d["simulated"]]
    assert real
    assert all(d["lead_unit"] is None and d["unit_areas"] == [] for d in real)
    assert any(d["first_seen_on"].startswith("2019") for d in real)
    for username in ("county", "prefecture"):
        assert all(d["simulated"] for d in demo.get(username, "/detections", limit=1000)["items"])
    headers = demo.headers("officer") | {"If-Match": '"0"'}
    answer = httpx2.post(f"{demo.api}/detections/{real[0]['id']}/dispatch", headers=headers, json={}, timeout=60)
    assert answer.status_code == 409
    assert "outside the province" in answer.json()["detail"]


def test_cases_lie_in_the_right_county(demo: Demo) -> None:
    codes = {case["lead_unit"]["code"] for case in demo.get("province", "/cases")["items"]}
    assert codes == {"220621", "220681"}
    assert {case["lead_unit"]["code"] for case in demo.get("county2", "/cases")["items"]} == {"220681"}


def walks(demo: Demo) -> str:
    """The shell blocks of the README's walks, aimed at this demo."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## Three walks") : readme.index("From there the case")]
    script = "set -euo pipefail\n" + "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    assert script.count("sign_in ") >= 3
    return script.replace("127.0.0.1:8000", f"127.0.0.1:{demo.port}").replace(
        ".venv/bin/redline", f"'{sys.executable}' -m app.cli"
    )


def test_the_readmes_walks_work_as_printed(demo: Demo) -> None:
    confirmed = demo.get("inspector", "/statistics/closure")["total"]["ever_confirmed"]
    done = subprocess.run(
        ["bash", "-c", walks(demo)], cwd=REPOSITORY, env=demo.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"state": "dispatched"' in done.stdout
    assert '"state": "confirmed"' in done.stdout
    assert ": intact" in done.stdout
    assert demo.get("inspector", "/statistics/closure")["total"]["ever_confirmed"] == confirmed + 1


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.torture)])
def test_it_comes_up_again_with_the_same_data(demo: Demo, number: signal.Signals) -> None:
    before = demo.everything()
    demo.end(number)
    demo.start()
    assert demo.everything() == before
