"""Every experiment finds at its quick preset what it found when the record was made."""

import json

import pyarrow as pa
import pytest

from tests import points


@pytest.mark.slow
@pytest.mark.parametrize("name", points.NAMES)
def test_points_are_those_of_the_record(name):
    recorded, found = json.loads(points.RECORD.read_text())[name], points.found(name)
    assert points.differing(recorded["columns"], found["columns"]) == []
    assert found["findings"] == recorded["findings"]


def test_every_experiment_is_in_the_record():
    assert sorted(json.loads(points.RECORD.read_text())) == sorted(points.NAMES)


@pytest.mark.parametrize(
    ("column", "value"),
    [("gap", 0.011), ("gap", None), ("horizon", 9), ("horizon", None), ("world", "clifF"), ("seconds", 2.0)],
)
def test_the_record_sees_one_number(column, value):
    """The control: one cell of a thousand rows is another; a float is off by a tenth, in a column of larger ones."""
    rows = [{"world": "cliff", "horizon": 8, "gap": 0.01 if n == 500 else n / 10, "seconds": 1.0} for n in range(1000)]
    recorded = points.told(pa.Table.from_pylist(rows))
    rounded = [row | {"gap": row["gap"] * (1 + 1e-7)} for row in rows]
    assert points.differing(recorded, points.told(pa.Table.from_pylist(rounded))) == []
    rows[500][column] = value
    wanted = [] if column == "seconds" else [column]
    assert points.differing(recorded, points.told(pa.Table.from_pylist(rows))) == wanted


def test_a_column_that_is_new_or_gone_is_named():
    assert points.differing({"gap": "0", "bound": "1"}, {"gap": "0", "shift": "1"}) == ["bound", "shift"]
