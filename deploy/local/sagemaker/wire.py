"""Checks and shapes AWS's JSON by botocore's own service models, so the API is not defined here again."""

import functools
import re
import time
from collections.abc import Iterator
from typing import Any, Final

import botocore.session
from botocore.model import OperationModel, ServiceModel

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError

TARGETS: Final = {
    "SageMaker": "sagemaker",
    "Logs_20140328": "logs",
    "AnyScaleFrontendService": "application-autoscaling",
}
"""Prefix of X-Amz-Target -> service."""

Shape = Any
"""A shape of botocore's, whose kinds have members that their common base lacks; None: no value is expected."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "character": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}


def now() -> float:
    """Return the time, rounded to milliseconds as AWS rounds it, so that clients can filter by a time that they have read."""
    return round(time.time(), 3)


@functools.cache
def service(name: str) -> ServiceModel:
    """Load botocore's model of a service."""
    return botocore.session.get_session().get_service_model(name)


def operation(target: str) -> OperationModel:
    """Find the operation that an X-Amz-Target names.

    Raises:
        AwsError: UnknownOperationException, if AWS does not have such an operation either.
    """
    prefix, _, name = target.rpartition(".")
    if prefix not in TARGETS or name not in service(TARGETS[prefix]).operation_names:
        raise AwsError("UnknownOperationException", f"Unknown operation {target or 'without X-Amz-Target'}")
    return service(TARGETS[prefix]).operation_model(name)


def runtime_operation(method: str, path: str) -> str | None:
    """Find the runtime operation of a path, such as InvokeEndpointAsync; None if AWS has no operation there either."""
    model = service("sagemaker-runtime")
    for name in model.operation_names:
        asked = model.operation_model(name).http
        if method == asked["method"] and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", asked["requestUri"]), path):
            return str(name)
    return None


def checked(model: OperationModel, request: Any) -> Document:
    """Check a request; return it with the members that the operation knows.

    Raises:
        AwsError: SerializationException or ValidationException, with every wrong member and what is wrong with it.
    """
    shape = model.input_shape
    if shape is None:
        return {}
    if not isinstance(request, dict):
        raise AwsError("SerializationException", "the request is no JSON object")
    problems = list(_problems(shape, request, ""))
    if problems:
        plural = "s" if len(problems) > 1 else ""
        raise AwsError("ValidationException", f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")
    return dict(shaped(shape, request))


def shaped(shape: Shape, value: Any) -> Any:
    """Return a value with only the members that its shape knows; members that are None are left out."""
    match shape.type_name if shape else None:
        case "structure":
            members = shape.members
            return {name: shaped(members[name], item) for name, item in value.items() if name in members and item is not None}
        case "list":
            return [shaped(shape.member, item) for item in value]
        case "map":
            return {name: shaped(shape.value, item) for name, item in value.items()}
        case None:
            return {}
        case _:
            return value


def _problems(shape: Shape, given: object, path: str) -> Iterator[str]:
    kind: str = shape.type_name
    if not isinstance(given, _TYPES[kind]) or (isinstance(given, bool) and kind != "boolean"):
        raise AwsError("SerializationException", f"{path or 'the request'} is {type(given).__name__}, not {kind}")
    value: Any = given
    match kind:
        case "structure":
            for name in shape.required_members:
                if value.get(name) is None:
                    yield f"Value null at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
            for name, item in value.items():
                if name in shape.members and item is not None:
                    yield from _problems(shape.members[name], item, _below(path, name))
        case "list":
            yield from _length(shape, value, path)
            for index, item in enumerate(value, 1):
                yield from _problems(shape.member, item, f"{path}.{index}.member")
        case "map":
            yield from _length(shape, value, path)
            for name, item in value.items():
                yield from _problems(shape.key, name, f"{path}.key")
                yield from _problems(shape.value, item, f"{path}.{name}.member")
        case "string":
            yield from _length(shape, value, path)
            allowed, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
            if allowed and value not in allowed:
                yield f"{_at(value, path)}: Member must satisfy enum value set: [{', '.join(allowed)}]"
            if pattern and not _matches(pattern, value):
                yield f"{_at(value, path)}: Member must satisfy regular expression pattern: {pattern}"
        case "integer" | "long" | "float" | "double":
            low, high = shape.metadata.get("min"), shape.metadata.get("max")
            if low is not None and value < low:
                yield f"{_at(value, path)}: Member must have value greater than or equal to {low}"
            if high is not None and value > high:
                yield f"{_at(value, path)}: Member must have value less than or equal to {high}"


def _length(shape: Shape, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and len(value) < low:
        yield f"{_at(value, path)}: Member must have length greater than or equal to {low}"
    if high is not None and len(value) > high:
        yield f"{_at(value, path)}: Member must have length less than or equal to {high}"


def _below(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _at(value: Any, path: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint"


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.fullmatch(value) is not None


@functools.cache
def _compiled(pattern: str) -> "re.Pattern[str] | None":
    try:
        return re.compile(pattern)
    except re.error:  # a few patterns use Java's own classes, \p{L}, and stay unchecked
        return None
