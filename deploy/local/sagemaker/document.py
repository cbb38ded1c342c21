"""The JSON documents that the local SageMaker keeps and returns; other modules check and shape them. Pure."""

from typing import Any

Document = dict[str, Any]
"""A request, an answer or a resource, as JSON has it: timestamps are seconds since 1970."""
