"""What may be taken for probabilities, and that nothing else gets through or does harm."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.npy import probabilities_of

ROWS = np.array([[0.1] * 10, [0.91, *[0.01] * 9]])


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    body = io.BytesIO()
    np.lib.format.write_array(body, np.asarray(array), version=version, allow_pickle=True)
    return body.getvalue()


def headed(head: bytes, numbers: bytes = ROWS.tobytes()) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + numbers


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read(kind: str, version: tuple[int, int]):
    read = probabilities_of(npy(ROWS.astype(kind), version), 2)

    assert read.dtype == np.float64
    assert read == pytest.approx(ROWS, abs=1e-6)
    assert read.sum(axis=1) == pytest.approx([1, 1], abs=1e-12)


def test_what_other_writers_leave_out_of_the_head_is_read():
    assert probabilities_of(headed(b"{'descr':'<f8','fortran_order':False,'shape':(2,10)}"), 2) == pytest.approx(ROWS)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"PK\x03\x04garbage", id="a zip, which numpy.load unpacks"),
        pytest.param(b"\x80\x04\x95\x00", id="a pickle"),
        pytest.param(headed(b"{'descr': (("), id="a head that is no literal"),
        pytest.param(headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 10), }"), id="a terabyte"),
        pytest.param(headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1" + b"0" * 60 + b", 10), }"), id="10^60"),
        pytest.param(headed(b"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 10), }"), id="the other order"),
        pytest.param(headed(b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 10), }"), id="objects"),
        pytest.param(headed(b"{'descr': '>f8', 'fortran_order': False, 'shape': (2, 10), }"), id="the other end first"),
        pytest.param(b"\x93NUMPY\x01\x00\xff\xff{", id="a head that is longer than the body"),
        pytest.param(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", id="a head of four gigabytes"),
        pytest.param(npy(ROWS)[:-1], id="a byte too few"),
        pytest.param(npy(ROWS) + b"\0", id="a byte too many"),
        pytest.param(npy(ROWS[:1]), id="another number of rows"),
        pytest.param(npy(ROWS.ravel()), id="one dimension"),
        pytest.param(npy(np.full((2, 10), np.nan)), id="no numbers"),
        pytest.param(npy(np.full((2, 10), np.inf)), id="infinite"),
        pytest.param(npy(np.full((2, 10), 1e308)), id="a sum that is too large"),
        pytest.param(npy(np.full((2, 10), 0.2)), id="a sum of two"),
        pytest.param(npy([[1.5, -0.5, *[0.0] * 8]] * 2), id="one below zero"),
    ],
)
def test_nothing_else_is(body: bytes):
    with pytest.raises(ValueError, match=r"^(no|of|that)"):
        probabilities_of(body, 2)


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic_are_refused_by_one_error(rest: bytes):
    with pytest.raises(ValueError, match=r"^(no|of|that)"):
        probabilities_of(b"\x93NUMPY\x01" + rest, 2)


@given(st.data())
def test_an_answer_with_any_byte_changed_is_refused_or_still_probabilities(data: st.DataObject):
    body = bytearray(npy(ROWS))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    try:
        read = probabilities_of(bytes(body), 2)
    except ValueError:
        return
    assert read.shape == (2, 10)
    assert (read >= 0).all()
    assert read.sum(axis=1) == pytest.approx([1, 1])
