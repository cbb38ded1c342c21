"""The XGBoost image: its features, how it trains, and what its server takes and refuses."""

import asyncio
import hashlib
import io
import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.sagemaker.unpacking import unpack

IMAGE = Path(__file__).resolve().parents[2] / "trainers" / "images" / "xgboost"


class Image:
    """The image's modules, loaded as the image loads them: by their bare names."""

    container: ModuleType
    csv_rows: ModuleType
    features: ModuleType
    prompt: ModuleType
    forest: ModuleType
    own_code: ModuleType
    serving: ModuleType
    training: ModuleType
    train: ModuleType
    serve: ModuleType


@pytest.fixture(scope="module")
def image() -> Image:
    names = ("container", "csv_rows", "features", "prompt", "forest", "serving", "own_code", "training", "train", "serve")
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path[:0] = [str(IMAGE), str(IMAGE.parent / "contract")]
    loaded = Image()
    for name in names:
        setattr(loaded, name, __import__(name))
    del sys.path[:2]
    for name in names:
        del sys.modules[name]
    sys.modules.update(before)
    return loaded


@pytest.fixture
def opt_ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SM_CHANNEL_TRAIN", "SM_CHANNEL_VALIDATION", "SM_MODEL_DIR", "SM_HPS", "SM_OUTPUT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Any:
    folder = tmp_path_factory.mktemp("base")
    with (IMAGE / "base" / "model.tar.gz").open("rb") as packed:
        unpack(packed, folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_BASE_DIR", str(folder))
        patch.delenv("SM_MODEL_DIR", raising=False)
        return image.serve.Model()


def bar(lean: float, side: int = 28) -> np.ndarray[Any, Any]:
    """A pen stroke that leans: its x grows by ``lean`` for each row."""
    picture = np.zeros((side, side), np.uint8)
    for y in range(4, 24):
        x = 13.5 + lean * (y - 13.5)
        picture[y, int(x) : int(x) + 2] = 255
    return picture.reshape(1, -1)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_a_leaning_stroke_is_made_upright(image: Image) -> None:
    def spread(ink: np.ndarray[Any, Any]) -> float:
        columns = ink.sum(axis=0)
        middle = (columns @ np.arange(28)) / columns.sum()
        return float((columns @ (np.arange(28) - middle) ** 2) / columns.sum())

    upright = image.features.deskew(bar(0.5))[0]

    assert spread(upright) < spread(bar(0.5).reshape(28, 28) / 255) / 5
    assert upright.sum() == pytest.approx(bar(0.5).sum() / 255, rel=1e-3), "no ink is lost"


def test_features_do_not_depend_on_what_else_is_in_the_batch(image: Image) -> None:
    rng = np.random.default_rng(7)
    images = (rng.integers(0, 256, (150, 784)) * (rng.random((150, 784)) < 0.2)).astype(np.uint8)

    together = image.features.features(images)
    alone = np.concatenate([image.features.features(images[i : i + 1]) for i in range(150)])

    assert (together.shape, together.dtype) == ((150, image.features.FEATURES), np.float32)
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_blank_and_a_full_sheet_have_finite_features(image: Image, ink: int) -> None:
    found = image.features.features(np.full((2, 784), ink, np.uint8))
    assert np.isfinite(found).all()


def test_the_base_model_is_what_its_description_says() -> None:
    described = json.loads((IMAGE / "base" / "base.json").read_text())
    packed = (IMAGE / "base" / "model.tar.gz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == described["sha256"]
    assert described["mnist_test_accuracy"] >= 0.989
    assert len(packed) <= 2 * 2**20


def test_training_follows_the_container_contract(
    image: Image, opt_ml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([bar(lean) for lean in np.linspace(-0.5, 0.5, 40)] + [bar(0).reshape(28, 28).T.reshape(1, -1)] * 40)
    labels = np.repeat(np.array([1, 7], np.uint8), 40)
    for channel in ("train", "validation"):
        (opt_ml / "input" / "data" / channel).mkdir(parents=True)
        np.savez(opt_ml / "input" / "data" / channel / "a.npz", images=images, labels=labels)
    (opt_ml / "input" / "config").mkdir()
    (opt_ml / "input" / "config" / "hyperparameters.json").write_text('{"rounds": "3", "nthread": "1", "subsample": "1"}')

    image.train.main()

    rounds = [line for line in capsys.readouterr().out.splitlines() if line.startswith("round=")]
    assert [line.split()[0] for line in rounds] == ["round=1/3", "round=2/3", "round=3/3"]
    assert "validation-accuracy=1.00000" in rounds[-1]
    about = json.loads((opt_ml / "model" / "about.json").read_text())
    assert about["hyperparameters"]["rounds"] == 3
    monkeypatch.setenv("SM_MODEL_DIR", str(opt_ml / "model"))
    answer = image.serve.Model()(images)
    assert (answer.argmax(axis=1) == labels).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"depth": "5"}, "unknown hyperparameter 'depth'"),
        ({"rounds": "many"}, "rounds is 'many', not of type int"),
        ({"eta": "nan"}, "above 0 and at most 1"),
        ({"rounds": "0"}, "at least 1"),
    ],
)
def test_a_wrong_hyperparameter_is_refused_by_name(image: Image, given: dict[str, str], told: str) -> None:
    with pytest.raises(image.training.BadInput, match=told):
        image.training.hyperparameters(image.train.Hyperparameters, given)


def test_npy_and_json_bodies_round_trip(image: Image) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 784)).astype(np.uint8)
    assert (image.serving.read_npy(npy(images)) == images).all()
    assert (image.serving.read_json(json.dumps({"instances": images.tolist()}).encode()) == images).all()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros((1, 784))),
        npy(np.zeros((0, 784), np.uint8)),
        npy(np.zeros(784, np.uint8)),
        npy(np.zeros((784, 784), np.uint8, order="F")),
        npy(np.zeros((2, 784), np.uint8))[:-1],
        npy(np.zeros((2, 784), np.uint8)) + b"0",
        npy(np.zeros((1, 784), np.uint8)).replace(b"(1, 784)", b"(9**9,1)"),
        npy(np.array([print], dtype=object)),
    ],
)
def test_a_body_that_is_no_array_of_rasters_is_refused(image: Image, body: bytes) -> None:
    with pytest.raises(image.serving.Refused) as refused:
        image.serving.read_npy(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"instances": []}', b'{"instances": [[1]]}', b'{"instances": "abc"}', b"[" * 100_000]
    + [json.dumps({"instances": [[pixel] * 784]}).encode() for pixel in (256, -1, 0.5, "1", None, 10**30)],
)
def test_json_that_is_no_rasters_is_refused(image: Image, body: bytes) -> None:
    with pytest.raises(image.serving.Refused):
        image.serving.read_json(body)


def lines(*columns: np.ndarray[Any, Any]) -> bytes:
    """CSV as pandas writes it, without header and index."""
    out = io.StringIO()
    np.savetxt(out, np.column_stack(columns), fmt="%g", delimiter=",")
    return out.getvalue().encode()


def test_csv_of_a_request_and_of_an_answer_round_trip(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image.csv_rows, "_BLOCK", 7)
    images = np.random.default_rng(2).integers(0, 256, (100, 784)).astype(np.uint8)
    for body in (lines(images), lines(images).replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + lines(images).rstrip(b"\n")):
        assert (image.serving.read_csv(body) == images).all()

    said = np.random.default_rng(3).dirichlet(np.ones(10), 40).astype(np.float32)

    np.testing.assert_allclose(np.loadtxt(io.BytesIO(image.csv_rows.written(said)), delimiter=","), said, atol=1e-8)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no line"),
        (b" \n\n", "no line"),
        (lines(np.array([[5]]), np.zeros((1, 784))), "785 columns, not 784 pixels, without a label"),
        (b"1,2,3\n1,2\n", "number of columns changed"),
        (b",".join([b"pixel"] * 784), "there is no header"),
        (lines(np.full((1, 784), 256)), "no whole number from 0"),
        (lines(np.full((1, 784), -1)), "no whole number from 0"),
        (lines(np.full((1, 784), 0.5)), "no whole number from 0"),
        (b",".join([b"nan"] * 784), "no whole number from 0"),
        (lines(np.zeros((5, 784))) + b"x\n", "after 4 lines"),
        (b"\xff\xfe", "no text"),
    ],
)
def test_csv_that_is_no_rasters_is_refused_and_the_reason_told(
    image: Image, monkeypatch: pytest.MonkeyPatch, body: bytes, told: str
) -> None:
    monkeypatch.setattr(image.csv_rows, "_BLOCK", 2)
    with pytest.raises(image.serving.Refused, match=told):
        image.serving.read_csv(body)


def put(opt_ml: Path, name: str, data: bytes, content: str = "") -> None:
    """A file of the channel ``train``, and what its job says of the channel."""
    (opt_ml / "input" / "data" / "train").mkdir(parents=True, exist_ok=True)
    (opt_ml / "input" / "data" / "train" / name).write_bytes(data)
    (opt_ml / "input" / "config").mkdir(exist_ok=True)
    (opt_ml / "input" / "config" / "inputdataconfig.json").write_text(json.dumps({"train": {"ContentType": content}}))


@pytest.mark.parametrize(
    ("name", "content"), [("train.csv", ""), ("part-00000", "text/csv;label_size=1"), ("train.csv", "TEXT/CSV; charset=utf-8")]
)
def test_a_channel_in_csv_has_labels_first_and_weights_if_it_likes(image: Image, opt_ml: Path, name: str, content: str) -> None:
    images, labels = np.concatenate([bar(0), bar(0.2), bar(-0.2)]), np.array([[1], [7], [9]])
    put(opt_ml, name, lines(labels, images), content)
    put(opt_ml, f"more-{name}", lines(labels[:1], np.array([[2.5]]), images[:1]), content)

    read = image.training.read("train")

    expected = np.concatenate([images[:1], images]), np.array([1, 1, 7, 9]), np.array([2.5, 1, 1, 1])  # in the order of names
    for got, wanted in zip(read, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "train.csv: there is no line"),
        (lines(np.zeros((1, 784))), "train.csv: a line has 784 columns, not a label and 784 pixels"),
        (lines(np.array([[10]]), np.zeros((1, 784))), "train.csv: the first column is no label"),
        (lines(np.array([[1, -2]]), np.zeros((1, 784))), "weights are not 1 finite numbers"),
        (b"label," + b",".join([b"p"] * 784), "there is no header"),
        (b"\xff\xfe1,2", "train.csv: 'utf-8' codec"),
    ],
)
def test_a_channel_that_is_no_csv_of_drawings_is_refused_by_the_name_of_its_file(
    image: Image, opt_ml: Path, data: bytes, told: str
) -> None:
    put(opt_ml, "train.csv", data)
    with pytest.raises(image.training.BadInput, match=told):
        image.training.read("train")


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_the_readers(image: Image, body: bytes) -> None:
    for prefix in (b"", b"\x93NUMPY\x01\x00", b'{"instances":'):
        for read in (image.serving.read_npy, image.serving.read_json, image.serving.read_csv):
            with pytest.raises(image.serving.Refused):
                read(prefix + body)


async def test_a_big_batch_is_answered_as_its_rows_are(image: Image, base_model: Any) -> None:
    images = np.concatenate([bar(lean) for lean in np.linspace(-1, 1, 150)])
    together = await image.serving.answer(base_model, images)
    np.testing.assert_allclose(together, np.concatenate([base_model(images[i : i + 1]) for i in range(150)]), atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
def test_answers_are_those_of_xgboost_s_own_function(image: Image, base_model: Any, rows: int) -> None:
    assert base_model._forest is not None, "few rows are answered by the trees walked here"
    rng = np.random.default_rng(rows)
    noise = (rng.integers(0, 256, (40, 784)) * (rng.random((40, 784)) < 0.2)).astype(np.uint8)
    images = np.concatenate([bar(lean) for lean in np.linspace(-0.8, 0.8, 18)] + [np.zeros((2, 784), np.uint8), noise])

    for first in range(0, len(images), rows):
        expected = base_model._booster.inplace_predict(image.features.features(images[first : first + rows]))
        np.testing.assert_array_equal(base_model(images[first : first + rows]), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"booster": "dart", "rate_drop": 0.5},
        {"objective": "multi:softmax"},
        {"num_parallel_tree": 2},
        {"num_class": 3},
        {"multi_strategy": "multi_output_tree"},
    ],
)
def test_the_trees_of_another_kind_of_model_are_not_walked_here(image: Image, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    table = image.forest.xgboost.DMatrix(rng.random((60, 8)), rng.integers(0, options.get("num_class", 10), 60))
    plain = {"objective": "multi:softprob", "num_class": 10, "max_depth": 2, "nthread": 1, "seed": 5}

    assert image.forest.Forest.of(image.forest.xgboost.train(plain, table, 3)) is not None
    assert image.forest.Forest.of(image.forest.xgboost.train(plain | options, table, 3)) is None


def test_trees_that_would_answer_otherwise_than_xgboost_are_not_walked(
    image: Image, base_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.forest, "_expf", lambda: lambda power: float(np.float32(np.exp(power)) * np.float32(1.0000002)))
    assert image.forest.Forest.of(base_model._booster) is None


async def _said(config: uvicorn.Config, requests: list[bytes]) -> list[bytes]:
    """What a server says to each request; a request of several parts is sent part by part."""
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        said = []
        for request in requests:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in request.split(b"|PART|"):
                writer.write(part)
                await asyncio.sleep(0.01)
            writer.write(b"GET /ping HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            said.append(await asyncio.wait_for(reader.read(), 5))
            writer.close()
        server.should_exit = True
        await serving
    return said


async def test_a_small_invocation_is_answered_at_once_and_as_the_application_answers_it(image: Image) -> None:
    def model(images: Any) -> Any:
        if images[0, 0] == 99:
            raise RuntimeError("this model fails")
        return np.full((len(images), 10), images.mean() / 2550, np.float32)

    def request(body: bytes, *headers: str, line: str = "POST /invocations HTTP/1.1", length: bool = True) -> bytes:
        told = [line, "Host: here", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
        return "\r\n".join(told).encode() + b"\r\n\r\n" + body

    type_, one = "Content-Type: application/x-npy", npy(bar(0))
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(one), one)
    small = [
        request(one, type_),
        request(npy(np.concatenate([bar(0)] * 64)), type_, "Accept: application/json"),
        request(one[:100] + b"|PART|" + one[100:], type_).replace(b"Length: 918", b"Length: 912"),
        request(one, type_) + request(npy(bar(1)), type_) + request(one, type_),
        request(b",".join([b"9"] * 784), "Content-Type: text/csv", "Accept: text/csv"),
    ]
    general = [
        request(one, "Content-Type: image/png"),
        request(one, type_, "Accept: image/png"),
        request(one[:-1], type_),
        request(npy(np.full((1, 784), 99, np.uint8)), type_),
        request(npy(np.concatenate([bar(0)] * 65)), type_),
        request(chunked, type_, "Transfer-Encoding: chunked", length=False),
        request(one, type_, "Connection: close"),
        request(one, type_, line="POST /invocations HTTP/1.0"),
        request(one, type_, "Expect: 100-continue"),
        request(one, type_, line="PUT /invocations HTTP/1.1"),
        request(one, type_) + request(one, "Content-Type: image/png") + request(one, type_),
    ]
    answered = 0
    at_once = image.serving.at_once(model)

    def counted(headers: dict[bytes, bytes], body: bytes) -> Any:
        nonlocal answered
        told = at_once(headers, body)
        answered += 1
        return told

    given: Any = {"lifespan": "off", "log_level": "critical", "access_log": False, "date_header": False, "server_header": False}
    app, protocol = image.serving.create_app(model), image.prompt.protocol(counted, image.serving._SMALL)

    said = await _said(uvicorn.Config(app, http=protocol, **given), small)
    assert answered == 7, "none of them took the general way"
    said += await _said(uvicorn.Config(app, http=protocol, **given), general)

    assert answered == 8, "of these only the first of the last three is answered at once: the third waits behind the second"
    assert said == await _said(uvicorn.Config(app, http="httptools", **given), small + general)
    assert [len(one.split(b"HTTP/1.1 200 OK")) - 1 for one in said[:5]] == [2, 2, 2, 4, 2]


async def test_the_application_speaks_the_contract(image: Image, base_model: Any) -> None:
    async def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await image.serving.create_app(base_model)(
            {"type": "http", "method": method, "path": path, "headers": listed}, receive, send
        )
        return sent[0]["status"], sent[1]["body"]

    one = npy(bar(0))
    assert (await ask("GET", "/ping"))[0] == 200
    status, answered = await ask("POST", "/invocations", one, content_type=image.serving.NPY)
    assert (status, np.load(io.BytesIO(answered), allow_pickle=False).shape) == (200, (1, 10))
    status, answered = await ask("POST", "/invocations", one, content_type=image.serving.NPY, accept="application/json")
    assert (status, np.shape(json.loads(answered)["predictions"])) == (200, (1, 10))
    row = ",".join(map(str, bar(0)[0])).encode()
    for accept in ("text/csv", "text/*", "*/*"):
        status, answered = await ask("POST", "/invocations", row, content_type="text/csv; charset=utf-8", accept=accept)
        assert (status, len(answered.split(b","))) == (200, 10)
    assert (await ask("POST", "/invocations", one, content_type="text/plain"))[0] == 415
    assert (await ask("POST", "/invocations", one))[0] == 415
    assert (await ask("POST", "/invocations", one, content_type=image.serving.NPY, accept="image/png"))[0] == 406
    assert (await ask("GET", "/models"))[0] == 404


def test_a_model_grown_on_other_features_is_not_served(image: Image, opt_ml: Path) -> None:
    (opt_ml / "model").mkdir()
    (opt_ml / "model" / "about.json").write_text('{"algorithm": "xgboost", "features": "another-1"}')
    with pytest.raises(ValueError, match="the model reads another-1"):
        image.serve.Model()


OWN = """
import json
import helper

def model_fn(model_dir):
    with open(model_dir + "/weights.json") as file:
        return json.load(file)

def input_fn(body, content_type):
    assert content_type == "text/csv", content_type
    return [float(one) for one in body.split(",")]

def predict_fn(data, model):
    return helper.scaled(sum(data), model)

def output_fn(prediction, accept):
    return json.dumps({"sum": prediction}), "application/json"
"""


def own_code(opt_ml: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """A model with code of the user's own."""
    (opt_ml / "model" / "code").mkdir(parents=True)
    (opt_ml / "model" / "code" / "inference.py").write_text(program)
    (opt_ml / "model" / "code" / "helper.py").write_text("scaled = lambda value, model: value * model['factor']")
    (opt_ml / "model" / "weights.json").write_text('{"factor": 2}')
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("inference", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def never() -> Any:
    raise AssertionError("the image's own model is not loaded")


async def test_a_program_of_the_user_s_own_loads_reads_predicts_and_writes(
    image: Image, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_code(opt_ml, monkeypatch, OWN)
    program = image.own_code.Program(image.own_code.loaded("inference.py"), never)

    assert await program.invoke({b"content-type": b"text/csv; charset=utf-8"}, b"1,2,3.5") == (
        "application/json",
        b'{"sum": 13.0}',
    )
    with pytest.raises(image.serving.Refused, match="ValueError: could not convert string to float: 'x'") as failed:
        await program.invoke({b"content-type": b"text/csv"}, b"1,x")
    assert failed.value.status == 500


async def test_what_a_program_does_not_define_is_done_as_the_image_does_it(
    image: Image, opt_ml: Path, monkeypatch: pytest.MonkeyPatch, base_model: Any
) -> None:
    own_code(opt_ml, monkeypatch, "def predict_fn(data, model, context):\n    return model(data).argmax(axis=1)")
    program = image.own_code.Program(image.own_code.loaded("inference.py"), lambda: base_model)
    images = np.concatenate([bar(0), bar(0.3)])

    content, body = await program.invoke({b"content-type": b"application/x-npy", b"accept": b"application/json"}, npy(images))

    assert (content, json.loads(body)) == ("application/json", base_model(images).argmax(axis=1).tolist())
    for content, accept, status in (("image/png", "application/json", 415), ("application/x-npy", "image/png", 406)):
        with pytest.raises(image.serving.Refused) as refused:
            await program.invoke({b"content-type": content.encode(), b"accept": accept.encode()}, npy(images))
        assert refused.value.status == status


async def test_a_program_may_transform_in_one_and_its_model_takes_arrays(
    image: Image, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_code(opt_ml, monkeypatch, "def model_fn(model_dir):\n    return lambda array: array.sum(axis=1)")
    program = image.own_code.Program(image.own_code.loaded("inference.py"), never)
    for content, body in (
        ("text/csv", b"1,2\n3,4\n"),
        ("application/json", b"[[1, 2], [3, 4]]"),
        (image.serving.NPY, npy(np.array([[1, 2], [3, 4]]))),
    ):
        _, answered = await program.invoke({b"content-type": content.encode(), b"accept": b"application/json"}, body)
        assert json.loads(answered) == [3, 7]
    module = ModuleType("given")
    module.transform_fn = lambda model, body, content, accept: f"{body} {accept}"  # type: ignore[attr-defined]
    program = image.own_code.Program(module, lambda: None)
    assert await program.invoke({b"content-type": b"text/plain", b"accept": b"text/csv"}, b"hello") == (
        "text/csv",
        b"hello text/csv",
    )
    module.input_fn = len  # type: ignore[attr-defined]
    with pytest.raises(image.own_code.BadProgram, match="it needs one of them"):
        image.own_code.Program(module, lambda: None)


@pytest.mark.parametrize("program", ["missing.py", "../weights.json", "../../../etc/hostname"])
def test_a_program_is_a_file_of_the_model_s_code_and_no_other(
    image: Image, opt_ml: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    own_code(opt_ml, monkeypatch, OWN)
    with pytest.raises(image.own_code.BadProgram, match="the model has no such file under code/"):
        image.own_code.loaded(program)


def test_no_code_in_a_model_is_executed_unless_its_container_names_it(
    image: Image, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_code(opt_ml, monkeypatch, "raise AssertionError('it was executed')")
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    served: list[Any] = []
    monkeypatch.setattr(image.serving, "run", served.append)

    image.own_code.serve(lambda: "the image's model")

    assert served == ["the image's model"]
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
    with pytest.raises(AssertionError, match="it was executed"):
        image.own_code.serve(never)


def test_the_drawings_of_a_base_come_before_those_to_train_on(image: Image, opt_ml: Path) -> None:
    for name, labels in (("base", [1, 2]), ("train", [])):
        folder = opt_ml / "input" / "data" / name
        folder.mkdir(parents=True)
        np.savez(folder / "a.npz", images=np.zeros((len(labels), 784), np.uint8), labels=np.array(labels, np.uint8))
    assert image.training.read("base", "train").labels.tolist() == [1, 2]
    np.savez(
        folder / "b.npz", images=np.ones((1, 784), np.uint8), labels=np.array([7], np.uint8), weights=np.ones(1, np.float32)
    )
    assert image.training.read("base", "train").labels.tolist() == [1, 2, 7]
    with pytest.raises(image.training.BadInput, match="the channel 'nothing' has no"):
        image.training.read("base", "nothing")


def test_copies_of_a_drawing_are_alike_and_weigh_together_with_it_what_it_weighed_alone(image: Image) -> None:
    given = image.training.Drawings(
        np.concatenate([bar(0.2), bar(-0.2)]), np.array([1, 7], np.uint8), np.array([3, 0.5], np.float32)
    )
    made = image.training.with_copies(given, 4, seed=1)

    assert made.images.dtype == np.uint8
    assert made.images[:2].tolist() == given.images.tolist()
    assert made.labels.tolist() == [1, 7] * 5
    assert np.bincount(made.labels, made.weights)[[1, 7]] == pytest.approx([3, 0.5])
    assert len({one.tobytes() for one in made.images}) == 10
    for copy in made.images[2::2]:
        assert float(copy.sum()) == pytest.approx(float(given.images[0].sum()), rel=0.3)
    assert all(np.array_equal(*two) for two in zip(made, image.training.with_copies(given, 4, seed=1), strict=True))


def test_there_are_fewer_copies_where_there_are_many_drawings_and_none_if_none_are_wanted(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = image.training.Drawings(np.zeros((7, 784), np.uint8), np.arange(7, dtype=np.uint8), np.ones(7, np.float32))
    monkeypatch.setattr(image.training, "MOST_COPIES", 20)
    assert len(image.training.with_copies(given, 9, seed=1).labels) == 21
    assert image.training.with_copies(given, 0, seed=1) is given
    nothing = image.training.Drawings(*(array[:0] for array in given))
    assert len(image.training.with_copies(nothing, 9, seed=1).labels) == 0


def test_copies_are_made_of_the_drawings_of_players_and_none_of_the_base(
    image: Image, opt_ml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for channel, label in (("base", 1), ("train", 7)):
        (opt_ml / "input" / "data" / channel).mkdir(parents=True)
        images, labels = np.repeat(bar(0.1 * label), 20, axis=0), np.full(20, label, np.uint8)
        np.savez(opt_ml / "input" / "data" / channel / "a.npz", images=images, labels=labels)
    seen: list[Any] = []

    def make(drawings: Any, *_: Any) -> dict[str, float]:
        seen.append(drawings)
        return {}

    (opt_ml / "input" / "config").mkdir()
    (opt_ml / "input" / "config" / "hyperparameters.json").write_text('{"copies": "2"}')
    image.training.carry_out("xgboost", "f", image.train.Hyperparameters, make, {})

    assert np.bincount(seen[0].labels).tolist() == [0, 20, 0, 0, 0, 0, 0, 60]
    assert "drawings train=40 copies=40 validation=0" in capsys.readouterr().out
    assert json.loads((opt_ml / "model" / "about.json").read_text())["drawings"] == 40
