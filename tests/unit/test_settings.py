"""Settings: read from an environment, every problem found at once, no secret shown."""

from __future__ import annotations

import os
import pwd
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.errors import SettingsError
from harbor_scanner.layers import Loader
from harbor_scanner.settings import (
    BOOLEAN,
    OPTIONAL_PATH,
    PATH,
    TEXT,
    Kind,
    Setting,
    choice,
    duration,
    integer,
    settings_of,
    size,
)

RELAXED = settings(deadline=None)
"""Time never decides."""


class Color(StrEnum):
    RED = "red"
    DARK_RED = "DarkRed"


def _secret_parse(text: str) -> str:
    if text and not text.startswith("ok"):
        raise ValueError(f"it begins with {text[0]}")
    return text


def _mask(text: str) -> str:
    return re.sub(r"pw-\w+", "***", text)


class Group(msgspec.Struct, frozen=True):
    name: Annotated[str, Setting("SCANNER_NAME", "nobody", TEXT, "A name")]
    count: Annotated[int, Setting("SCANNER_COUNT", "2", integer(1, 9), "A count")]
    wait: Annotated[float, Setting("SCANNER_WAIT", "15s", duration(1), "A wait")]
    password: Annotated[str, Setting("SCANNER_PASSWORD", "", Kind(_secret_parse, "ok…"), "A password", secret=True)]
    url: Annotated[str, Setting("SCANNER_URL", "", TEXT, "A URL", secret=True, mask=_mask)]
    plain: str = "not a setting"


def load(environment: dict[str, str]) -> tuple[Group | None, Loader]:
    loader = Loader(environment)
    return loader.load(Group), loader


def refused(kind: Kind, text: str) -> bool:
    try:
        kind.parse(text)
    except ValueError:
        return True
    return False


def test_without_any_variable_the_defaults_hold() -> None:
    group, loader = load({})
    assert group == Group("nobody", 2, 15.0, "", "")
    assert {entry.origin for entry in loader.effective} == {"default"}
    loader.finish()


def test_an_empty_variable_means_the_default() -> None:
    group, loader = load({"SCANNER_NAME": "", "SCANNER_COUNT": "", "SCANNER_PASSWORD": "", "SCANNER_PASSWORD_FILE": ""})
    assert group == Group("nobody", 2, 15.0, "", "")
    assert {entry.origin for entry in loader.effective} == {"default"}


def test_every_value_is_kept_with_its_origin_in_the_order_of_the_group(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("ok123\n")
    _, loader = load({"SCANNER_COUNT": "3", "SCANNER_PASSWORD_FILE": str(file)})
    assert [(entry.setting.name, entry.text, entry.origin) for entry in loader.effective] == [
        ("SCANNER_NAME", "nobody", "default"),
        ("SCANNER_COUNT", "3", "environment"),
        ("SCANNER_WAIT", "15s", "default"),
        ("SCANNER_PASSWORD", "ok123", f"file {file}"),
        ("SCANNER_URL", "", "default"),
    ]


def test_all_problems_are_listed_at_once_with_name_value_and_what_is_allowed() -> None:
    group, loader = load({"SCANNER_COUNT": "ten", "SCANNER_WAIT": "10"})
    assert group is None
    loader.require(False, "SCANNER_NAME: something else")
    with pytest.raises(SettingsError) as caught:
        loader.finish()
    assert caught.value.problems == [
        "SCANNER_COUNT: 'ten' is not allowed; it must be a whole number from 1 to 9",
        "SCANNER_WAIT: '10' is not allowed; it must be a duration of at least 1s, written as in Go (1h2m3s, 500ms)",
        "SCANNER_NAME: something else",
    ]
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_a_problem_of_a_secret_does_not_show_its_value() -> None:
    _, loader = load({"SCANNER_PASSWORD": "hunter2"})
    [problem] = loader.problems
    assert problem.startswith("SCANNER_PASSWORD: ")
    assert "hunter2" not in problem
    assert "it must be ok…" in problem


def test_a_problem_of_a_secret_read_from_a_file_names_the_file_but_not_the_value(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    _, loader = load({"SCANNER_PASSWORD_FILE": str(file)})
    [problem] = loader.problems
    assert str(file) in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"ok\n", "ok"), (b"ok\r\n", "ok"), (b"ok\n\n", "ok"), (b"ok two ", "ok two "), (b"ok\ntwo\n", "ok\ntwo"),
     ("okéß".encode(), "okéß")],
)  # fmt: skip
def test_a_secret_is_read_from_its_file_without_the_line_break_at_its_end(
    tmp_path: Path, content: bytes, value: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    group, _ = load({"SCANNER_PASSWORD_FILE": str(file)})
    assert group is not None
    assert group.password == value


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"", "empty"), (b"\n", "empty")]
)
def test_a_secret_file_that_cannot_be_used_is_a_problem_that_names_variable_and_file(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    group, loader = load({"SCANNER_PASSWORD_FILE": str(file)})
    assert group is None
    [problem] = loader.problems
    assert problem.startswith("SCANNER_PASSWORD_FILE: ")
    assert str(file) in problem
    assert reason in problem


def test_a_directory_in_place_of_a_secret_file_is_a_problem(tmp_path: Path) -> None:
    group, loader = load({"SCANNER_PASSWORD_FILE": str(tmp_path)})
    assert group is None
    assert "Is a directory" in loader.problems[0]


def test_a_secret_set_both_directly_and_by_file_is_a_problem_that_shows_neither(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("ok-from-file")
    group, loader = load({"SCANNER_PASSWORD": "ok-direct", "SCANNER_PASSWORD_FILE": str(file)})
    assert group is None
    [problem] = loader.problems
    assert "SCANNER_PASSWORD and SCANNER_PASSWORD_FILE are both set" in problem
    assert "ok-direct" not in problem
    assert "ok-from-file" not in problem


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_text("somebody")
    group, loader = load({"SCANNER_NAME_FILE": str(file)})
    assert group is not None
    assert group.name == "nobody"
    assert loader.unknown() == ["SCANNER_NAME_FILE is not a setting; did you mean SCANNER_NAME?"]


@pytest.mark.parametrize("name", ["SCANNER_NAME", "SCANNER_PASSWORD", "SCANNER_URL"])
@pytest.mark.parametrize("value", ["a\0b", os.fsdecode(b"ok\xff\xfe")])
def test_text_that_no_program_or_json_can_hold_is_a_problem(name: str, value: str) -> None:
    group, loader = load({name: value})
    assert group is None
    [problem] = loader.problems
    assert problem.startswith(f"{name}: ")
    problem.encode()


def test_unknown_variables_are_told_with_the_nearest_name() -> None:
    _, loader = load({"SCANNER_CONUT": "3", "SCANNER_ZZZZZZZZZZZZ": "x", "OTHER": "y", "SCANNER_NAME": "z"})
    assert loader.unknown() == [
        "SCANNER_CONUT is not a setting; did you mean SCANNER_COUNT?",
        "SCANNER_ZZZZZZZZZZZZ is not a setting",
    ]


def test_an_unknown_variable_is_told_without_its_value() -> None:
    _, loader = load({"SCANNER_PASWORD": "hunter2"})
    [line] = loader.unknown()
    assert line == "SCANNER_PASWORD is not a setting; did you mean SCANNER_PASSWORD?"


def test_the_file_variable_of_a_secret_is_no_unknown_variable(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("ok")
    _, loader = load({"SCANNER_PASSWORD_FILE": str(file)})
    assert loader.unknown() == []


def test_the_links_that_kubernetes_sets_for_services_called_scanner_are_not_reported() -> None:
    links = {
        "SCANNER_SERVICE_HOST": "10.0.0.1",
        "SCANNER_SERVICE_PORT": "8080",
        "SCANNER_SERVICE_PORT_HTTP": "8080",
        "SCANNER_PORT": "tcp://10.0.0.1:8080",
        "SCANNER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "SCANNER_PORT_8080_TCP_PROTO": "tcp",
        "SCANNER_PORT_8080_TCP_PORT": "8080",
        "SCANNER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "SCANNER_AQUA_SERVICE_HOST": "10.0.0.1",
        "SCANNER_AQUA_PORT_53_UDP": "udp://10.0.0.1:53",
    }
    _, loader = load(links)
    assert loader.unknown() == []


def test_a_port_that_somebody_meant_as_a_setting_is_reported() -> None:
    _, loader = load({"SCANNER_API_PORT": "8080"})
    assert [line.partition(" ")[0] for line in loader.unknown()] == ["SCANNER_API_PORT"]


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_what_go_reads_as_true_is_true(text: str) -> None:
    assert BOOLEAN.parse(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_what_go_reads_as_false_is_false(text: str) -> None:
    assert BOOLEAN.parse(text) is False


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "tRUE", "2", "-1", "y", "", " true", "true "])
def test_what_go_does_not_read_as_a_truth_value_is_refused(text: str) -> None:
    assert refused(BOOLEAN, text)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("+7", 7), ("007", 7), ("9", 9)])
def test_whole_numbers_within_their_bounds_are_read(text: str, number: int) -> None:
    assert integer(1, 9).parse(text) == number


@pytest.mark.parametrize("text", ["0", "10", "-1", "1.0", "1e1", "0x1", "1_0", " 1", "٣", "", "one"])
def test_other_whole_numbers_are_refused(text: str) -> None:
    assert refused(integer(1, 9), text)


def test_a_whole_number_may_have_no_upper_bound() -> None:
    assert integer(0).parse("1" + "0" * 30) == 10**30
    assert "at least 0" in integer(0).allowed


@pytest.mark.parametrize(("text", "allowed"), [("999ms", False), ("1s", True), ("4s", True), ("4.1s", False)])
def test_durations_are_held_to_their_bounds(text: str, allowed: bool) -> None:
    kind = duration(1, 4)
    assert "from 1s to 4s" in kind.allowed
    assert refused(kind, text) is not allowed


def test_a_negative_duration_is_refused() -> None:
    assert refused(duration(), "-1s")
    assert not refused(duration(), "0")


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("1048576", 2**20), ("1k", 1000), ("200Mi", 200 * 2**20), ("1Gi", 2**30), ("500M", 5 * 10**8),
     ("2Ti", 2**41), ("3Ki", 3072)],
)  # fmt: skip
def test_sizes_are_read_as_kubernetes_writes_them(text: str, number: int) -> None:
    assert size().parse(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5Gi", "1 Gi", "1GB", "1K", "1mi", "Mi", "٣Mi"])
def test_other_sizes_are_refused(text: str) -> None:
    assert refused(size(), text)


def test_words_are_read_in_any_case() -> None:
    kind = choice(Color)
    assert kind.parse("RED") is Color.RED
    assert kind.parse("darkred") is Color.DARK_RED
    assert kind.allowed == "one of red, DarkRed"
    assert refused(kind, "green")


def test_paths_are_made_absolute_for_scanners_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert PATH.parse("reports") == tmp_path / "reports"
    assert PATH.parse("/reports") == Path("/reports")
    assert PATH.parse("~/reports") == Path("/home/somebody/reports")
    assert OPTIONAL_PATH.parse("") is None
    assert OPTIONAL_PATH.parse("~/key.pem") == Path("/home/somebody/key.pem")


def test_the_home_of_nobody_is_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> Any:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for text in ("~/reports", "~nobody-of-this-name/reports"):
        with pytest.raises(ValueError, match="home directory"):
            PATH.parse(text)


def test_a_path_is_shown_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Paths(msgspec.Struct):
        place: Annotated[Path, Setting("SCANNER_PLACE", "~/here", PATH, "A place")]

    monkeypatch.setenv("HOME", "/home/somebody")
    loader = Loader({})
    loader.load(Paths)
    assert loader.effective[0].text == "/home/somebody/here"


def test_secrets_are_shown_masked() -> None:
    settings = settings_of(Group)
    assert settings["password"].shown("ok123") == "********"
    assert settings["password"].shown("") == ""
    assert settings["url"].shown("redis://pw-abc@host") == "redis://***@host"
    assert settings["name"].shown("me") == "me"


def test_only_annotated_fields_are_settings() -> None:
    assert list(settings_of(Group)) == ["name", "count", "wait", "password", "url"]


NAMES = ["SCANNER_NAME", "SCANNER_COUNT", "SCANNER_WAIT", "SCANNER_PASSWORD", "SCANNER_PASSWORD_FILE", "SCANNER_URL"]
VALUES = st.one_of(
    st.binary(max_size=30).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")[:200])),
    st.sampled_from(["", "3", "15s", "ok", "/nowhere/at/all"]),
)


@RELAXED
@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text().map(lambda text: f"SCANNER_{text}")), VALUES))
def test_any_environment_loads_or_has_problems_that_name_its_variables(environment: dict[str, str]) -> None:
    group, loader = load(environment)
    loader.unknown()
    assert (group is None) == bool(loader.problems)
    for problem in loader.problems:
        assert problem.split(":")[0].split(" ")[0] in NAMES
