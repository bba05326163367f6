"""References to images mean what docker takes them for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.scanning.reference import Reference

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "url", "repository", "wanted"),
    [
        ("debian", "https://registry-1.docker.io", "library/debian", "latest"),
        ("debian:12", "https://registry-1.docker.io", "library/debian", "12"),
        ("docker.io/debian:12", "https://registry-1.docker.io", "library/debian", "12"),
        ("index.docker.io/library/debian", "https://registry-1.docker.io", "library/debian", "latest"),
        ("bitnami/redis", "https://registry-1.docker.io", "bitnami/redis", "latest"),
        (f"ghcr.io/a/b@{DIGEST}", "https://ghcr.io", "a/b", DIGEST),
        (f"ghcr.io/a/b:1@{DIGEST}", "https://ghcr.io", "a/b", DIGEST),
        ("localhost/x", "http://localhost", "x", "latest"),
        ("localhost:5000/x:y", "http://localhost:5000", "x", "y"),
        ("127.0.0.1:5000/x", "http://127.0.0.1:5000", "x", "latest"),
        ("[::1]:5000/x", "http://[::1]:5000", "x", "latest"),
        ("https://localhost:5000/x", "https://localhost:5000", "x", "latest"),
        ("http://harbor.corp/p/x:1", "http://harbor.corp", "p/x", "1"),
        ("http://harbor/p/x:1", "http://harbor", "p/x", "1"),
        ("harbor.corp:8443/p/q/x", "https://harbor.corp:8443", "p/q/x", "latest"),
    ],
)
def test_what_a_name_leads_to(text: str, url: str, repository: str, wanted: str) -> None:
    reference = Reference.parse(text)
    assert (reference.url, reference.repository, reference.wanted) == (url, repository, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "", "Debian", "debian:", "debian:-x", "debian@sha256:12", "debian@", "ftp://x/y", "a//b", "a/../b", "ghcr.io/",
        "ghcr.io/x y", "ex ample.com/x", "http://", "me:secret@ghcr.io/x", "x\n", "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        Reference.parse(text)


@given(
    host=st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "harbor.corp"]),
    path=st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=3).map("/".join),
    tag=st.sampled_from(["", "12", "v1.2-x"]),
    digest=st.sampled_from(["", DIGEST]),
)
def test_what_is_shown_is_read_as_the_same(host: str, path: str, tag: str, digest: str) -> None:
    reference = Reference.parse(f"{host}/{path}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}")
    assert Reference.parse(str(reference)) == reference
