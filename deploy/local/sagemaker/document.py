"""What the local SageMaker keeps and answers: JSON, checked and shaped elsewhere. Pure."""

from typing import Any

Document = dict[str, Any]
"""A request, an answer or a resource, as JSON has it: timestamps are seconds since 1970."""
