"""What a file is, by its content: sound files of every kind, and such as are made to do harm."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.casework import office_files, photos
from app.casework.contents import download_name, read_facts
from app.casework.evidence_checks import days_off
from app.casework.file_facts import FileFacts, Note
from app.casework.models import EvidenceKind
from app.foundation.errors import Invalid
from app.foundation.storage import StorageAway
from tests.casework_steps import photo, today
from tests.evidence_files import (
    PDF,
    SHEET,
    WORD,
    box,
    claiming,
    exif_photo,
    jpeg_with,
    office,
    plain_zip,
    png,
    png_chunk,
    png_of,
    progressive,
    rationals,
    video,
)

PHOTO, VIDEO, DOCUMENT = EvidenceKind.photo, EvidenceKind.video, EvidenceKind.document
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<html><script>alert(1)</script></html>"
ODF = {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<x/>"}


def facts(data: bytes, kind: EvidenceKind = DOCUMENT) -> FileFacts:
    return read_facts(io.BytesIO(data), kind)


@pytest.mark.parametrize(
    ("data", "kind", "media_type"),
    [
        (photo(), PHOTO, "image/jpeg"),
        (progressive(), PHOTO, "image/jpeg"),
        (png(), PHOTO, "image/png"),
        (png(mode="RGBA"), DOCUMENT, "image/png"),
        (PDF, DOCUMENT, "application/pdf"),
        (office(), EvidenceKind.field_record, WORD),
        (office("xl/workbook.xml", SHEET + ".main+xml"), DOCUMENT, SHEET),
        # A chart's numbers, as Word keeps them.
        (office(more={"word/embeddings/sheet1.xlsx": plain_zip({"a": b"b"})}), DOCUMENT, WORD),
        (video(), VIDEO, "video/mp4"),
        (video(brand=b"qt  "), VIDEO, "video/quicktime"),
        (video(brand=b"3gp5"), VIDEO, "video/mp4"),
        # What phones write behind a picture: a film of the moment, other views, notes of their own.
        (photo() + video(), PHOTO, "image/jpeg"),
    ],
)
def test_sound_files(data: bytes, kind: EvidenceKind, media_type: str) -> None:
    assert facts(data, kind).media_type == media_type


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", PHOTO, "empty"),
        (b"\xff", PHOTO, "no JPEG"),
        (SVG, PHOTO, "no JPEG"),
        (b"<?xml version='1.0'?>" + SVG, DOCUMENT, "no JPEG"),
        (HTML, DOCUMENT, "no JPEG"),
        (b"plain text", DOCUMENT, "no JPEG"),
        (b"MZ" + bytes(100), DOCUMENT, "program"),
        (b"\x7fELF" + bytes(100), DOCUMENT, "program"),
        (b"#!/bin/sh\nrm -rf /\n", DOCUMENT, "program"),
        (b"GIF89a" + bytes(20), PHOTO, "GIF"),
        (b"GIF89a" + plain_zip(), PHOTO, "GIF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), DOCUMENT, "old Office"),
        (box(b"ftyp", b"heic", bytes(8)), PHOTO, "HEIC"),
        # A kind that is not what the file is.
        (PDF, PHOTO, "send it as another kind"),
        (photo(), VIDEO, "send it as another kind"),
        (video(), DOCUMENT, "send it as another kind"),
        # Cut off.
        (photo()[:-200], PHOTO, "damaged"),
        (photo()[:30], PHOTO, "damaged"),
        (png()[:-20], PHOTO, "damaged"),
        (png().replace(b"IEND", b"IENX"), PHOTO, "damaged"),
        (PDF[:-8], DOCUMENT, "cut off"),
        (office()[:-30], DOCUMENT, "archive"),
        (video()[:-1], VIDEO, "longer than what there is"),
        # Two kinds at once.
        (photo() + plain_zip(), PHOTO, "archive"),
        (png() + plain_zip(), PHOTO, "archive"),
        (PDF + plain_zip() + PDF, DOCUMENT, "archive"),
        (video() + box(b"free", plain_zip()), VIDEO, "archive"),
        (b"\0" * 10 + PDF, DOCUMENT, "no JPEG"),
        # Far too large when unpacked.
        (png_of(60_000, 60_000), PHOTO, "pixels"),
        (claiming(photo(), 60_000, 60_000), PHOTO, "pixels"),
        (claiming(progressive(), 8_000, 8_000), PHOTO, "progressive"),
        (photo()[:-2] + b"\xff\xda\x00\x08" * 120 + b"\xff\xd9", PHOTO, "passes"),
        (jpeg_with((b"\xff\xe2\xff\xff" + bytes(65533)) * 300), PHOTO, "beside its pixels"),
        (png_of(8, 8, *[png_chunk(b"teSt", bytes(2**20))] * 17), PHOTO, "beside its pixels"),
        # Long to be read, though small and sound.
        (png_of(8, 8, png_chunk(b"IDAT", b"") * (photos.MOST_CHUNKS + 1)), PHOTO, "chunks"),
        (jpeg_with(b"\xff" * 2**17), PHOTO, "damaged"),
        # Archives.
        (plain_zip(), DOCUMENT, "macros or programs"),
        (plain_zip(ODF), DOCUMENT, "no DOCX or XLSX"),
        (office(kind="application/xml"), DOCUMENT, "no DOCX or XLSX"),
        (office(more={"word/vbaProject.bin": b"x"}), DOCUMENT, "macros"),
        (office(kind="application/vnd.ms-word.document.macroEnabled.main+xml"), DOCUMENT, "macros"),
        (office(more={"word/media/image1.png": b"MZ" + bytes(99)}), DOCUMENT, "program"),
        (office(more={"word/media/image1.png": plain_zip()}), DOCUMENT, "archive or a program"),
        (office(more={"../../etc/passwd": b"x"}), DOCUMENT, "leads out"),
        (office(more={"..\\evil": b"x"}), DOCUMENT, "leads out"),
        (office(more={"C:/evil": b"x"}), DOCUMENT, "leads out"),
        (office(more={"/evil": b"x"}), DOCUMENT, "leads out"),
        (office(more={"word/DOCUMENT.xml": b"x"}), DOCUMENT, "twice"),
        (office(more={"word/big.xml": bytes(3 * 2**20)}), DOCUMENT, "times its size"),
        (office(more={"word/a.xml": b"x"}, compression=zipfile.ZIP_BZIP2), DOCUMENT, "packed in another way"),
        (office(more={"word/a.xml": b"x"}, compression=zipfile.ZIP_LZMA), DOCUMENT, "packed in another way"),
        (office(more={f"word/{number}": b"" for number in range(10_001)}), DOCUMENT, "entries"),
        (office(types="<!DOCTYPE x [<!ENTITY a 'b'>]><Types/>"), DOCUMENT, "no DOCX"),
        (office(types="<Types>"), DOCUMENT, "no DOCX"),
        # Video in name only.
        (video(handler=b"soun"), VIDEO, "sound alone"),
        (box(b"ftyp", b"isom", bytes(8)) + box(b"mdat", bytes(9)), VIDEO, "description"),
        (box(b"ftyp", b"isom", bytes(8)) + box(b"free") * 200_001, VIDEO, "boxes"),
        (box(b"ftyp", b"isom", bytes(8)) + struct.pack(">I4sQ", 1, b"mdat", 2**63), VIDEO, "longer"),
        (box(b"ftyp", b"isom", bytes(8)) + struct.pack(">I4sQ", 1, b"mdat", 3), VIDEO, "longer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(data: bytes, kind: EvidenceKind, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        facts(data, kind)


def test_a_storage_that_is_away_is_no_damage_of_a_picture() -> None:
    class Away(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise StorageAway()

    with pytest.raises(StorageAway):
        photos.draw_thumbnail(Away(photo()), photos.JPEG)


def test_a_lying_entry_of_an_archive() -> None:
    """Its directory says less than it unpacks to, or its checksum is another's."""
    data = bytearray(office(more={"word/a.xml": b"a" * 1000}))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    with pytest.raises(Invalid, match="archive"):
        facts(bytes(data))
    with pytest.raises(Invalid, match="list is too long"):
        end = bytearray(office())
        end[-10:-6] = struct.pack("<I", office_files.MOST_DIRECTORY_BYTES + 1)
        facts(bytes(end))


@pytest.mark.parametrize("data", [photo() + HTML, photo() + PDF, PDF.replace(b"1 0 obj", HTML + b"1 0 obj")])
def test_two_texts_in_one_are_kept_as_the_one_that_is_named(data: bytes) -> None:
    """A page in a picture's tail: it goes out as a picture alone, under a picture's name, as a download."""
    media_type = facts(data).media_type
    assert download_name("evil.html", media_type) in ("evil.html.jpg", "evil.html.pdf")


def test_names_follow_the_content() -> None:
    assert download_name("现场.JPG", "image/jpeg") == "现场.JPG"
    assert download_name("photo.exe", "image/jpeg") == "photo.exe.jpg"
    assert download_name("a", WORD) == "a.docx"
    assert download_name("a.docm", WORD) == "a.docm.docx"


ONE = rationals((127, 1), (18, 1), (0, 1))
LATITUDE = rationals((42, 1), (18, 1), (0, 1))


@pytest.mark.parametrize(
    ("gps", "taken", "notes", "at"),
    [
        ({1: b"N\0", 2: LATITUDE, 3: b"E\0", 4: ONE}, b"2024:06:18 10:30:00\0", set(), (127.3, 42.3)),
        ({1: b"S\0", 2: LATITUDE, 3: b"W\0", 4: ONE}, None, set(), (-127.3, -42.3)),
        # 91 degrees, 181 degrees, a zero denominator, 0/0, null island, half a position.
        ({2: rationals((91, 1), (0, 1), (0, 1)), 4: ONE}, None, {Note.position_ignored}, None),
        ({2: LATITUDE, 4: rationals((181, 1), (0, 1), (0, 1))}, None, {Note.position_ignored}, None),
        ({2: rationals((42, 0), (0, 1), (0, 1)), 4: ONE}, None, {Note.position_ignored}, None),
        ({2: rationals((0, 0), (0, 0), (0, 0)), 4: ONE}, None, {Note.position_ignored}, None),
        ({2: rationals(*[(0, 1)] * 3), 4: rationals(*[(0, 1)] * 3)}, None, {Note.position_ignored}, None),
        ({2: LATITUDE}, None, {Note.position_ignored}, None),
        ({2: rationals(*[(2**32 - 1, 1)] * 3), 4: ONE}, None, {Note.position_ignored}, None),
        ({}, b"0001:01:01 00:00:00\0", {Note.time_ignored}, None),
        ({}, b"9999:12:31 23:59:59\0", {Note.time_ignored}, None),
        ({}, b"1970:01:01 00:00:00\0", {Note.time_ignored}, None),
        ({}, b"0000:00:00 00:00:00\0", {Note.time_ignored}, None),
        ({}, b"x" * 60_000, {Note.time_ignored}, None),
        ({}, b"\0" * 20, set(), None),
    ],
)
def test_what_exif_says(
    gps: dict[int, bytes | None], taken: bytes | None, notes: set[Note], at: tuple[float, float] | None
) -> None:
    said = facts(exif_photo(gps, taken=taken), PHOTO)
    assert said.notes == notes
    assert (said.longitude, said.latitude) == (pytest.approx(at) if at else (None, None))
    expected = datetime(2024, 6, 18, 2, 30, tzinfo=UTC) if taken and taken.startswith(b"2024") else None
    assert said.taken_at == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.integers(0, 40))
def test_no_exif_fails_an_upload(noise: bytes, begins: int) -> None:
    """A picture that is sound is taken, whatever its EXIF is."""
    sound = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x69\x87\x04\0\x01\0\0\0\x1a\0\0\0\x25\x88\x04\0\x01\0\0\0\x1a\0\0\0"
    data = sound[:begins] + noise
    said = facts(jpeg_with(b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data), PHOTO)
    assert said.media_type == "image/jpeg"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from([photo(seed=1), png(), PDF, office(), video(), progressive()]),
    st.sampled_from(EvidenceKind),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 3000),
)
def test_damage_is_refused_or_harmless(
    data: bytes, kind: EvidenceKind, changes: list[tuple[int, bytes]], end: int
) -> None:
    """Whatever is done to a file, it is taken for what it is or refused in words: nothing else is raised."""
    changed = bytearray(data)
    for place, noise in changes:
        changed[place : place + len(noise)] = noise
    try:
        facts(bytes(changed[:end]), kind)
    except Invalid as refused:
        assert refused.detail


def test_what_a_video_says() -> None:
    said = facts(video(), VIDEO)
    assert said.taken_at == datetime(2024, 6, 18, 2, 30, tzinfo=UTC)
    assert (said.longitude, said.latitude) == (127.301, 42.301)
    silent = facts(video(created=0, place=None), VIDEO)
    assert (silent.taken_at, silent.longitude, silent.notes) == (None, None, frozenset())
    absurd = facts(video(created=1, place=b"+00.0000+000.0000/"), VIDEO)
    assert absurd.notes == {Note.position_ignored, Note.time_ignored}


@pytest.mark.parametrize(
    "make",
    [
        lambda large: png_of(8, 8, png_chunk(b"IDAT", large)),
        lambda large: photo() + large,
        lambda large: PDF + large + PDF,
        lambda large: office(more={"a.bin": large}, compression=0),
        lambda large: video(media=large),
    ],
    ids=["png", "jpeg", "pdf", "docx", "mp4"],
)
def test_memory_does_not_grow_with_the_file(make: Callable[[bytes], bytes]) -> None:
    stream = io.BytesIO(make(bytes(range(256)) * (24 * 2**12)))
    tracemalloc.start()
    try:
        for kind in EvidenceKind:
            try:
                read_facts(stream, kind)
            except Invalid:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 2**20, "of a file of 24 MiB"


def _small(data: bytes, media_type: str = photos.JPEG) -> Image.Image:
    image = Image.open(io.BytesIO(photos.draw_thumbnail(io.BytesIO(data), media_type)))
    assert image.format == "JPEG"
    assert not image.getexif()
    assert "icc_profile" not in image.info
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_stands_upright(orientation: int) -> None:
    """Its upper left corner, as the picture is meant to be seen, is red."""
    upright = Image.new("RGB", (800, 600), "white")
    upright.paste("red", (0, 0, 400, 300))
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    turned = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[274] = orientation
    target = io.BytesIO()
    turned.save(target, "JPEG", exif=exif)
    small = _small(target.getvalue())
    assert small.size == (512, 384)
    red, green, blue = small.getpixel((40, 40))
    assert red > 200 and green < 60 and blue < 60
    assert min(small.getpixel((470, 340))) > 200


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_thumbnail_of_every_kind_of_png(mode: str) -> None:
    assert _small(png(1000, 10, mode), photos.PNG).size == (512, 5)


def test_a_clear_png_is_shown_on_white() -> None:
    target = io.BytesIO()
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(target, "PNG")
    assert min(_small(target.getvalue(), photos.PNG).getpixel((5, 5))) > 250


def test_days_off() -> None:
    day = today()
    earliest = day.replace(year=day.year - 1, day=1)
    assert days_off(None, earliest, day) is None
    assert [days_off(each, earliest, day) for each in (earliest, day)] == [0, 0]
    assert days_off(earliest.fromordinal(earliest.toordinal() - 3), earliest, day) == -3
    assert days_off(day.fromordinal(day.toordinal() + 2), earliest, day) == 2
