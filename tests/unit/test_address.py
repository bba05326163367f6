"""Addresses of Redis, in all the forms that the settings allow."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.jobs.address import RedisAddress, mask_redis_url, parse_redis_url

RELAXED = settings(deadline=None)
"""Time never decides."""


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://redis", RedisAddress((("redis", 6379),))),
        ("redis://redis:6380", RedisAddress((("redis", 6380),))),
        ("redis://redis/", RedisAddress((("redis", 6379),))),
        ("redis://redis:6379/5", RedisAddress((("redis", 6379),), database=5)),
        ("redis://redis:6379/5/", RedisAddress((("redis", 6379),), database=5)),
        ("redis://harbor-harbor-redis:6379", RedisAddress((("harbor-harbor-redis", 6379),))),
        ("redis://:secret@redis/1", RedisAddress((("redis", 6379),), database=1, password="secret")),
        ("redis://user:secret@redis", RedisAddress((("redis", 6379),), username="user", password="secret")),
        ("redis://user@redis", RedisAddress((("redis", 6379),), username="user")),
        ("rediss://:secret@redis", RedisAddress((("redis", 6379),), password="secret", tls=True)),
        ("redis://:a%40b%2Fc%3A%25@redis", RedisAddress((("redis", 6379),), password="a@b/c:%")),
        ("redis://u%40x:p:q@redis", RedisAddress((("redis", 6379),), username="u@x", password="p:q")),
        ("redis://[::1]:7000/2", RedisAddress((("::1", 7000),), database=2)),
        ("redis://[fd00::7]", RedisAddress((("fd00::7", 6379),))),
        (
            "redis+sentinel://:secret@one:26379,two:26380/mymaster/3",
            RedisAddress((("one", 26379), ("two", 26380)), "mymaster", 3, password="secret"),
        ),
        (
            "redis+sentinel://one,two,three/mymaster",
            RedisAddress((("one", 26379), ("two", 26379), ("three", 26379)), "mymaster"),
        ),
        (
            "rediss+sentinel://user:secret@[::1]:1, two/mymaster/0",
            RedisAddress((("::1", 1), ("two", 26379)), "mymaster", username="user", password="secret", tls=True),
        ),
        ("redis+sentinel://one/my%2Fmaster", RedisAddress((("one", 26379),), "my/master")),
        ("unix:///run/redis/redis.sock", RedisAddress(socket=Path("/run/redis/redis.sock"))),
    ],
)
def test_every_form_of_the_url_is_read(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not such a URL"),
        ("redis", "not such a URL"),
        ("redis:6379", "not such a URL"),
        ("http://redis", "not such a URL"),
        ("redis//redis", "not such a URL"),
        ("redis://", "not such a URL"),
        ("redis://:secret@", "not such a URL"),
        ("redis://:sec@ret@redis", "not such a URL"),
        ("redis://redis?db=1", "not such a URL"),
        ("redis://redis/0#x", "not such a URL"),
        ("redis://redis/zero", "database is not a number"),
        ("redis://redis/-1", "database is not a number"),
        ("redis://redis/0/1", "database is not a number"),
        ("redis://redis/٣", "database is not a number"),
        ("redis+sentinel://one/mymaster/x", "database is not a number"),
        ("redis+sentinel://one,two", "Sentinel master is missing"),
        ("redis+sentinel://one,two/", "Sentinel master is missing"),
        ("redis+sentinel://,/mymaster", "no host"),
        ("redis://,", "no host"),
        ("redis://one,two", "several hosts"),
        ("redis://redis:0", "not a port"),
        ("redis://redis:65536", "not a port"),
        ("redis://redis:port", "not host:port"),
        ("redis://redis:", "not host:port"),
        ("redis://::1", "not host:port"),
        ("redis://[redis]", "not host:port"),
        ("redis://my redis", "not host:port"),
        ("unix://", "absolute path"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://:secret@/run/redis.sock", "absolute path"),
        ("unix:///run/redis.sock?password=secret", "absolute path"),
    ],
)
def test_every_other_url_is_refused_with_the_reason_and_without_the_url(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_redis_url(url)
    assert "secret" not in str(caught.value)


@RELAXED
@given(st.text(), st.sampled_from(["", "redis://", "rediss://", "redis+sentinel://", "unix://", "redis://:pw@"]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    try:
        address = parse_redis_url(start + text)
    except ValueError:
        return
    assert address.hosts or address.socket


NAMES = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=20)
HOSTS = st.tuples(st.one_of(NAMES, st.ip_addresses(v=6).map(str)), st.integers(1, 65535))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def addresses(draw: st.DrawFn) -> RedisAddress:
    sentinel = draw(st.booleans())
    return RedisAddress(
        hosts=tuple(draw(st.lists(HOSTS, min_size=1, max_size=4 if sentinel else 1))),
        master_name=draw(WORDS.filter(bool)) if sentinel else "",
        database=draw(st.integers(0, 99_999)),
        tls=draw(st.booleans()),
    )


@RELAXED
@given(addresses())
def test_a_written_address_is_read_as_the_same(address: RedisAddress) -> None:
    assert parse_redis_url(str(address)) == address


@RELAXED
@given(addresses(), WORDS, WORDS)
def test_credentials_of_any_text_are_read_and_neither_written_nor_shown(
    address: RedisAddress, username: str, password: str
) -> None:
    password = f"Pässword-{password}"
    scheme, _, rest = str(address).partition("://")
    url = f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@{rest}"
    read = parse_redis_url(url)
    assert (read.username, read.password) == (username, password)
    assert str(read) == str(address)
    assert mask_redis_url(url) == f"{scheme}://{quote(username, safe='')}:********@{rest}"


@pytest.mark.parametrize("url", ["redis://redis:6379/0", "redis://user@redis", "unix:///run/redis.sock", ""])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert mask_redis_url(url) == url


def test_a_socket_is_written_as_its_url() -> None:
    assert str(parse_redis_url("unix:///run/redis.sock")) == "unix:///run/redis.sock"


def test_the_idle_timeout_in_harbors_own_urls_does_not_disturb() -> None:
    assert parse_redis_url("redis://harbor-redis:6379/5?idle_timeout_seconds=30").database == 5
