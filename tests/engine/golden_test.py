"""The engine computes what it computed when the golden record was made, but for the rounding of floats."""

import json

import numpy as np
import pytest

from tests import golden


@pytest.mark.parametrize("part", golden.PARTS)
def test_results_are_those_of_the_record(part):
    recorded, found = json.loads(golden.RECORD.read_text())[part], golden.found(part)
    assert list(found) == list(recorded)
    other = [
        f"{case}: {field}"
        for case, fields in recorded.items()
        for field, wanted in fields.items()
        if not golden.agrees(found[case].get(field), wanted)
    ]
    assert not other


def test_the_record_sees_one_number():
    """The control: another integer, and a float that is off by a thousandth of its norm."""
    whole, real = np.arange(6), np.linspace(0, 1, 6, dtype=np.float32)
    assert golden.agrees(golden.told(whole), golden.told(whole.copy()))
    assert not golden.agrees(golden.told(whole), golden.told(whole + (whole == 3)))
    assert golden.agrees(golden.told(real), golden.told(real * np.float32(1 + 1e-7)))
    assert not golden.agrees(golden.told(real), golden.told(real + 1e-3 * (whole == 3)))
