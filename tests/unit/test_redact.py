"""Redaction: no secret survives, however a program prints it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harbor_scanner.redact import MASK, Redactor

RELAXED = settings(deadline=None)
"""Time never decides."""


def _lower_percent(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quote(text, safe=""))


def _go_json(text: str) -> str:
    """As Go's encoding/json does it, which also escapes what HTML would take for its own."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    for character in "<>&\u2028\u2029":
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return escaped


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "URL": lambda text: quote(text, safe=""),
    "URL path": quote,
    "URL user": lambda text: quote(text, safe="$&+,;="),
    "URL, lower case": _lower_percent,
    "form": quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not only ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of Go": _go_json,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[2:-2],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "Python": lambda text: repr(text)[1:-1],
    "Python bytes": lambda text: repr(text.encode())[2:-1],
    "HTML": html.escape,
    "HTML of Go": lambda text: html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "Base64": _base64,
    "Base64 without padding": lambda text: _base64(text).rstrip("="),
    "Base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "Base64 in a URL": lambda text: quote(_base64(text), safe=""),
}
SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40)
AROUND = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
@RELAXED
@given(before=AROUND, secret=SECRETS, after=AROUND)
@example(before="", secret="p@ss w0rd/+&=%\\\"'<>\n\té€😀", after="")
@example(before="", secret="\\\\server\\new", after="")
@example(before="", secret="ends with \\", after="n")
@example(before="", secret='\\\n\\"', after="")
@example(before="", secret="%41%zz", after="")
@example(before="", secret="&amp;&#38;", after="")
def test_no_secret_survives_in_any_encoding(encoding: str, before: str, secret: str, after: str) -> None:
    encoded = ENCODINGS[encoding](secret)
    # What is there anyway, or comes to be where the mask and its surroundings meet, is not a secret's survival.
    assume(encoded not in f"{before}{MASK}{after}")
    redacted = Redactor([secret])(f"{before}{encoded}{after}")
    assert encoded not in redacted
    assert MASK in redacted


@RELAXED
@given(user=st.text(st.characters(exclude_categories=["Cs"]), max_size=8), secret=SECRETS, after=AROUND)
def test_a_secret_does_not_survive_as_a_part_of_something_longer_in_base64(user: str, secret: str, after: str) -> None:
    assume(len(secret.encode()) >= 8)
    header = _base64(f"{user}:{secret}{after}")
    redacted = Redactor([secret])(f"Authorization: Basic {header}")
    assert MASK in redacted
    left = redacted.removeprefix("Authorization: Basic ").replace(MASK, "")
    # What is left of the header has no room for the secret.
    assert len(left) * 6 < len(f"{user}:{after}".encode()) * 8 + 4 * 6 + 12


@RELAXED
@given(SECRETS, AROUND, AROUND)
def test_what_is_no_secret_stays_as_it_is(secret: str, before: str, after: str) -> None:
    text = f"{before} unsuspicious {after}"
    redact = Redactor([f"{secret}-nowhere-to-be-found"])
    assert redact(text) == text


@RELAXED
@given(st.lists(SECRETS), AROUND)
def test_of_several_secrets_none_survives(secrets: list[str], around: str) -> None:
    text = around.join(secrets)
    assume(not any(secret in f"{around}{MASK}{around}{MASK}{around}" for secret in secrets))
    redacted = Redactor(secrets)(text)
    assert not any(secret in redacted for secret in secrets)


def test_a_secret_that_begins_with_another_one_is_taken_out_whole() -> None:
    assert Redactor(["hunter", "hunter2-longer"])("is hunter2-longer here") == f"is {MASK} here"


def test_every_occurrence_is_taken_out() -> None:
    assert Redactor(["hunter2"])("hunter2, hunter2;xhunter2x") == f"{MASK}, {MASK};x{MASK}x"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("1", MASK),
        ("password 1.", f"password {MASK}."),
        ("user:1@host", f"user:{MASK}@host"),
        ("11 of 21 in 1m", "11 of 21 in 1m"),
    ],
)
def test_a_very_short_secret_is_taken_out_only_as_a_word(text: str, redacted: str) -> None:
    assert Redactor(["1"])(text) == redacted


def test_nothing_is_taken_out_without_secrets() -> None:
    assert Redactor()("text") == "text"
    assert Redactor(["", ""])("text") == "text"


def test_more_secrets_can_be_added_and_the_first_redactor_stays_as_it_was() -> None:
    first = Redactor(["hunter2"])
    both = first.adding(["swordfish", ""])
    assert both("hunter2 swordfish") == f"{MASK} {MASK}"
    assert first("hunter2 swordfish") == f"{MASK} swordfish"
    assert both.secrets == {"hunter2", "swordfish"}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("secret", "unit"),
    [("\\" * 30 + "x", "\\"), ('\\"' * 20, '\\\\\\\\\\"'), ('"' * 20, '\\\\\\"'), ("&amp;" * 20, "&amp;amp;"),
     ("%25" * 20, "%2525"), (" " * 20 + "x", " +"), ("\n" * 20, "\\\\n")],
)  # fmt: skip
def test_no_text_makes_redaction_slow(secret: str, unit: str) -> None:
    text = (unit * 19 + "-") * 1000
    assert len(Redactor([secret])(text)) <= len(text)


def test_a_secret_that_is_no_unicode_does_no_harm() -> None:
    assert Redactor(["abc\ud800def"])("abc\ud800def xyz") == f"{MASK} xyz"
