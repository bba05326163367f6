"""Which proxy leads where: by Go's rule, by the service's own, and what is odd about the variables."""

from __future__ import annotations

import os

import pytest

from harbor_scanner.doctor.proxies import Contact, go_proxy, look, own_proxy
from support.doctor import found, outcomes, told

PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        # What golang.org/x/net/http/httpproxy was seen to do.
        ("", "https://harbor.corp", False),
        ("", "https://localhost:8443", True),
        ("", "http://127.0.0.1:8080", True),
        ("", "http://127.9.9.9", True),
        ("", "http://[::1]:8080", True),
        ("*", "https://harbor.corp", True),
        ("other,*", "https://harbor.corp", True),
        ("corp", "https://harbor.corp", True),
        ("harbor.corp", "https://harbor.corp", True),
        ("HARBOR.corp", "https://Harbor.Corp", True),
        ("harbor.corp", "https://xharbor.corp", False),
        ("harbor.corp", "https://a.harbor.corp", True),
        (".corp", "https://harbor.corp", True),
        (".harbor.corp", "https://harbor.corp", False),
        ("*.corp", "https://harbor.corp", True),
        ("*.harbor.corp", "https://harbor.corp", False),
        ("harbor.corp:8443", "https://harbor.corp:8443", True),
        ("harbor.corp:8443", "https://harbor.corp", False),
        ("harbor.corp:443", "https://harbor.corp", True),
        ("harbor.corp:", "https://harbor.corp", True),
        (":443", "https://harbor.corp", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.1.2.9/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("10.1.2.3", "https://10.1.2.3:9", True),
        ("10.1.2.3:9", "https://10.1.2.3:9", True),
        ("10.1.2.3:8", "https://10.1.2.3:9", False),
        ("[fd00::1]:9", "https://[fd00::1]:9", True),
        ("fd00::1", "https://[fd00::1]:9", True),
        ("[fd00::1]", "https://[fd00::1]", False),
        ("2.3", "https://10.1.2.3", False),
        ("https://harbor.corp", "https://harbor.corp", False),
        ("a.corp harbor.corp", "https://harbor.corp", False),
        (" a.corp , harbor.corp ", "https://harbor.corp", True),
        ("har*.corp", "https://harbor.corp", False),
        ("harbor.corp.", "https://harbor.corp", False),
        ("10.0.0.0/99", "https://10.1.2.3", False),
    ],
)
def test_exceptions_are_read_as_go_reads_them(no_proxy: str, url: str, direct: bool) -> None:
    environment = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert go_proxy(url, environment) == ("" if direct else PROXY)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://x", ""),
        ({"HTTP_PROXY": PROXY}, "https://x", ""),
        ({"HTTPS_PROXY": PROXY}, "http://x", ""),
        ({"https_proxy": PROXY}, "https://x", PROXY),
        ({"https_proxy": "http://other", "HTTPS_PROXY": PROXY}, "https://x", PROXY),
        ({"ALL_PROXY": PROXY}, "https://x", ""),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://x", PROXY),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "x"}, "https://x", ""),
    ],
)
def test_variables_are_chosen_as_go_chooses_them(environment: dict[str, str], url: str, proxy: str) -> None:
    assert go_proxy(url, environment) == proxy


def test_the_service_itself_goes_by_the_rule_of_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_proxy("https://x.corp") == ""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert own_proxy("https://x.corp") == PROXY
    monkeypatch.setenv("NO_PROXY", ".corp")
    assert own_proxy("https://x.corp") == ""
    assert own_proxy("https://y.example") == PROXY


def test_without_a_proxy_there_is_nothing_to_say() -> None:
    [verdict] = found(look({"NO_PROXY": "x y"}, [Contact("the registry", "https://harbor", "")]))
    assert verdict.outcome == "ok"


@pytest.mark.parametrize("value", ["://", "ftp://proxy", "http://", "http://proxy:port", "http://me:hunter2@:80"])
def test_what_is_no_proxy_is_a_failure_and_shows_no_password(value: str) -> None:
    verdicts = found(look({"HTTPS_PROXY": value}, []))
    assert outcomes(verdicts) == {"variables": "failure"}
    assert "hunter2" not in told(verdicts, "variables")


@pytest.mark.parametrize(
    "entry", ["a b", "a;b", "https://harbor", "har*bor", "10.0.0.0/99", "harbor:8443", "[fd00::1]:80", "harbor/v2"]
)
def test_exceptions_that_some_do_not_understand_are_told(entry: str) -> None:
    verdicts = found(look({"HTTPS_PROXY": PROXY, "NO_PROXY": f"localhost,{entry},.corp"}, []))
    assert outcomes(verdicts) == {"variables": "warning"}
    assert repr(entry) in told(verdicts, "variables")


@pytest.mark.parametrize("entry", ["harbor", ".corp", "*.corp", "*", "10.0.0.0/8", "::1", "fd00::/8", "10.1.2.3", ""])
def test_usual_exceptions_are_no_matter(entry: str) -> None:
    assert outcomes(found(look({"HTTPS_PROXY": PROXY, "NO_PROXY": entry}, []))) == {"variables": "ok"}


def test_variables_that_scanners_and_service_read_differently_are_told() -> None:
    both = found(look({"HTTPS_PROXY": PROXY, "https_proxy": "http://other:1"}, []))
    assert "https_proxy differ" in told(both, "variables")
    assert "do not know" in told(found(look({"ALL_PROXY": PROXY}, [])), "variables")


def test_the_way_to_each_server_is_told() -> None:
    contacts = [
        Contact("the registry", "https://harbor.example", "http://me:hunter2@proxy:3128", "http://proxy:3128"),
        Contact("the registry", "https://harbor.example", "http://me:hunter2@proxy:3128", "http://proxy:3128"),
        Contact("the Aqua console", "https://aqua-console:8443", PROXY),
        Contact("the Aqua console", "https://csp-console-svc.aqua.svc", PROXY),
        Contact("the Aqua console", "https://10.3.4.5", PROXY),
        Contact("the registry", "https://split.example", PROXY, ""),
        Contact("the registry", "https://direct.example", "", ""),
    ]
    ways = [one for one in found(look({"HTTPS_PROXY": PROXY}, contacts)) if one.name == "way"]
    assert [one.outcome.value for one in ways] == ["ok", "warning", "warning", "warning", "warning", "ok"]
    assert "Add aqua-console to NO_PROXY" in ways[1].advice
    assert "but directly by the service itself" in ways[4].what
    assert "hunter2" not in told(ways, "way")
