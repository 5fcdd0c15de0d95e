"""Where `redline detectors monitor` puts its files: checked before anything is computed, and put there together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.foundation.errors import Invalid
from app.foundation.folders import held_folder


@contextmanager
def out_folder(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """The folder for some files, made where it is not there; taken away again when it was made in vain.

    Yields:
        a folder within it for unfinished files, gone at the end.

    Raises:
        Invalid: it cannot be made or written to, or something other than a file stands in a file's place.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if blocked := next((n for n in names if (out / n).exists() and not (out / n).is_file()), None):
                raise Invalid(f"--out holds {blocked}, which is not a file; nothing can be written in its place.")
            aside = held_folder(out, ".redline-")
            folder = aside.__enter__()
        except OSError as error:
            raise Invalid(f"--out cannot be used as a folder to write to: {error.strerror}.") from None
        try:
            yield folder
        finally:
            aside.__exit__(None, None, None)
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def publish(aside: Path, out: Path, names: Sequence[str]) -> None:
    """Move files into their places, all or none: what stood there before comes back when one cannot be moved.

    Raises:
        OSError: one could not be moved; the folder is as it was.
    """
    touched: list[str] = []
    try:
        for name in names:
            touched.append(name)
            if (out / name).exists():
                (out / name).replace(aside / f"earlier-{name}")
            (aside / name).replace(out / name)
    except BaseException:
        for name in reversed(touched):
            _take_back(aside, out, name)
        raise


def _take_back(aside: Path, out: Path, name: str) -> None:
    if (aside / f"earlier-{name}").exists():
        (aside / f"earlier-{name}").replace(out / name)
    elif not (aside / name).exists():
        # It was moved, and nothing stood there before.
        (out / name).unlink(missing_ok=True)
