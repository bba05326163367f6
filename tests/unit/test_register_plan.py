"""What `harbor-scanner register` would change: only what is asked for, and nothing twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.harbor.api import Registration
from harbor_scanner.harbor.api_errors import HarborApiError
from harbor_scanner.harbor.plan import API_KEY, BASIC, BEARER, Change, Plan, Wanted, normal_url, plan

URL = "http://adapter:8080"
AQUA = Registration("1", "Aqua Enterprise", URL, description="by hand", auth=BASIC, credential="harbor:pw")
OTHER = Registration("2", "Trivy", "http://trivy:8080", is_default=True)

NAMES = st.sampled_from(["Aqua Enterprise", "Trivy", "Mine"])
URLS = st.sampled_from([URL, "http://trivy:8080", "https://elsewhere/aqua"])
MAYBE = st.none() | st.booleans()
ACCOUNTS = st.sampled_from([(None, ""), ("", ""), (BASIC, "harbor:pw"), (BEARER, "token"), (API_KEY, "token")])
WANTED = st.builds(
    lambda account, **fields: Wanted(auth=account[0], credential=account[1], **fields),
    account=ACCOUNTS, name=NAMES, url=URLS, rename=st.booleans(), skip_check=MAYBE, internal_address=MAYBE,
)  # fmt: skip


def after(planned: Plan, found: list[Registration]) -> list[Registration]:
    """Return what Harbor has when the plan is carried out."""
    now = msgspec.convert({**planned.settings, "uuid": planned.target.id or "3"}, Registration)
    return [*(one for one in found if one.id != now.id), now]


def wanted(**fields: Any) -> Wanted:
    return Wanted(**{"name": "Aqua Enterprise", "url": URL, **fields})


@given(WANTED, st.lists(st.sampled_from([AQUA, OTHER]), unique_by=lambda one: one.id))
def test_a_plan_that_is_carried_out_leaves_nothing_to_do_and_touches_one_registration(
    wish: Wanted, found: list[Registration]
) -> None:
    try:
        planned = plan(wish, found)
    except HarborApiError:
        return
    then = after(planned, found)
    again = plan(wish, then)
    assert again.action == "none"
    assert again.changes == ()
    assert again.target.url == wish.url
    assert len([one for one in then if one not in found]) <= 1
    assert {one.id for one in found} <= {one.id for one in then}


@given(WANTED)
def test_what_is_not_asked_for_stays_as_it_is(wish: Wanted) -> None:
    try:
        planned = plan(wish, [AQUA])
    except HarborApiError:
        return
    target = planned.target
    if planned.current is None:
        return
    assert (target.description, target.disabled, target.is_default) == ("by hand", False, False)
    if wish.auth is None and wish.url == AQUA.url:
        assert (target.auth, target.credential) == (BASIC, "harbor:pw")
    if not wish.rename:
        assert target.name == AQUA.name


def test_a_new_registration_has_all_that_harbor_asks_for_and_nothing_else() -> None:
    planned = plan(wanted(auth=BEARER, credential="token", skip_check=True), [OTHER])
    assert planned.settings == {
        "name": "Aqua Enterprise", "url": URL, "description": "", "disabled": False, "auth": "Bearer",
        "access_credential": "token", "skip_certVerify": True, "use_internal_addr": False,
    }  # fmt: skip
    assert planned.changes == (
        Change("name", None, "Aqua Enterprise"), Change("url", None, URL), Change("auth", None, "Bearer"),
        Change("skip_certVerify", None, after=True), Change("access_credential", None, "***"),
    )  # fmt: skip


def test_the_same_url_is_the_same_registration_whatever_it_is_called() -> None:
    mine = msgspec.structs.replace(AQUA, name="As I like it", url="http://Adapter:8080/")
    assert plan(wanted(), [mine, OTHER]).action == "none"


def test_a_name_that_is_given_renames() -> None:
    planned = plan(wanted(name="New", rename=True), [AQUA, OTHER])
    assert planned.changes == (Change("name", "Aqua Enterprise", "New"),)


def test_an_adapter_that_moved_is_known_by_the_name_that_is_given() -> None:
    planned = plan(wanted(url="https://new", rename=True, auth=BASIC, credential="harbor:pw"), [AQUA, OTHER])
    assert (planned.target.id, planned.changes) == ("1", (Change("url", URL, "https://new"),))


def test_an_adapter_that_moved_is_shown_no_credential_of_the_old_address() -> None:
    planned = plan(wanted(url="https://new", rename=True), [AQUA, OTHER])
    assert planned.changes == (Change("url", URL, "https://new"), Change("auth", "Basic", ""))
    assert planned.settings["access_credential"] == ""


def test_another_installation_of_the_same_default_name_is_left_alone() -> None:
    with pytest.raises(HarborApiError, match=f"called 'Aqua Enterprise' already, at {URL}") as caught:
        plan(wanted(url="https://new"), [AQUA, OTHER])
    assert "--name" in caught.value.advice


def test_two_registrations_for_one_wish_are_a_conflict() -> None:
    with pytest.raises(HarborApiError, match="another scanner called 'Trivy', at http://trivy:8080"):
        plan(wanted(name="Trivy", rename=True), [AQUA, OTHER])


def test_a_credential_that_harbor_shows_is_compared_and_never_shown() -> None:
    assert plan(wanted(auth=BASIC, credential="harbor:pw"), [AQUA]).action == "none"
    changed = plan(wanted(auth=BASIC, credential="harbor:new"), [AQUA])
    assert changed.changes == (Change("access_credential", "***", "***"),)
    assert changed.settings["access_credential"] == "harbor:new"


def test_a_credential_that_harbor_hides_is_sent_again_and_the_plan_says_why() -> None:
    hidden = msgspec.structs.replace(AQUA, credential="")
    (change,) = plan(wanted(auth=BASIC, credential="harbor:pw"), [hidden]).changes
    assert change.field == "access_credential"
    assert "does not show it" in str(change.after)
    # Nobody gave it, so that it stays: Harbor keeps what it has for an empty one.
    assert plan(wanted(), [hidden]).action == "none"


def test_no_credential_removes_one() -> None:
    planned = plan(wanted(auth="", credential=""), [AQUA])
    assert planned.changes == (Change("auth", "Basic", ""),)
    assert planned.settings["access_credential"] == ""


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://Adapter:8080/", "http://adapter:8080"),
        ("https://h/Base/Path//", "https://h/Base/Path"),
        (" http://h ", "http://h"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_urls_are_compared_as_harbor_keeps_them(url: str, normal: str) -> None:
    assert normal_url(url) == normal


@pytest.mark.parametrize(
    "url",
    [
        "adapter:8080", "ftp://h", "http://", "http://h:0x", "http://h:99999", "http://u:p@h", "http://h?x=1",
        "http://h/#a", "http://h/api/v1", "http://h/api/v1/", "http://u:p@h:0x", f"http://h/{'a' * 512}",
        "http://[",
        "http://a b",
        "http://a\nb", "",
    ],
)  # fmt: skip
def test_urls_that_harbor_or_its_operator_would_not_mean_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        normal_url(url)
    assert "p@" not in str(refused.value)
