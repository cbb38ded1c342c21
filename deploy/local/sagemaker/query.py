"""Reads requests and writes answers in AWS's older form, which IAM and STS speak: a form in, XML out.

Source: AWS, "AWS query protocol" (Smithy); the shapes are botocore's.
"""

import xml.etree.ElementTree as Xml
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from botocore.model import OperationModel

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.wire import Shape

SERVICES: Final = ("iam", "sts")
"""The services that are asked in this way, as signatures name them."""
_MOST_FIELDS: Final = 1000


def fields(body: bytes) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        AwsError: MalformedQueryString, if it is no form, or a large one.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except ValueError as wrong:
        raise AwsError("MalformedQueryString", f"the body is no form of at most {_MOST_FIELDS} fields: {wrong}") from wrong
    return dict(pairs)


def request(model: OperationModel, given: dict[str, str]) -> Document:
    """Return the request of an operation from the fields of a form: ``Names.member.2`` is the second of the list ``Names``.

    Raises:
        AwsError: ValidationError, if a number or a truth value is none.
    """
    return dict(_read(model.input_shape, given, "") or {}) if model.input_shape else {}


def answer(model: OperationModel, document: Document, request_id: str) -> bytes:
    """Return the XML of an answer, which `wire.shaped` has shaped."""
    root = Xml.Element(f"{model.name}Response", xmlns=model.service_model.metadata["xmlNamespace"])
    if model.output_shape is not None:
        wrapper = model.output_shape.serialization.get("resultWrapper", f"{model.name}Result")
        _write(Xml.SubElement(root, wrapper), model.output_shape, document)
    Xml.SubElement(Xml.SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    return bytes(Xml.tostring(root))


def error(wrong: AwsError, request_id: str) -> bytes:
    """Return the XML of an error."""
    root = Xml.Element("ErrorResponse")
    told = Xml.SubElement(root, "Error")
    for name, text in (("Type", "Sender"), ("Code", wrong.code), ("Message", str(wrong))):
        Xml.SubElement(told, name).text = text
    Xml.SubElement(root, "RequestId").text = request_id
    return bytes(Xml.tostring(root))


def _read(shape: Shape, given: dict[str, str], path: str) -> Any:
    """Return the value of a shape at a path of a form; None: it has none there."""
    match shape.type_name:
        case "structure":
            below = f"{path}." if path else ""
            named = {
                name: _read(member, given, f"{below}{member.serialization.get('name', name)}")
                for name, member in shape.members.items()
            }
            found = {name: value for name, value in named.items() if value is not None}
            return found or None
        case "list":
            values, number = [], 1
            while (value := _read(shape.member, given, f"{path}.member.{number}")) is not None:
                values.append(value)
                number += 1
            return values or None
    text = given.get(path)
    if text is None or shape.type_name == "string":
        return text
    try:
        return {"true": True, "false": False}[text.lower()] if shape.type_name == "boolean" else int(text)
    except (KeyError, ValueError):
        raise AwsError("ValidationError", f"Value '{text[:100]}' at '{path}' is no {shape.type_name}") from None


def _write(element: Xml.Element, shape: Shape, value: Any) -> None:
    match shape.type_name:
        case "structure":
            for name, item in value.items():
                member = shape.members[name]
                _write(Xml.SubElement(element, member.serialization.get("name", name)), member, item)
        case "list":
            for item in value:
                _write(Xml.SubElement(element, "member"), shape.member, item)
        case "boolean":
            element.text = "true" if value else "false"
        case "timestamp":
            element.text = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            element.text = str(value)
