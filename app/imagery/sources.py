"""What a source holds, whatever its kind: one `FoundScene` or `FailedItem` after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.imagery.folder import read_folder
from app.imagery.found import FailedItem, FoundScene
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceConfiguration
from app.imagery.stac import read_api, read_catalogue

_READERS: dict[SourceKind, Callable[[str, SourceConfiguration], Iterator[FoundScene | FailedItem]]] = {
    SourceKind.stac_api: read_api,
    SourceKind.stac_catalog: read_catalogue,
    SourceKind.folder: read_folder,
}


def read_source(
    kind: SourceKind, location: str, configuration: SourceConfiguration
) -> Iterator[FoundScene | FailedItem]:
    """Every scene of a source within its configured collections, instants and box, in the source's order.

    One bad item never hides the rest: it comes as a `FailedItem`.

    Raises:
        SourceUnreadable: the source itself cannot be reached or is not what it is said to be.
    """
    return _READERS[kind](location, configuration)
