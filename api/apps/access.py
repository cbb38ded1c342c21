"""Decides which app may ask for predictions, and how often: each key has a token bucket of its own (way 1)."""

import math
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request

from api.apps.keyring import Keyring
from api.apps.keys import Tries, app_of, named
from api.apps.predict_docs import WHERE
from api.apps.predict_request import Problem
from api.limits import Bucket, RateLimiter, address_of, in_seconds
from contracts.settings import Settings


class Caller(NamedTuple):
    """An app that asks for predictions."""

    app: str
    bucket: Bucket
    """How many predictions the app may still ask for."""


class Access:
    """Admits apps by their keys."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """Read the keys of the settings, and of their home.

        Raises:
            ValueError: If the setting of the keys cannot be read.
        """
        self._fixed, self._given = named(settings.api_keys), Keyring(settings.home)
        self._limit, self._tries = settings.predictions_per_minute, Tries()
        self._rate = RateLimiter(self._limit / 60, self._limit)
        self._clock = clock

    def let_in(self, request: Request) -> Caller:
        """Return the app that sends a request.

        Raises:
            Problem: 401, 403, 429 or 503, if the request may not come in.
        """
        now, known = self._clock(), self._given.known() | self._fixed
        if self._limit < 1:
            off = f"GAMENIGHT_PREDICTIONS_PER_MINUTE is {self._limit}: apps get no predictions here"
            raise Problem(503, "Switched off", off)
        if not known:
            raise Problem(503, "No keys", "no API key is set: `gamenight keys add NAME` makes one, or set GAMENIGHT_API_KEYS")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not key:
            say = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "No key", f"give the API key of your app: X-API-Key: <key>; {WHERE}", say)
        app = app_of(key, known)
        if wait_s := self._tries.wait(address_of(request.client.host) if request.client else "", app, now):
            detail = f"too many wrong keys from this address: try again in {in_seconds(wait_s)}"
            raise Problem(429, "Too many tries", detail, {"Retry-After": str(math.ceil(wait_s))})
        if app is None:
            raise Problem(403, "Wrong key", f"no app has this API key; {WHERE}")
        bucket = self._rate.bucket(app, now)
        if wait_s := bucket.take(now):
            detail = f"over {bucket.limit} predictions a minute: ask again in {in_seconds(wait_s)}"
            raise Problem(429, "Too many", detail, bucket.headers(wait_s))
        return Caller(app, bucket)
