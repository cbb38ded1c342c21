"""Filters, sorts and pages documents for the List operations. Pure."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import invalid

_TIMES: Final = {
    "CreationTimeAfter": ("CreationTime", 1),
    "CreationTimeBefore": ("CreationTime", -1),
    "LastModifiedTimeAfter": ("LastModifiedTime", 1),
    "LastModifiedTimeBefore": ("LastModifiedTime", -1),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Describes how one kind of resource is listed."""

    name: str
    """The member that holds the name of a resource."""
    status: str | None = None
    """The member that StatusEquals and SortBy=Status use."""
    equals: Mapping[str, str] = field(default_factory=dict)
    """Further filters: member of the request -> the member of the document that must equal it."""
    group: str | None = None
    """The member that holds the name of the group, for resources that are numbered within a group."""
    number: str | None = None
    """The member that holds the number within the group."""
    from_then_on: bool = False
    """Whether CreationTimeAfter includes that time itself: AWS's operations differ."""

    def page(self, documents: Iterable[Document], request: Document) -> tuple[list[Document], str | None]:
        """Return the documents asked for, newest first by default, at most MaxResults, and the token of the next page.

        A token names the last document of its page, so that documents that come or go meanwhile neither repeat nor skip others.

        Raises:
            AwsError: If NextToken is not a token of this service.
        """
        sort = request.get("SortBy", "CreationTime")
        backwards = request.get("SortOrder", "Descending") == "Descending"

        def key(document: Document) -> tuple[float | str, str, int]:
            name, number = self._name(document), int(document.get(self.number or "", 0))
            first = {"Name": name, "Status": document.get(self.status or "", ""), "CreationTime": document["CreationTime"]}
            return first[sort], name, number

        chosen = sorted((one for one in documents if self._fits(one, request)), key=key, reverse=backwards)
        if "NextToken" in request:
            last = _decode(request["NextToken"], float if sort == "CreationTime" else str)
            chosen = [one for one in chosen if (key(one) < last if backwards else key(one) > last)]
        size = int(request.get("MaxResults", 10))
        page = chosen[:size]
        return page, _encode(key(page[-1])) if len(chosen) > size else None

    def _name(self, document: Document) -> str:
        return str(document.get(self.group or "") or document[self.name])

    def _fits(self, document: Document, request: Document) -> bool:
        if request.get("NameContains", "").lower() not in self._name(document).lower():
            return False
        if self.status and "StatusEquals" in request and document[self.status] != request["StatusEquals"]:
            return False
        for filtered, (member, sign) in _TIMES.items():
            if filtered in request:
                later = (document.get(member, 0) - request[filtered]) * sign
                if later < 0 or (later == 0 and not (self.from_then_on and filtered == "CreationTimeAfter")):
                    return False
        return all(document.get(member) == request[filtered] for filtered, member in self.equals.items() if filtered in request)


def _encode(key: tuple[float | str, str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(token: str, kind: type[float] | type[str]) -> tuple[Any, str, int]:
    """Return from a token the sort key of the last document of the page before.

    Raises:
        AwsError: If the token has no sort key, or the key of another order.
    """
    try:
        first, name, number = json.loads(base64.urlsafe_b64decode(token))
        if not (isinstance(first, kind) and isinstance(name, str) and isinstance(number, int)):
            raise ValueError(token)
    except (ValueError, TypeError, RecursionError):
        raise invalid("Invalid NextToken") from None
    return first, name, number
