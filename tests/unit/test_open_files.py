"""Files kept open between pictures: one thread each, none that was replaced, no more than there may be."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from app.imagery import looks
from app.imagery.frames import frame_of
from app.imagery.looks import Look, Square, read_look
from app.imagery.open_files import OpenFiles, key_of_file
from app.imagery.opening import opened
from app.imagery.refs import AssetRef, SceneReadError, SceneRef
from tests.chip_files import Picture, ground, look_of, write_scene

FRAME = frame_of(ground(44, 44, 56, 56))
SQUARE = Square(FRAME.crs, FRAME.bounds, FRAME.cells(256))
DAY = date(2024, 6, 1)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> OpenFiles:
    own = OpenFiles(4)
    monkeypatch.setattr(looks, "_files", own)
    return own


@pytest.fixture
def scene(tmp_path: Path) -> SceneRef:
    return write_scene(tmp_path / "s", DAY, Picture(bands=("red", "nir")))


def look(scene: SceneRef) -> Look:
    # Another digest each time: what is remembered is not what is tested.
    return read_look(look_of(replace(scene, digest=os.urandom(8).hex())), SQUARE, ("red", "nir"))


def test_a_file_is_opened_once(files: OpenFiles, scene: SceneRef) -> None:
    first = look(scene)
    assert len(files) == 3
    held = [files.take(key_of_file(asset.href)) for asset in scene.assets.values()]
    assert all(dataset is not None and not dataset.closed for dataset in held) and len(files) == 0
    for asset, dataset in zip(scene.assets.values(), held, strict=True):
        key = key_of_file(asset.href)
        assert key and dataset
        files.put(key, dataset)
    again = look(scene)
    assert np.array_equal(first.data, again.data)
    assert {id(files.take(key_of_file(asset.href))) for asset in scene.assets.values()} == {id(one) for one in held}


@pytest.mark.parametrize("way", ["renamed over", "written over", "same size and time"])
def test_a_file_that_is_replaced_is_read_anew(files: OpenFiles, scene: SceneRef, tmp_path: Path, way: str) -> None:
    old = look(scene)
    other = write_scene(tmp_path / "other", DAY, Picture(bands=("red", "nir"), brightness=0.5))
    for name, asset in scene.assets.items():
        source, target = Path(other.assets[name].href), Path(asset.href)
        before = target.stat()
        if way == "written over":
            target.write_bytes(source.read_bytes())
        else:
            source.replace(target)
        if way == "same size and time":
            # Another file all the same: another inode.
            assert target.stat().st_size == before.st_size
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = look(scene)
    assert np.allclose(new.data, old.data / 2, atol=1e-4)
    assert len(files) == 4


def test_threads_that_read_one_file_have_one_each(files: OpenFiles, scene: SceneRef) -> None:
    expected, start, lock = look(scene), threading.Barrier(6), threading.Lock()
    used: set[int] = set()

    def work(_: int) -> bool:
        start.wait()
        same = True
        for _ in range(20):
            with opened(scene, "red", files) as dataset:
                with lock:
                    assert id(dataset) not in used
                    used.add(id(dataset))
                dataset.read(1)
                with lock:
                    used.discard(id(dataset))
            same &= np.array_equal(look(scene).data, expected.data)
        return same

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    assert len(files) == 4


def test_no_more_are_kept_than_may_be(files: OpenFiles, tmp_path: Path) -> None:
    scenes = [write_scene(tmp_path / f"{n}", DAY, Picture(bands=("red",))) for n in range(4)]
    with opened(scenes[0], "red", files) as first:
        pass
    for each in scenes[1:]:
        read_look(look_of(each), SQUARE, ("red",))
    assert len(files) == 4 and first.closed
    files.clear()
    assert len(files) == 0


def test_one_that_failed_is_not_kept(files: OpenFiles, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s", DAY, Picture(size=400, bands=("red",)))
    asset = scene.assets["red"]
    path = Path(asset.href)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 8])
    with pytest.raises(SceneReadError):
        read_look(look_of(scene), SQUARE, ("red",))
    with pytest.raises(SceneReadError, match="no band 7"):
        read_look(
            look_of(replace(scene, assets={**scene.assets, "red": AssetRef(asset.href, index=7)})), SQUARE, ("red",)
        )
    assert files.take(key_of_file(asset.href)) is None


def test_a_child_process_opens_its_own(files: OpenFiles, scene: SceneRef) -> None:
    look(scene)
    child = os.fork()
    if child == 0:
        os._exit(len(files))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(files) == 3


def test_what_is_not_here_has_no_key(tmp_path: Path) -> None:
    assert key_of_file("https://example.org/a.tif") is None
    assert key_of_file("s3://bucket/a.tif") is None
    assert key_of_file(str(tmp_path / "absent.tif")) is None
    assert key_of_file("a\0b") is None
