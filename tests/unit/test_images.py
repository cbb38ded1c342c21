"""Every image, run by the Python of its own environment: what its server answers and refuses, and what its `train` makes.

And what all base models say together, which is what a player is shown before anybody has taught any of them.
"""

import gzip
import hashlib
import http.client
import io
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.local.archive import free_ports
from deploy.local.install import ROOT
from deploy.local.sagemaker.unpacking import unpack
from streams.all_players import AT_FIRST
from streams.blend import blend_weights, blended, opinions
from streams.embedding import EmbeddingNetwork
from streams.online_base import load_base
from streams.online_model import SHARED, of_base

IMAGES = ROOT / "trainers" / "images"
TOOLS = Path(os.environ.get("GAMENIGHT_TOOLS", ROOT / ".tools"))
BOUNDS = {"xgboost": 0.9895, "tensorflow": 0.9894, "mxnet": 0.9885, "kmeans": 0.968}
"""Least accuracy on MNIST's 10,000 test images."""
SMALL = {
    "xgboost": {"rounds": 5, "nthread": 1},
    "mxnet": {"epochs": 4},
    "kmeans": {"clusters": 200, "rounds": 3},
}
"""Hyperparameters of a short training; tensorflow trains in tests/integration, where its environment is made."""
EVERYONE = 0.995
"""Least accuracy of what they say together with the base of `river`."""
BATCH = 500
NPY, JSON = "application/x-npy", "application/json"
PATIENCE_S = 60.0


def mnist(part: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    def read(name: str, head: int) -> NDArray[np.uint8]:
        return np.frombuffer(
            gzip.decompress((ROOT / "data" / "mnist" / f"{part}-{name}.gz").read_bytes()), np.uint8, offset=head
        )

    return read("images-idx3-ubyte", 16).reshape(-1, 784)[:count], read("labels-idx1-ubyte", 8)[:count]


def npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def environment(**given: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    named = {name: str(value) for name, value in given.items()}
    return kept | {"PYTHONPATH": str(IMAGES / "contract"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"} | named


def script(algorithm: str, name: str) -> list[str]:
    """The command of an image's `train` or `serve`; an image that this machine cannot have is skipped with its reason."""
    unavailable = TOOLS / "images" / f"{algorithm}.unavailable"
    if unavailable.is_file():
        pytest.skip(unavailable.read_text())
    return [str(TOOLS / "images" / algorithm / "bin" / "python"), str(IMAGES / algorithm / f"{name}.py")]


@dataclass
class Server:
    """An image that serves a model."""

    algorithm: str
    port: int

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        status, body = self.ask("POST", "/invocations", npy(images), content_type=NPY)
        assert status == 200, body
        answered: NDArray[np.float32] = np.load(io.BytesIO(body), allow_pickle=False)
        return answered


def serving(algorithm: str, model: Path) -> Iterator[Server]:
    [port] = free_ports(1)
    made = environment(SM_MODEL_DIR=model, SAGEMAKER_BIND_TO_PORT=port)
    with subprocess.Popen(script(algorithm, "serve"), env=made, stderr=subprocess.PIPE, text=True) as process:
        try:
            server, deadline = Server(algorithm, port), time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "no answer to /ping"
                try:
                    if server.ask("GET", "/ping")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.02)
            yield server
        finally:
            process.kill()


def serving_base(algorithm: str) -> Iterator[Server]:
    """An image that serves its base model."""
    with tempfile.TemporaryDirectory() as folder, (IMAGES / algorithm / "base" / "model.tar.gz").open("rb") as packed:
        unpack(packed, Path(folder) / "model")
        yield from serving(algorithm, Path(folder) / "model")


@cache
def said_of_mnist(algorithm: str) -> NDArray[np.float32]:
    """What an image with its base model answers to MNIST's 10,000 test images."""
    images, _ = mnist("t10k", 10_000)
    [found] = (
        [server.probabilities(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        for server in serving_base(algorithm)
    )
    return np.concatenate(found)


@pytest.fixture(scope="module", params=sorted(BOUNDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each image in turn, with its base model."""
    yield from serving_base(request.param)


@pytest.mark.parametrize("algorithm", sorted(BOUNDS))
def test_the_base_model_knows_mnist_s_digits_as_well_as_its_description_says(algorithm: str) -> None:
    _, labels = mnist("t10k", 10_000)
    described = json.loads((IMAGES / algorithm / "base" / "base.json").read_text())

    found = said_of_mnist(algorithm)

    assert (found.shape, found.dtype) == ((10_000, 10), np.float32)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    accuracy = (found.argmax(axis=1) == labels).mean()
    assert accuracy >= BOUNDS[algorithm]
    assert accuracy == pytest.approx(described["mnist_test_accuracy"], abs=0.001)


def test_all_base_models_together_are_wrong_about_at_most_one_digit_in_200() -> None:
    """`everyone` as it is at first: four images, and `river` as it was born."""
    images, labels = mnist("t10k", 10_000)
    base, seen = load_base(), EmbeddingNetwork().embed(images)
    river = of_base(base).solved.probabilities(base.basis.rows(seen))
    voices = {SHARED: river} | {algorithm: said_of_mnist(algorithm).astype(np.float64) for algorithm in sorted(BOUNDS)}
    weights = {voice: blend_weights(AT_FIRST).of(voice) for voice in voices}

    total = np.sum([weights[voice] * opinions(said) for voice, said in voices.items()], axis=0)
    together = blended(total, np.full(len(images), sum(weights.values())))

    assert (together.argmax(axis=1) == labels).mean() >= EVERYONE


def test_an_answer_does_not_depend_on_what_it_was_asked_with(server: Server) -> None:
    images, _ = mnist("t10k", 150)
    alone = np.concatenate([server.probabilities(images[i : i + 1]) for i in range(30)])
    np.testing.assert_allclose(server.probabilities(images)[:30], alone, atol=1e-5)


def test_json_csv_and_npy_are_answered_alike(server: Server) -> None:
    images, _ = mnist("t10k", 3)
    rows = "".join(",".join(map(str, image)) + "\n" for image in images.tolist()).encode()
    status, body = server.ask("POST", "/invocations", rows, content_type="text/csv", accept="text/csv")
    assert status == 200
    np.testing.assert_allclose(np.loadtxt(io.BytesIO(body), delimiter=","), server.probabilities(images), atol=1e-6)
    status, body = server.ask("POST", "/invocations", json.dumps({"instances": images.tolist()}).encode(), content_type=JSON)
    assert status == 200
    np.testing.assert_allclose(json.loads(body)["predictions"], server.probabilities(images), atol=1e-6)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_blank_and_a_full_sheet_are_answered(server: Server, ink: int) -> None:
    found = server.probabilities(np.full((2, 784), ink, np.uint8))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "content", "status"),
    [
        (b"", NPY, 400),
        (npy(np.zeros((1, 784))), NPY, 400),
        (npy(np.array([print], dtype=object)), NPY, 400),
        (b'{"instances": [[1]]}', JSON, 400),
        (b"1,2,3", "text/csv", 400),
        (b"1,2,3", "text/plain", 415),
    ],
)
def test_what_is_no_raster_is_refused_and_the_server_goes_on(server: Server, body: bytes, content: str, status: int) -> None:
    assert server.ask("POST", "/invocations", body, content_type=content)[0] == status
    assert server.ask("GET", "/ping")[0] == 200


@pytest.mark.parametrize("algorithm", sorted(BOUNDS))
def test_the_base_model_is_what_its_description_says(algorithm: str) -> None:
    described = json.loads((IMAGES / algorithm / "base" / "base.json").read_text())
    packed = (IMAGES / algorithm / "base" / "model.tar.gz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == described["sha256"]
    assert described["mnist_test_accuracy"] >= BOUNDS[algorithm]
    assert described["command"] == f"python trainers/images/make_base.py {algorithm}"
    assert len(packed) <= 600_000


@pytest.mark.parametrize("algorithm", sorted(BOUNDS))
def test_an_image_says_what_it_is(algorithm: str) -> None:
    told = json.loads((IMAGES / algorithm / "image.json").read_text())
    assert told["title"]
    assert told["about"].endswith(".")
    assert all(isinstance(value, int | float) for value in told["hyperparameters"].values())
    assert isinstance(told["platforms"], list)
    assert (IMAGES / algorithm / "Dockerfile").is_file()


def trained(algorithm: str, place: Path, **given: object) -> subprocess.CompletedProcess[str]:
    made = environment(SAGEMAKER_BASE_DIR=place, SM_HPS=json.dumps({name: str(value) for name, value in given.items()}))
    return subprocess.run(script(algorithm, "train"), env=made, capture_output=True, text=True, check=False)


def drawings(count: int, doubtful: int = 0) -> bytes:
    """A channel's file: MNIST's first drawings, and ``doubtful`` of them again with another label and no weight."""
    images, labels = mnist("train", count)
    weights = np.concatenate([np.full(count, 3, np.float32), np.zeros(doubtful, np.float32)])
    wrong = ((labels[:doubtful] + 1) % 10).astype(np.uint8)
    out = io.BytesIO()
    labels, images = np.concatenate([labels, wrong]), np.concatenate([images, images[:doubtful]])
    np.savez(out, images=images, labels=labels, weights=weights)
    return out.getvalue()


def channel(place: Path, data: bytes, kind: str = "npz") -> None:
    folder = place / "input" / "data" / "train"
    folder.mkdir(parents=True)
    (folder / f"drawings.{kind}").write_bytes(data)


def test_the_same_drawings_in_csv_make_the_same_model(tmp_path: Path) -> None:
    images, labels = mnist("train", 500)
    rows = io.StringIO()
    np.savetxt(rows, np.column_stack([labels, images]), fmt="%d", delimiter=",")
    arrays = io.BytesIO()
    np.savez(arrays, images=images, labels=labels)
    models = []
    for kind, data in (("csv", rows.getvalue().encode()), ("npz", arrays.getvalue())):
        channel(tmp_path / kind, data, kind)
        done = trained("xgboost", tmp_path / kind, rounds=2, nthread=1)
        assert done.returncode == 0, done.stdout + done.stderr
        models.append((tmp_path / kind / "model" / "model.ubj").read_bytes())
    assert models[0] == models[1]


@pytest.mark.parametrize("algorithm", sorted(SMALL))
def test_what_training_makes_is_served_and_weights_count(algorithm: str, tmp_path: Path) -> None:
    channel(tmp_path, drawings(2000, doubtful=2000))

    done = trained(algorithm, tmp_path, **SMALL[algorithm])

    assert done.returncode == 0, done.stdout + done.stderr
    step = "epoch" if "epochs" in SMALL[algorithm] else "round"
    of = SMALL[algorithm].get("epochs") or SMALL[algorithm]["rounds"]
    steps = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(f"{step}=")]
    assert steps == [f"{step}={i}/{of}" for i in range(1, of + 1)]
    about = json.loads((tmp_path / "model" / "about.json").read_text())
    assert (about["algorithm"], about["drawings"]) == (algorithm, 4000)
    images, labels = mnist("t10k", 500)
    for server in serving(algorithm, tmp_path / "model"):
        assert (server.probabilities(images).argmax(axis=1) == labels).mean() >= 0.85


ONWARD = {"xgboost": {"rounds": 2, "eta": 0.1, "nthread": 1}, "mxnet": {"epochs": 1}, "kmeans": {"rounds": 2}}
"""Hyperparameters of a short continuation."""


def continued(algorithm: str, place: Path, parent: str | None = None) -> subprocess.CompletedProcess[str]:
    """A training that goes on from the base model."""
    channel(place, drawings(3000))
    folder = place / "input" / "data" / "model"
    folder.mkdir()
    packed = (IMAGES / algorithm / "base" / "model.tar.gz").read_bytes()
    (folder / "model.tar.gz").write_bytes(packed)
    return trained(algorithm, place, **ONWARD[algorithm], parent=parent or hashlib.sha256(packed).hexdigest())


@pytest.mark.parametrize("algorithm", sorted(ONWARD))
def test_training_goes_on_from_a_version_before(algorithm: str, tmp_path: Path) -> None:
    done = continued(algorithm, tmp_path / "one")

    assert done.returncode == 0, done.stdout + done.stderr
    about = json.loads((tmp_path / "one" / "model" / "about.json").read_text())
    described = json.loads((IMAGES / algorithm / "base" / "base.json").read_text())
    assert about["parent"] == described["sha256"]
    images, labels = mnist("t10k", 1000)
    for server in serving(algorithm, tmp_path / "one" / "model"):
        right = (server.probabilities(images).argmax(axis=1) == labels).mean()
    assert right >= 0.96, "it has not begun anew: of 3,000 drawings nobody learns that much so soon"
    if algorithm != "mxnet":  # which takes seconds; its bytes are the same too, see docs/benchmarks.md
        assert continued(algorithm, tmp_path / "two").returncode == 0
        one, two = ({file.name: file.read_bytes() for file in (tmp_path / name / "model").iterdir()} for name in ("one", "two"))
        assert one == two


def test_training_does_not_go_on_from_another_artifact_than_was_meant(tmp_path: Path) -> None:
    done = continued("xgboost", tmp_path, parent="0" * 64)

    assert done.returncode == 1
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure == "BadParent: the channel 'model' holds another artifact than the hyperparameter parent names"


@pytest.mark.parametrize("algorithm", sorted(SMALL))
def test_an_unknown_hyperparameter_is_the_job_s_failure_and_the_known_ones_are_named(algorithm: str, tmp_path: Path) -> None:
    channel(tmp_path, drawings(100))

    done = trained(algorithm, tmp_path, depth=5)

    assert done.returncode == 1
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure.startswith("BadInput: unknown hyperparameter 'depth': this image has ")
    assert "seed" in failure


_LOADED = """
import ctypes, importlib.util, pathlib
ctypes.CDLL(str(pathlib.Path(importlib.util.find_spec("mxnet").origin).with_name("libmxnet.so")))
for line in open("/proc/self/maps"):
    if "libgomp" in line or "libquadmath" in line:
        print(line.split()[-1])
"""


def test_mxnet_computes_with_libraries_of_its_own_environment_since_a_bare_machine_has_none() -> None:
    python = script("mxnet", "serve")[0]

    told = subprocess.run((python, "-c", _LOADED), capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = {Path(line).name.split("-")[0]: Path(line) for line in told.splitlines()}

    assert loaded.keys() == {"libgomp", "libquadmath"}
    assert all(path.is_relative_to(Path(python).parents[1].resolve()) for path in loaded.values()), loaded
