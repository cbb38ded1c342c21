"""The frozen embedding: what every online model reads."""

import json
from hashlib import sha256

import numpy as np
import pytest

from contracts.drawing import READER, rasterize
from streams.embedding import BASE, LENGTH, EmbeddingNetwork
from streams.online_base import load_base
from streams.online_model import of_base


@pytest.fixture(scope="module")
def network() -> EmbeddingNetwork:
    return EmbeddingNetwork()


@pytest.fixture(scope="module")
def rasters() -> np.ndarray:
    """A one, a seven and an empty sheet."""
    one = rasterize([[[50, 10], [50, 90]]])
    seven = rasterize([[[20, 10], [80, 10], [40, 90]]])
    return np.stack([one.ravel(), seven.ravel(), np.zeros(784, np.uint8)])


def test_an_embedding_has_64_features_and_length_4(network, rasters):
    made = network.embed(rasters)

    assert (made.shape, made.dtype) == ((3, 64), np.float32)
    assert np.linalg.norm(made, axis=1) == pytest.approx(LENGTH, rel=1e-4)


def test_a_drawing_has_the_same_features_whatever_it_is_asked_together_with(network, rasters):
    together = network.embed(np.concatenate([rasters, rasters[::-1]]))

    assert np.array_equal(together[1], network.embed(rasters[1:2])[0])
    assert np.array_equal(together[1], together[4])
    assert np.array_equal(together[1], EmbeddingNetwork().embed(rasters[1:2])[0])


def test_no_rasters_have_no_features(network):
    assert network.embed(np.zeros((0, 784), np.uint8)).shape == (0, 64)


def test_the_reader_names_the_raster_and_the_network(network):
    digest = sha256((BASE / "embedding.tflite").read_bytes()).hexdigest()

    assert network.reader == f"{READER}/{digest[:8]}"


def test_the_base_was_made_from_this_network_and_is_as_it_was_made(network):
    told = json.loads((BASE / "base.json").read_text())

    assert told["reader"] == load_base().reader == network.reader
    assert told["sha256"] == {name: sha256((BASE / name).read_bytes()).hexdigest() for name in told["sha256"]}
    assert told["mnist_test"] > 0.99


def test_the_base_knows_a_one_from_a_seven(network, rasters):
    base = load_base()
    rows = base.basis.rows(network.embed(rasters[:2]))

    assert of_base(base).solved.probabilities(rows).argmax(axis=1).tolist() == [1, 7]
