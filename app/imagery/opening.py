"""Files of scenes opened with GDAL, here or over the network, and what is done when that fails.

A fault of the network or of a busy server passes: the asset is read again after a while. A file that is not there, or
is damaged, stays so: its scene fails at once.
"""

from __future__ import annotations

import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any, TypeVar

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader

from app.imagery.found import is_remote
from app.imagery.open_files import OpenFiles, key_of_file
from app.imagery.refs import SceneReadError, SceneRef

Result = TypeVar("Result")

# A catalogue may name any address: only formats that hold pixels themselves, not ones that point on (VRT, WMS).
DRIVERS = ("GTiff", "JP2OpenJPEG")
_GDAL: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 64,
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    # GDAL asks again within one read; `patiently` around it reads the whole asset again.
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}
# GDAL remembers that an address failed; to ask again it must forget.
_FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/"}
_inside = threading.local()

# What a server says of itself for now (RFC 9110: 408, 429; RFC 8470: 425), apart from 5xx.
_PASSING = frozenset({408, 425, 429})
_STATUS = re.compile(r"(?:HTTP response code|response_code|HTTP error code)\D{0,3}(\d{3})")
_PROBE_S = 20


class Fault(Exception):
    """An asset could not be read this time: `asset` of the scene, `reason` for people, what GDAL said as the cause."""

    def __init__(self, asset: str, reason: str) -> None:
        super().__init__(reason)
        self.asset = asset
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an asset is read before its scene fails, and how long is waited in between.

    The n-th wait is drawn evenly between half and all of first_wait_s × 2ⁿ, at most longest_wait_s: workers that
    failed together do not come back together.
    """

    tries: int = 4
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    # Options for GDAL beyond or instead of those of `gdal()`.
    options: tuple[tuple[str, str], ...] = ()

    def wait(self, number: int) -> None:
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0**number)
        self.sleep(random.uniform(longest / 2, longest))


PATIENCE = Patience()


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL set for reading scenes; entered once around many reads it saves a little on each."""
    if getattr(_inside, "set", False):
        yield
        return
    with rasterio.Env(**_GDAL):
        _inside.set = True
        try:
            yield
        finally:
            _inside.set = False


@contextmanager
def open_asset(scene: SceneRef, name: str) -> Iterator[Any]:
    """An asset's rasterio dataset; whatever GDAL says about it becomes a `SceneReadError`. Tries once."""
    try:
        with opened(scene, name) as dataset:
            yield dataset
    except Fault as fault:
        raise SceneReadError(scene.external_id, fault.asset, fault.reason) from None


@contextmanager
def opened(scene: SceneRef, name: str, files: OpenFiles | None = None) -> Iterator[Any]:
    """As `open_asset`, for use within `patiently`.

    Args:
        files: where a file may lie open already, and stays so unless it fails.

    Raises:
        Fault: it cannot be opened, or what is done with it fails.
        SceneReadError: it is open, and not what it should be.
    """
    asset = scene.assets[name]
    key = None if files is None else key_of_file(asset.href)
    dataset = None if files is None or key is None else files.take(key)
    try:
        dataset = dataset or DatasetReader(asset.href, driver=list(DRIVERS))
    except (RasterioError, OSError, ValueError) as error:
        raise Fault(name, "the file is missing or is no GeoTIFF or JPEG 2000") from error
    with dataset if key is None else _closed_on_error(dataset):
        if dataset.crs is None:
            raise SceneReadError(scene.external_id, name, "the file names no CRS")
        if asset.index > dataset.count:
            raise SceneReadError(scene.external_id, name, f"the file has no band {asset.index}")
        try:
            yield dataset
        except RasterioError as error:
            raise Fault(name, "the file is corrupt or cut short") from error
    if files is not None and key is not None:
        files.put(key, dataset)


@contextmanager
def _closed_on_error(dataset: DatasetReader) -> Iterator[None]:
    try:
        yield
    except BaseException:
        dataset.close()
        raise


def patiently(scene: SceneRef, action: Callable[[], Result], patience: Patience = PATIENCE) -> Result:
    """Do what reads an asset of a scene, again after a while where a fault may pass.

    Raises:
        SceneReadError: of a local file, or one that its server gives out whole, at once; else after the last try.
    """
    well = 0
    for number in range(patience.tries):
        options = dict(patience.options) | (_FORGET if number else {})
        try:
            with gdal(), rasterio.Env(**options) if options else nullcontext():
                return action()
        except Fault as fault:
            href = scene.assets[fault.asset].href
            verdict = _verdict(href, _said(fault)) if is_remote(href) else "permanent"
            # A server that answers may have come back just now; a file that fails twice from one is broken.
            well += verdict == "well"
            if verdict == "permanent" or well == 2:
                raise SceneReadError(scene.external_id, fault.asset, fault.reason) from None
            asset = fault.asset
        if number + 1 < patience.tries:
            patience.wait(number)
    raise SceneReadError(scene.external_id, asset, f"its server failed {patience.tries} times", transient=True)


def _verdict(href: str, said: str) -> str:
    """Whether the fault behind GDAL's words is "permanent", "transient", or its server is "well" now.

    GDAL's words tell when the first request of a file fails; of a later one they tell only that bytes were missing,
    as they do of a broken file. So the server is asked.
    """
    if found := _STATUS.search(said):
        return _verdict_of(int(found[1]))
    if "CURL error" in said:
        return "transient"
    if not href.lower().startswith(("http://", "https://")):
        return "well"
    request = urllib.request.Request(href, headers={"Range": "bytes=0-0"})  # noqa: S310 (scheme checked)
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_S):  # noqa: S310 (as above)
            return "well"
    except urllib.error.HTTPError as error:
        return _verdict_of(error.code)
    except (OSError, HTTPException, ValueError):
        return "transient"


def _verdict_of(status: int) -> str:
    return "transient" if status >= 500 or status in _PASSING else "permanent"


def _said(error: BaseException) -> str:
    """What GDAL said, from the last error to the first."""
    words: list[str] = []
    cause = error.__cause__
    while cause is not None and len(words) < 10:
        words.append(str(cause))
        cause = cause.__cause__
    return " ".join(words)


@lru_cache(maxsize=64)
def crs_of(name: str) -> CRS:
    """The CRS of a grid. Raises: ValueError: no CRS goes by that name."""
    try:
        return CRS.from_user_input(name)
    except CRSError:
        raise ValueError(f"{name!r} names no CRS") from None
