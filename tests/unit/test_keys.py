"""Keys of apps: how they are known, kept, given, and how often somebody may try."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.apps.keyring import Keyring, KeyringError
from api.apps.keys import WRONG_PER_MINUTE, Tries, app_of, digest, named
from api.limits import MAX_ADDRESSES, RateLimiter, full_bucket


def test_a_bucket_fills_evenly_up_to_a_minute():
    bucket = full_bucket(60, 1.0, 0.0)
    assert [bucket.take(0) for _ in range(61)] == [0.0] * 60 + [1.0]
    assert bucket.take(0.5) == pytest.approx(0.5)
    assert bucket.take(1.5) == 0
    assert bucket.take(1000) == 0
    assert bucket.headers()["RateLimit-Remaining"] == "59"


def test_whoever_was_heard_longest_ago_loses_their_bucket():
    buckets = RateLimiter(1 / 60, 1)
    assert buckets.bucket("first", 0).take(0) == 0
    assert buckets.bucket("first", 0).take(0) == 60
    for i in range(MAX_ADDRESSES):
        buckets.bucket(str(i), 0)
    assert buckets.bucket("first", 0).take(0) == 0


def test_wrong_keys_are_counted_by_address_and_forgiven_with_time():
    tries = Tries()
    assert [tries.wait("a", None, 0) for _ in range(WRONG_PER_MINUTE)] == [0] * WRONG_PER_MINUTE
    assert tries.wait("a", None, 0) == pytest.approx(60 / WRONG_PER_MINUTE)
    assert tries.wait("a", "shop", 0) > 0
    assert tries.wait("b", None, 0) == 0
    assert tries.wait("a", "shop", 60) == 0


@pytest.mark.parametrize("setting", ["secret", "a b:secret", "shop:", ":secret", "ä:x"])
def test_keys_that_are_not_as_they_should_be_are_named(setting):
    with pytest.raises(ValueError, match="GAMENIGHT_API_KEYS: write name:key"):
        named(setting)


def test_a_key_may_hold_a_colon():
    known = named("shop:a:b, till:c,")
    assert [app_of(key, known) for key in ("a:b", "c", "a", "")] == ["shop", "till", None, None]


def test_of_a_given_key_only_the_digest_is_kept_for_its_owners_eyes(tmp_path):
    ring = Keyring(tmp_path)
    assert (ring.known(), ring.given()) == ({}, {})

    key = ring.add("shop")

    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (path.read_text(), path.stat().st_mode & 0o777) == (digest(key).hex(), 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert app_of(key, ring.known()) == "shop"
    assert list(ring.given()) == ["shop"]


def test_a_name_has_one_key_until_that_is_revoked(tmp_path):
    ring = Keyring(tmp_path)
    first = ring.add("shop")
    with pytest.raises(KeyringError, match="gamenight keys revoke shop"):
        ring.add("shop")
    assert app_of(first, ring.known()) == "shop"

    ring.revoke("shop")

    assert ring.known() == {}
    assert ring.add("shop") != first
    with pytest.raises(KeyringError, match="no key of 'till'"):
        ring.revoke("till")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".shop", "a/b", "a:b", "x" * 33])
def test_a_name_leads_out_of_no_folder(tmp_path, name):
    for change in (Keyring(tmp_path).add, Keyring(tmp_path).revoke):
        with pytest.raises(KeyringError):
            change(name)
    assert list(tmp_path.rglob("*")) == []


def test_of_two_who_give_a_name_a_key_at_once_one_has_it_and_the_other_is_told(tmp_path, monkeypatch):
    rings, link, met = [Keyring(tmp_path) for _ in range(2)], os.link, threading.Barrier(2)

    def together(made: Path, there: Path) -> None:
        met.wait(10)  # both have written their digest
        link(made, there)

    monkeypatch.setattr(os, "link", together)
    with ThreadPoolExecutor(2) as both:
        ends = [both.submit(ring.add, "shop") for ring in rings]
        keys = [one.result() for one in ends if one.exception() is None]
        told = [one.exception() for one in ends if one.exception() is not None]

    assert [type(one) for one in told] == [KeyringError]
    assert [digest(key) for key in keys] == [rings[0].known()["shop"]]
    assert [path.name for path in (tmp_path / "secrets" / "keys").iterdir()] == ["shop"]
