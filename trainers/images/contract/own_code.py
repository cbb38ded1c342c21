"""Serves with a program of the user's own, as the images of SageMaker's frameworks do (way 1, ANSWER).

Where the model's container names a SAGEMAKER_PROGRAM, such as inference.py, that file in SAGEMAKER_SUBMIT_DIRECTORY (the
model's folder `code`) may define `model_fn(model_dir)`, `input_fn(body, content_type)`, `predict_fn(data, model)` and
`output_fn(prediction, accept)`, or `transform_fn(model, body, content_type, accept)`; what it does not define is done as the
image does it. Text arrives as str. A requirements.txt beside it is installed first. Without SAGEMAKER_PROGRAM nothing in a
model is executed.
"""

import asyncio
import importlib.util
import inspect
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import container
import numpy as np
import serving

Function = Callable[..., Any]


class BadProgram(Exception):
    """The user's program cannot be used; the message says why."""


def serve(load: Callable[[], serving.Model]) -> None:
    """Serve with the user's own program, if the container names one, else with the image's model; ``load`` gives that."""
    program = os.environ.get("SAGEMAKER_PROGRAM")
    if not program:
        serving.run(load())
        return
    try:
        served = Program(loaded(program), load)
    except BadProgram as wrong:
        sys.exit(str(wrong))
    serving.listen(serving.application(served.invoke))


def loaded(program: str) -> ModuleType:
    """Execute a file of the model's folder of code; the folder is on the path meanwhile and afterwards.

    Raises:
        BadProgram: If there is no such file in it.
    """
    told = os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://")
    if told.startswith("s3://"):
        raise BadProgram(f"SAGEMAKER_SUBMIT_DIRECTORY is {told}: put the code into the model.tar.gz, under code/")
    code = container.model_dir() / "code"
    if told and told.startswith("/opt/ml/model"):
        code = container.model_dir() / Path(told).relative_to("/opt/ml/model")
    file = code / program
    if not file.is_file() or not file.resolve().is_relative_to(code.resolve()):
        raise BadProgram(f"SAGEMAKER_PROGRAM is {program}: the model has no such file under {code.name}/")
    if (code / "requirements.txt").is_file():
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements.txt")
        if subprocess.run(pip, cwd=code, check=False).returncode:
            raise BadProgram("requirements.txt could not be installed: see the log")
    sys.path.insert(0, str(code))
    described = importlib.util.spec_from_file_location(file.stem, file)
    if described is None or described.loader is None:
        raise BadProgram(f"SAGEMAKER_PROGRAM is {program}: it is no Python file")
    module = importlib.util.module_from_spec(described)
    sys.modules[file.stem] = module
    described.loader.exec_module(module)
    return module


class Program:
    """The functions of a user's program, and those that stand in for the ones that it does not define."""

    def __init__(self, module: ModuleType, load: Callable[[], serving.Model]) -> None:
        """Load the model.

        Raises:
            BadProgram: If the program defines functions that exclude each other.
        """
        names = ("model_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")
        given: dict[str, Function] = {name: getattr(module, name) for name in names if callable(getattr(module, name, None))}
        if "transform_fn" in given and given.keys() & {"input_fn", "predict_fn", "output_fn"}:
            raise BadProgram("the program defines transform_fn, and input_fn, predict_fn or output_fn: it needs one of them")
        self._transform = given.get("transform_fn")
        self._input = given.get("input_fn", _decoded if "model_fn" in given else _rasters)
        self._predict = given.get("predict_fn", lambda data, model: model(data))
        self._output = given.get("output_fn", _encoded)
        self._model = _called(given["model_fn"], str(container.model_dir())) if "model_fn" in given else load()
        self._thread = ThreadPoolExecutor(1)
        """One call at a time, and /ping is answered meanwhile."""

    async def invoke(self, headers: dict[bytes, bytes], body: bytes) -> tuple[str, bytes]:
        """Answer a request with a content type and a body.

        Raises:
            Refused: With 500 and what it was, if the program raises.
        """
        content = headers.get(b"content-type", b"application/octet-stream").decode("latin-1").split(";")[0].strip().lower()
        wanted = headers.get(b"accept", b"*/*").decode("latin-1").split(",")[0].split(";")[0].strip().lower()
        accept = content if "*" in wanted else wanted
        data: str | bytes = body
        if content.startswith("text/") or content == serving.JSON:
            try:
                data = body.decode("utf-8-sig")
            except UnicodeDecodeError as wrong:
                raise serving.Refused(400, f"the body is no {content}: {wrong}") from wrong
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, data, content, accept)
        except serving.Refused:
            raise
        except Exception as failure:
            traceback.print_exc()
            raise serving.Refused(500, f"{type(failure).__name__}: {failure}") from failure

    def _answer(self, data: str | bytes, content: str, accept: str) -> tuple[str, bytes]:
        if self._transform:
            made = _called(self._transform, self._model, data, content, accept)
        else:
            read = _called(self._input, data, content)
            made = _called(self._output, _called(self._predict, read, self._model), accept)
        if isinstance(made, tuple):
            made, accept = made
        return accept, made.encode() if isinstance(made, str) else bytes(made)


def _called(function: Function, *given: Any) -> Any:
    """Call a function of the program; one that takes one argument more gets no context."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [one for one in inspect.signature(function).parameters.values() if one.kind in positional]
    needed = [one for one in asked if one.default is inspect.Parameter.empty]
    return function(*given, None) if len(needed) == len(given) + 1 else function(*given)


def _rasters(data: str | bytes, content: str) -> serving.Raster:
    if content not in serving.READERS:
        raise serving.Refused(415, f"content type {content}: send {' or '.join(serving.READERS)}")
    return serving.READERS[content](data.encode() if isinstance(data, str) else data)


def _decoded(data: str | bytes, content: str) -> Any:
    try:
        if isinstance(data, str) and content == serving.JSON:
            told = json.loads(data)
            return np.asarray(told["instances"] if isinstance(told, dict) and "instances" in told else told)
        if isinstance(data, str) and content == serving.CSV:
            return np.loadtxt(data.splitlines(), delimiter=",", comments=None, ndmin=2)
        if isinstance(data, bytes) and content == serving.NPY:
            return np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as wrong:
        raise serving.Refused(400, f"the body is no {content}: {wrong}") from wrong
    raise serving.Refused(415, f"content type {content}: the program has no input_fn, so send npy, JSON or CSV")


def _encoded(prediction: Any, accept: str) -> bytes:
    array = np.asarray(prediction)
    if accept == serving.JSON:
        return json.dumps(array.tolist()).encode()
    if accept == serving.CSV:
        out = io.StringIO()
        np.savetxt(out, np.atleast_2d(array), delimiter=",", fmt="%s")
        return out.getvalue().encode()
    if accept == serving.NPY:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        return buffer.getvalue()
    raise serving.Refused(406, f"accept {accept}: the program has no output_fn, so take npy, JSON or CSV")
