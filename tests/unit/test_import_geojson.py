"""GeoJSON read in pieces is what is read as a whole, wherever the pieces end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import mapping, shape

from app.boundaries import geojson
from app.boundaries.geojson import open_geojson
from app.boundaries.models import Layer
from app.boundaries.reading import read_layer
from app.foundation.errors import Invalid
from tests.layer_files import OTHER, SQUARE, frame, refusal, write_geojson

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FEATURES = st.fixed_dictionaries(
    {
        "type": st.just("Feature"),
        "properties": st.none() | st.dictionaries(st.sampled_from(["code", "名称", 'a"b']), VALUES),
        "geometry": st.none() | st.sampled_from([SQUARE, OTHER]).map(mapping),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    features=st.lists(FEATURES, max_size=5),
    chunk=st.integers(1, 40),
    codec=st.sampled_from(["utf-8", "gb18030"]),
    indent=st.sampled_from([None, 1]),
    others=st.permutations([("type", "FeatureCollection"), ("features", None), ("name", "层"), ("bbox", [1.5, 2])]),
)
def test_pieces_make_the_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    features: list[dict[str, Any]],
    chunk: int,
    codec: str,
    indent: int | None,
    others: list[tuple[str, Any]],
) -> None:
    monkeypatch.setattr(geojson, "_CHUNK", chunk)
    monkeypatch.setattr(geojson, "BATCH_FEATURES", 2)
    document = {name: features if name == "features" else value for name, value in others}
    path = tmp_path / "layer.geojson"
    path.write_bytes(json.dumps(document, indent=indent, ensure_ascii=False).encode(codec, "surrogatepass"))
    source = open_geojson(path, codec)
    told = [feature["properties"] or {} for feature in features]
    assert source.columns == list(dict.fromkeys(name for properties in told for name in properties))
    assert source.feature_count == len(features)
    batches = list(source.batches())
    assert [batch.first for batch in batches] == list(range(1, len(features) + 1, 2))
    shapes = [found for batch in batches for found in batch.geometries]
    for found, feature in zip(shapes, features, strict=True):
        assert found is None if feature["geometry"] is None else found.equals(shape(feature["geometry"]))
    for name in source.columns:
        values = [value for batch in batches for value in batch.columns[name]]
        assert values == [geojson.plain(properties.get(name)) for properties in told]


@pytest.mark.parametrize(
    "cut",
    ['{"type": "FeatureCollection", "features": [{}', '{"features": [{},]}', '{"features": [{}] "a": 1}', '{"a": 1} x'],
)
def test_what_is_no_json(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "layer.geojson"
    path.write_text(cut)
    assert refusal(path).detail == "The file is not valid JSON."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"type": "FeatureCollection", "features": [1]}', "no list of features"),
        ('{"type": "FeatureCollection", "features": {}}', "no list of features"),
        ('{"type": "FeatureCollection", "features": [], "features": []}', "two lists of features"),
        ('{"type": "Feature", "features": []}', "not a FeatureCollection"),
    ],
)
def test_what_is_no_collection(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "layer.geojson"
    path.write_text(content)
    assert told in refusal(path).detail


def test_a_crs_that_comes_last(tmp_path: Path) -> None:
    path = write_geojson(frame().to_crs("EPSG:4549"), tmp_path)
    document = json.loads(path.read_text())
    document["crs"] = document.pop("crs")
    assert list(document)[-1] == "crs"
    path.write_text(json.dumps(document))
    assert len(read_layer(path, Layer.redlines).features) == 2


def test_more_columns_than_a_table_has(tmp_path: Path) -> None:
    features = [{"type": "Feature", "properties": {f"c{i}": 1}, "geometry": None} for i in range(1001)]
    path = tmp_path / "layer.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert "different properties" in refusal(path).detail


def test_a_feature_of_endless_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "_CHUNK", 100)
    monkeypatch.setattr(geojson, "MAX_FEATURE_CHARS", 1000)
    path = tmp_path / "layer.geojson"
    path.write_text('{"features": [{"a": "' + "x" * 5000 + '"}]}')
    with pytest.raises(Invalid, match="split it"):
        open_geojson(path, "utf-8")
