"""How the List operations choose, sort and page: pure."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.local.sagemaker.errors import invalid
from deploy.local.sagemaker.wire import Document

_TIMES: Final = {
    "CreationTimeAfter": ("CreationTime", 1),
    "CreationTimeBefore": ("CreationTime", -1),
    "LastModifiedTimeAfter": ("LastModifiedTime", 1),
    "LastModifiedTimeBefore": ("LastModifiedTime", -1),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind of resource is listed."""

    name: str
    """The member that names it."""
    status: str | None = None
    """The member that StatusEquals and SortBy=Status look at."""
    newest_first: bool = True
    """The order when none is asked for: AWS is of two minds about it."""
    equals: Mapping[str, str] = field(default_factory=dict)
    """Further filters: member of the request -> member of the document, equal."""

    def page(self, documents: Iterable[Document], request: Document) -> tuple[list[Document], str | None]:
        """The documents asked for, at most MaxResults, and the token of the next page.

        A token names the last document of its page, so that what comes or goes meanwhile neither repeats nor skips others.

        Raises:
            AwsError: If NextToken is none of ours.
        """
        sort = {"Name": self.name, "Status": self.status, "CreationTime": "CreationTime"}.get(
            request.get("SortBy", "CreationTime")
        )
        order = request.get("SortOrder")
        backwards = order == "Descending" if order else self.newest_first

        def key(document: Document) -> tuple[Any, str]:
            return document[sort or "CreationTime"], document[self.name]

        chosen = sorted((one for one in documents if self._fits(one, request)), key=key, reverse=backwards)
        if "NextToken" in request:
            last = _decode(request["NextToken"])
            try:
                chosen = [one for one in chosen if (key(one) < last if backwards else key(one) > last)]
            except TypeError:
                raise invalid("Invalid NextToken") from None
        size = int(request.get("MaxResults", 10))
        page = chosen[:size]
        return page, _encode(key(page[-1])) if len(chosen) > size else None

    def _fits(self, document: Document, request: Document) -> bool:
        if request.get("NameContains", "").lower() not in document[self.name].lower():
            return False
        if self.status and "StatusEquals" in request and document[self.status] != request["StatusEquals"]:
            return False
        for filtered, (member, sign) in _TIMES.items():
            if filtered in request and (document.get(member, 0) - request[filtered]) * sign <= 0:
                return False
        return all(document.get(member) == request[filtered] for filtered, member in self.equals.items() if filtered in request)


def _encode(key: tuple[Any, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(token: str) -> tuple[Any, str]:
    try:
        value, name = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise invalid("Invalid NextToken") from None
    return value, name
