"""Who may call the API."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.http.auth import Authenticator

RELAXED = settings(deadline=None)

AUTHORIZATION = b"authorization"
API_KEY = b"x-scanneradapter-api-key"


def basic(credentials: str, scheme: bytes = b"Basic") -> dict[bytes, bytes]:
    return {AUTHORIZATION: scheme + b" " + base64.b64encode(credentials.encode())}


def test_without_credentials_in_the_settings_everybody_may_call() -> None:
    everybody = Authenticator()
    assert not everybody.required
    assert everybody.allows({})
    assert everybody.allows({AUTHORIZATION: b"Bearer whatever"})


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC", b"Basic "])
def test_the_right_user_and_password_are_let_in(scheme: bytes) -> None:
    assert Authenticator("harbor:hunter2").allows(basic("harbor:hunter2", scheme))


@pytest.mark.parametrize("token", ["new", "old"])
def test_every_token_is_let_in_as_bearer_and_as_api_key(token: str) -> None:
    guard = Authenticator(tokens=("new", "old"))
    assert guard.allows({AUTHORIZATION: f"Bearer {token}".encode()})
    assert guard.allows({AUTHORIZATION: f"bearer {token}".encode()})
    assert guard.allows({API_KEY: token.encode()})


def test_one_right_credential_suffices() -> None:
    guard = Authenticator("harbor:hunter2", ("new", "old"))
    assert guard.allows({**basic("harbor:wrong"), API_KEY: b"old"})
    assert guard.allows({**basic("harbor:hunter2"), API_KEY: b"wrong"})
    assert guard.allows(basic("harbor:hunter2"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {AUTHORIZATION: b""},
        {AUTHORIZATION: b"Basic"},
        {AUTHORIZATION: b"Basic "},
        {AUTHORIZATION: b"Bearer"},
        {AUTHORIZATION: b"Bearer "},
        {AUTHORIZATION: b"token"},
        {AUTHORIZATION: b"Basic token"},
        {AUTHORIZATION: b"Basic harbor:hunter2"},
        {AUTHORIZATION: b"Bearer " + base64.b64encode(b"harbor:hunter2")},
        {AUTHORIZATION: b"Bearer TOKEN"},
        {AUTHORIZATION: b"Bearer token2"},
        {AUTHORIZATION: b"Bearer toke"},
        {AUTHORIZATION: b"Digest token"},
        {AUTHORIZATION: b"\xff\xfe \xff"},
        {API_KEY: b""},
        {API_KEY: b"hunter2"},
        {API_KEY: b"Bearer token"},
        basic("harbor:hunter"),
        basic("harbor:hunter2 "),
        basic("Harbor:hunter2"),
        basic(":hunter2"),
        basic("harbor:"),
    ],
)
def test_everything_else_is_turned_away(headers: dict[bytes, bytes]) -> None:
    guard = Authenticator("harbor:hunter2", ("token",))
    assert guard.required
    assert not guard.allows(headers)


def test_a_token_is_no_password_and_a_password_no_token() -> None:
    assert not Authenticator("harbor:hunter2").allows({AUTHORIZATION: b"Bearer hunter2", API_KEY: b"hunter2"})
    assert not Authenticator(tokens=("token",)).allows(basic("token:token"))


@pytest.mark.parametrize(
    ("guard", "challenge"),
    [
        (Authenticator("a:b"), 'Basic realm="harbor-scanner"'),
        (Authenticator(tokens=("t",)), 'Bearer realm="harbor-scanner"'),
        (Authenticator("a:b", ("t",)), 'Basic realm="harbor-scanner", Bearer realm="harbor-scanner"'),
    ],
)
def test_who_is_turned_away_is_told_the_schemes(guard: Authenticator, challenge: str) -> None:
    assert guard.challenge == challenge


@RELAXED
@given(
    st.text(min_size=1), st.text(min_size=1), st.dictionaries(st.sampled_from([AUTHORIZATION, API_KEY]), st.binary())
)
def test_any_credentials_work_and_no_other_headers_do(user: str, password: str, headers: dict[bytes, bytes]) -> None:
    guard = Authenticator(f"{user}:{password}", (f"token-{password}",))
    assert guard.allows(basic(f"{user}:{password}"))
    assert guard.allows({AUTHORIZATION: f"Bearer token-{password.strip()}".encode()}) or password != password.strip()
    assert not guard.allows(headers)
