"""The field and the code, with reedsolo's field arithmetic as an independent oracle."""

from __future__ import annotations

import pytest
import reedsolo
from fectraffic import vandermonde
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.kernels.galois import EXP, LOG, PRODUCTS, combine, interpolation
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.testing.erasure import ErasureCodeConformance, assertRebuilt, sampleShards

reedsolo.init_tables(0x11D)


class TestReedSolomon(ErasureCodeConformance):
    newCode = ReedSolomon


def test_every_product_is_the_fields():
    assert [list(table) for table in PRODUCTS] == [[reedsolo.gf_mul(a, b) for b in range(256)] for a in range(256)]


def test_powers_and_logarithms_undo_each_other():
    assert EXP == [reedsolo.gf_pow(2, power) for power in range(255)]
    assert [LOG[value] for value in EXP] == list(range(255))


@pytest.mark.parametrize("d,p", [(1, 1), (1, 5), (2, 1), (3, 2), (5, 2), (10, 3), (20, 10), (12, 20), (30, 5)])
def test_parity_weights_are_the_rows_of_the_systematic_vandermonde_matrix(d, p):
    matrix = vandermonde(d, p)
    assert matrix[:d] == [[int(row == column) for column in range(d)] for row in range(d)]
    weights = interpolation(tuple(range(d)), tuple(range(d, d + p)))
    assert [list(row) for row in weights] == matrix[d:]


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=9)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_combine_is_the_weighted_sum_of_zero_padded_shards(terms):
    expected = [0] * 9
    for weight, shard in terms:
        for position, value in enumerate(shard):
            expected[position] ^= reedsolo.gf_mul(weight, value)
    assert combine([weight for weight, _ in terms], [shard for _, shard in terms], 9) == bytes(expected)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_codes_of_any_size_give_back_what_was_lost(data):
    d = data.draw(st.integers(1, 60), "d")
    p = data.draw(st.integers(1, 40), "p")
    shards = sampleShards(d, longest=12)
    code = ReedSolomon(d, p)
    group = shards + code.encode(shards)
    lost = data.draw(st.sets(st.integers(0, d + p - 1), max_size=p), "lost")
    rebuilt = code.reconstruct({index: shard for index, shard in enumerate(group) if index not in lost})
    assert set(rebuilt) == {index for index in lost if index < d}
    assertRebuilt(rebuilt, shards)


def test_the_largest_code_survives_the_loss_of_all_its_data():
    shards = sampleShards(128, longest=4)
    code = ReedSolomon(128, 128)
    rebuilt = code.reconstruct(dict(enumerate(code.encode(shards), 128)))
    assert len(rebuilt) == 128
    assertRebuilt(rebuilt, shards)


@pytest.mark.parametrize("d,p", [(0, 1), (1, 0), (-1, 3), (3, -1), (200, 57), (256, 1)])
def test_parameters_that_no_code_has_are_refused(d, p):
    with pytest.raises(ValueError):
        ReedSolomon(d, p)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_wrong_number_of_data_shards_is_refused(count):
    with pytest.raises(ValueError):
        ReedSolomon(3, 2).encode(sampleShards(count))
