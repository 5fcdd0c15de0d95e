"""Compiled kernels are kept under a digest of all their sources (``detectors.kernels``)."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numba
import pytest

from detectors import kernels
from detectors.kernels import decide, look


def folder_of(package: Path) -> Path:
    """Where a copy of the kernels keeps its machine code."""
    spec = importlib.util.spec_from_file_location("copied_kernels", package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(numba.config.CACHE_DIR)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kernels; what it does to numba's settings is undone."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    shutil.copytree(Path(kernels.__file__).parent, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "kernels"


def test_any_change_of_any_source_has_a_folder_of_its_own(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder() -> Path:
        monkeypatch.setattr(numba.config, "CACHE_DIR", "")
        return folder_of(copy)

    first = folder()
    assert first.parent == copy / "__pycache__"
    assert folder() == first
    seen = {first}
    for source in sorted(copy.glob("*.py")):
        source.write_text(source.read_text() + "\n# another\n")
        seen.add(folder())
    assert len(seen) == len(list(copy.glob("*.py"))) + 1


def test_folder_that_was_asked_for_is_kept_to(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = folder_of(copy).name
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "asked"))
    assert folder_of(copy) == tmp_path / "asked" / default


def test_kernels_are_compiled_into_it() -> None:
    folder = Path(numba.config.CACHE_DIR)
    assert folder.name.startswith("kernels-")
    for function in (decide.update, decide.settle, look.channels):
        assert folder in Path(function._cache.cache_path).parents  # numba has no public name for it
