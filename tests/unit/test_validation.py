"""Scan requests: taken as Harbor's versions send them, refused with the field's name where they cannot be scanned."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.errors import InvalidRequestError, MalformedRequestError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Capability, Credentials, EnabledCapability, ScanRequest
from harbor_scanner.harbor.validation import parse_scan_request

RELAXED = settings(deadline=None)

DIGEST = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"
CAPABILITIES = (Capability("vulnerability", media.IMAGE_MANIFESTS, (media.GENERIC_REPORT,)),)
FORMATS = {"sbom_media_types": list(media.SBOM_FORMATS)}
WITH_SBOM = (*CAPABILITIES, Capability("sbom", media.IMAGE_MANIFESTS, (media.SBOM_REPORT,), FORMATS))
ROBOT = "Basic " + base64.b64encode(b"robot$library+Aqua-7f1f2c30:p:a$$ w\xc3\xb6rd").decode()


def request(**changes: Any) -> dict[str, Any]:
    """Return a request as Harbor 2.16 sends it, with changes of fields named `registry__url` and so on."""
    document: dict[str, Any] = {
        "registry": {"url": "https://core.harbor.domain", "authorization": ROBOT, "insecure": False},
        "artifact": {
            "namespace_id": 1,
            "repository": "library/mongo",
            "tag": "3.4-xenial",
            "digest": DIGEST,
            "mime_type": media.DOCKER_MANIFEST,
            "size": 123456789,
        },
        "enabled_capabilities": [
            {"type": "vulnerability", "produces_mime_types": [media.GENERIC_REPORT], "parameters": None}
        ],
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        inner = document
        for part in path:
            inner = inner[part]
        inner[last] = value
    return document


def parse(document: Any, capabilities: tuple[Capability, ...] = CAPABILITIES) -> ScanRequest:
    return parse_scan_request(json.dumps(document).encode(), capabilities)


def field_refused(document: Any, capabilities: tuple[Capability, ...] = CAPABILITIES) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        parse(document, capabilities)
    assert str(caught.value).startswith(f"{caught.value.field}: ")
    return caught.value.field


# ---- as Harbor's versions send it

HARBOR_1_10 = {
    "registry": {"url": "https://core.harbor.domain", "authorization": "Bearer eyJhbGciOi.J9.x-y_z"},
    "artifact": {
        "repository": "library/mongo", "tag": "3.4-xenial", "digest": DIGEST, "mime_type": media.DOCKER_MANIFEST,
    },
}  # fmt: skip
HARBOR_2_0 = {
    "registry": {"url": "http://core:8080", "authorization": ROBOT},
    "artifact": {"repository": "library/mongo", "digest": DIGEST, "tag": "", "mime_type": media.OCI_MANIFEST},
}
HARBOR_2_2 = {
    "registry": {"url": "http://core:8080", "authorization": ROBOT},
    "artifact": {"namespace_id": 1, "repository": "library/mongo", "digest": DIGEST, "mime_type": media.OCI_MANIFEST},
}


def test_the_request_of_harbor_1_10_is_taken() -> None:
    taken = parse(HARBOR_1_10)
    assert taken.registry.url == "https://core.harbor.domain"
    assert taken.registry.authorization == "Bearer eyJhbGciOi.J9.x-y_z"
    assert taken.registry.credentials is None
    assert (taken.artifact.repository, taken.artifact.digest) == ("library/mongo", DIGEST)
    assert taken.artifact.tag == "3.4-xenial"
    assert taken.enabled_capabilities is None


@pytest.mark.parametrize("document", [HARBOR_2_0, HARBOR_2_2])
def test_the_requests_of_harbor_2_0_to_2_2_are_taken_without_a_tag(document: Any) -> None:
    taken = parse(document)
    assert not taken.artifact.tag
    assert taken.artifact.mime_type == media.OCI_MANIFEST
    assert taken.registry.credentials == Credentials("robot$library+Aqua-7f1f2c30", "p:a$$ wörd")


def test_the_request_of_harbor_2_16_is_taken() -> None:
    taken = parse(request())
    assert taken.artifact.size == 123456789
    assert taken.enabled_capabilities == [EnabledCapability("vulnerability", [media.GENERIC_REPORT], None)]


def test_the_least_request_is_taken() -> None:
    taken = parse({"registry": {"url": "http://r"}, "artifact": {"repository": "a", "digest": DIGEST}})
    assert taken.registry.authorization is None
    assert taken.artifact.mime_type is None


OPTIONAL = [
    "registry__authorization", "artifact__tag", "artifact__mime_type", "artifact__size", "enabled_capabilities",
]  # fmt: skip


@pytest.mark.parametrize("place", OPTIONAL)
def test_null_means_the_same_as_absent(place: str) -> None:
    absent = request()
    *path, last = place.split("__")
    inner = absent
    for part in path:
        inner = inner[part]
    del inner[last]
    assert parse(request(**{place: None})) == parse(absent)


def test_null_means_the_same_as_absent_inside_of_a_capability() -> None:
    asked = [{"type": "vulnerability", "produces_mime_types": None, "parameters": None, "more": None}]
    assert parse(request(enabled_capabilities=asked)).enabled_capabilities == [EnabledCapability("vulnerability")]


def test_unknown_fields_are_ignored_wherever_they_stand() -> None:
    document = request(new={"deep": [1, {"x": None}]}, registry__new=1, artifact__new=[None])
    document["enabled_capabilities"][0]["new"] = {"a": "b"}
    assert parse(document) == parse(request())


def test_the_older_report_may_be_asked_for_even_where_it_is_not_advertised() -> None:
    asked = [{"type": "vulnerability", "produces_mime_types": [media.NATIVE_REPORT, media.GENERIC_REPORT]}]
    assert parse(request(enabled_capabilities=asked)).enabled_capabilities is not None


@pytest.mark.parametrize(
    "spelled",
    ["application/vnd.security.vulnerability.report;version=1.1",
     'Application/vnd.security.vulnerability.report ; Version="1.1"'],
)  # fmt: skip
def test_media_types_may_be_spelled_in_any_way_that_http_allows(spelled: str) -> None:
    asked = [{"type": "vulnerability", "produces_mime_types": [spelled]}]
    assert parse(request(enabled_capabilities=asked)).enabled_capabilities is not None


@pytest.mark.parametrize(
    "repository",
    ["a", "library/mongo", "a/b/c/d/e", "my-project/my_image", "a.b/c__d/e---f", "0/1", "x" * 255],
)
def test_every_repository_name_of_the_distribution_spec_is_taken(repository: str) -> None:
    assert parse(request(artifact__repository=repository)).artifact.repository == repository


@pytest.mark.parametrize("digest", [DIGEST, "sha512:" + "0a" * 64])
def test_digests_of_both_registered_algorithms_are_taken(digest: str) -> None:
    assert parse(request(artifact__digest=digest)).artifact.digest == digest


@pytest.mark.parametrize(
    "url",
    ["http://core", "https://core.harbor.domain", "http://core:8080/", "https://[fd00::1]:443", "https://h/base/path"],
)
def test_registries_are_taken_by_any_http_address(url: str) -> None:
    assert parse(request(registry__url=url)).registry.url == url


# ---- SBOMs


def asking_for_sbom(parameters: Any, **changes: Any) -> dict[str, Any]:
    asked = {"type": "sbom", "produces_mime_types": [media.SBOM_REPORT], "parameters": parameters, **changes}
    return request(enabled_capabilities=[asked])


def advertising(*formats: str) -> tuple[Capability, ...]:
    attributes = {"sbom_media_types": list(formats)}
    return (Capability("sbom", media.IMAGE_MANIFESTS, (media.SBOM_REPORT,), attributes),)


def test_harbor_s_request_for_an_sbom_is_taken() -> None:
    taken = parse(asking_for_sbom({"sbom_media_types": ["application/spdx+json"]}), WITH_SBOM)
    assert taken.reports == (media.SPDX,)


@pytest.mark.parametrize("parameters", [None, {}, {"sbom_media_types": None}, {"sbom_media_types": []}, {"more": [1]}])
@pytest.mark.parametrize("formats", [media.SBOM_FORMATS, (media.SPDX,), (media.CYCLONEDX,)])
def test_an_sbom_in_no_format_by_name_is_wanted_in_all_that_are_advertised(
    parameters: Any, formats: tuple[str, ...]
) -> None:
    assert parse(asking_for_sbom(parameters), advertising(*formats)).reports == formats


def test_all_formats_of_the_specification_are_advertised_where_none_is_named() -> None:
    capability = Capability("sbom", media.IMAGE_MANIFESTS, (media.SBOM_REPORT,))
    assert parse(asking_for_sbom(None), (capability,)).reports == media.SBOM_FORMATS


@pytest.mark.parametrize("spelled", ["Application/SPDX+json", " application/spdx+json ", "application/spdx+json;"])
def test_formats_may_be_spelled_in_any_way_that_http_allows(spelled: str) -> None:
    taken = parse(asking_for_sbom({"sbom_media_types": [spelled, None, media.SPDX]}), WITH_SBOM)
    assert taken.reports == (media.SPDX,)


def test_both_capabilities_may_be_asked_for_at_once() -> None:
    asked = [{"type": "sbom"}, {"type": "vulnerability"}]
    taken = parse(request(enabled_capabilities=asked), WITH_SBOM)
    assert taken.reports == ("vulnerability", media.SPDX, media.CYCLONEDX)


def test_the_parameters_of_vulnerabilities_are_ignored() -> None:
    asked = [{"type": "vulnerability", "parameters": {"sbom_media_types": "nonsense"}}]
    assert parse(request(enabled_capabilities=asked), WITH_SBOM).reports == ("vulnerability",)


@pytest.mark.parametrize("listed", ["application/spdx+json", "", 5, 0, False, {}, {"a": 1}, [1], [["a"]], [{}], [""]])
def test_formats_that_are_no_list_of_names_are_refused_by_the_name_of_the_field(listed: Any) -> None:
    field = field_refused(asking_for_sbom({"sbom_media_types": listed}), WITH_SBOM)
    assert field == "enabled_capabilities[0].parameters.sbom_media_types"


@pytest.mark.parametrize("name", ["application/json", "text/spdx", "application/spdx+json; version=2", "vulnerability"])
def test_a_format_that_nobody_knows_is_refused_by_the_name_of_the_field(name: str) -> None:
    field = field_refused(asking_for_sbom({"sbom_media_types": [media.SPDX, name]}), WITH_SBOM)
    assert field == "enabled_capabilities[0].parameters.sbom_media_types"


def test_a_format_that_the_scanner_does_not_make_is_refused_naming_those_that_it_makes() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"cyclonedx\+json' is not supported.*application/spdx\+json"
    ) as caught:
        parse(asking_for_sbom({"sbom_media_types": [media.CYCLONEDX]}), advertising(media.SPDX))
    assert caught.value.field == "enabled_capabilities[0].parameters.sbom_media_types"


@pytest.mark.parametrize("kind", ["sbom", "vulnerability"])
def test_a_capability_is_not_asked_for_the_report_of_the_other(kind: str) -> None:
    other = media.GENERIC_REPORT if kind == "sbom" else media.SBOM_REPORT
    asked = [{"type": kind, "produces_mime_types": [other]}]
    assert (
        field_refused(request(enabled_capabilities=asked), WITH_SBOM) == "enabled_capabilities[0].produces_mime_types"
    )


@pytest.mark.parametrize("asked", [None, [], [None]])
def test_a_scanner_of_sboms_alone_refuses_a_request_that_names_no_capability(asked: Any) -> None:
    assert field_refused(request(enabled_capabilities=asked), advertising(media.SPDX)) == "enabled_capabilities"


KINDS = ("vulnerability", *media.SBOM_FORMATS)
CAPABILITY = st.builds(
    EnabledCapability,
    type=st.sampled_from(["vulnerability", "sbom"]),
    parameters=st.none()
    | st.fixed_dictionaries({"sbom_media_types": st.none() | st.lists(st.sampled_from(media.SBOM_FORMATS))}),
)
REQUESTS = st.builds(ScanRequest, enabled_capabilities=st.none() | st.lists(CAPABILITY, max_size=4))


@RELAXED
@given(REQUESTS, st.sets(st.sampled_from(KINDS), min_size=1))
def test_a_request_asks_for_the_reports_that_it_is_told_to_ask_for(asked: ScanRequest, kinds: set[str]) -> None:
    other = asked.asking_for(kinds)
    assert other.reports == tuple(kind for kind in KINDS if kind in kinds)
    assert other.asking_for(asked.reports).reports == asked.reports
    assert (other.registry, other.artifact) == (asked.registry, asked.artifact)


@RELAXED
@given(REQUESTS)
def test_a_request_asks_for_at_least_one_report_and_for_each_but_once(asked: ScanRequest) -> None:
    assert asked.reports
    assert len(set(asked.reports)) == len(asked.reports)


@RELAXED
@given(REQUESTS, st.sets(st.sampled_from(media.SBOM_FORMATS), min_size=1))
def test_a_request_that_is_taken_asks_only_for_what_the_scanner_makes(asked: ScanRequest, formats: set[str]) -> None:
    document = request(enabled_capabilities=msgspec.to_builtins(asked.enabled_capabilities))
    capabilities = (*CAPABILITIES, *advertising(*formats))
    made = {"vulnerability", *formats}
    named = {name for each in asked.enabled_capabilities or () for name in formats_named(each)}
    if not named <= made:
        assert field_refused(document, capabilities).endswith("parameters.sbom_media_types")
        return
    taken = parse(document, capabilities)
    assert {*taken.reports} == {*asked.reports} & made
    assert parse(msgspec.to_builtins(taken), capabilities) == taken


def formats_named(asked: EnabledCapability) -> list[str]:
    parameters = asked.parameters or {}
    return parameters.get("sbom_media_types") or [] if asked.type == "sbom" else []


@pytest.mark.parametrize("kinds", [(), ("nonsense",)])
def test_a_request_for_nothing_cannot_be_made(kinds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="vulnerabilities"):
        ScanRequest().asking_for(kinds)


# ---- what cannot be scanned


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("registry__url", ""),
        ("registry__url", "core.harbor.domain"),
        ("registry__url", "ftp://core"),
        ("registry__url", "https://"),
        ("registry__url", "https://core:port"),
        ("registry__url", "https://core:99999"),
        ("registry__url", "https://[::1"),
        ("registry__url", "https://co re"),
        ("registry__url", "https://core\r\nX: y"),
        ("registry__url", "https://core\n"),
        ("registry__authorization", "Basic abc\r\nX-Other: 1"),
        ("registry__authorization", "Basic \0"),
        ("registry__authorization", "Basic é"),
        ("registry__authorization", "Basic " + base64.b64encode(b"robot:pass\0word").decode()),
        ("artifact__repository", ""),
        ("artifact__repository", "Library/Mongo"),
        ("artifact__repository", "library/mongo:tag"),
        ("artifact__repository", "-v"),
        ("artifact__repository", "--password=x"),
        ("artifact__repository", "/library"),
        ("artifact__repository", "library/"),
        ("artifact__repository", "library//mongo"),
        ("artifact__repository", "library/../mongo"),
        ("artifact__repository", "library/mongo\n"),
        ("artifact__repository", "a;reboot"),
        ("artifact__repository", "a b"),
        ("artifact__repository", "é"),
        ("artifact__repository", "a..b"),
        ("artifact__repository", "a___b"),
        ("artifact__repository", "x" * 256),
        ("artifact__digest", ""),
        ("artifact__digest", "latest"),
        ("artifact__digest", "sha256:abc"),
        ("artifact__digest", DIGEST.upper()),
        ("artifact__digest", DIGEST + "\n"),
        ("artifact__digest", "md5:" + "0" * 32),
        ("artifact__digest", "sha512:" + "0" * 64),
        ("artifact__tag", "-v"),
        ("artifact__tag", ".x"),
        ("artifact__tag", "a/b"),
        ("artifact__tag", "a b"),
        ("artifact__tag", "x" * 129),
        ("artifact__tag", "ä"),
        ("artifact__mime_type", "application/vnd.oci.image.index.v1+json"),
        ("artifact__mime_type", "application/vnd.docker.distribution.manifest.list.v2+json"),
        ("artifact__mime_type", "application/vnd.cncf.helm.config.v1+json"),
        ("artifact__mime_type", "nonsense"),
    ],
)
def test_a_value_that_cannot_be_scanned_is_refused_by_the_name_of_its_field(place: str, value: str) -> None:
    assert field_refused(request(**{place: value})) == place.replace("__", ".")


@pytest.mark.parametrize("place", ["registry__url", "artifact__repository", "artifact__digest"])
def test_a_required_value_that_is_missing_is_refused_by_the_name_of_its_field(place: str) -> None:
    assert field_refused(request(**{place: None})) == place.replace("__", ".")


@pytest.mark.parametrize(
    ("document", "field"), [({}, "registry.url"), ({"registry": {"url": "http://r"}}, "artifact.repository")]
)
def test_a_missing_part_is_refused_by_the_name_of_its_first_field(document: Any, field: str) -> None:
    assert field_refused(document) == field


def test_an_index_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidRequestError, match="index of images"):
        parse(request(artifact__mime_type="application/vnd.oci.image.index.v1+json"))


def test_a_capability_that_the_scanner_has_not_is_refused_by_its_place() -> None:
    asked = [{"type": "vulnerability"}, {"type": "sbom"}]
    assert field_refused(request(enabled_capabilities=asked)) == "enabled_capabilities[1].type"


def test_a_report_type_that_cannot_be_served_is_refused_by_its_place() -> None:
    asked = [{"type": "vulnerability", "produces_mime_types": ["application/vnd.scanner.adapter.vuln.report.raw"]}]
    assert field_refused(request(enabled_capabilities=asked)) == "enabled_capabilities[0].produces_mime_types"


def test_refusals_do_not_show_credentials() -> None:
    for document in (
        request(registry__authorization="Basic hunter2\n"),
        request(registry__url="ftp://user:hunter2@core"),
        request(registry__authorization=["hunter2"]),
    ):
        with pytest.raises((InvalidRequestError, MalformedRequestError)) as caught:
            parse(document)
        assert "hunter2" not in str(caught.value)


# ---- what is no request at all


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"\xff\xfe",
        b'{"registry": "https://core"}',
        b'{"registry": {"url": 1}}',
        b'{"registry": {"url": "http://r", "authorization": {}}}',
        b'{"artifact": []}',
        b'{"artifact": {"digest": 5}}',
        b'{"artifact": {"size": "big"}}',
        b'{"enabled_capabilities": {"type": "vulnerability"}}',
        b'{"enabled_capabilities": ["vulnerability"]}',
        b'{"enabled_capabilities": [{"type": 1}]}',
        b'{"registry": {"url": "\xff"}}',
        b'{"registry": {"url": "\\ud800"}}',
        b"{}{}",
    ],
)
def test_what_is_no_json_or_has_wrong_types_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=r".+"):
        parse_scan_request(body, CAPABILITIES)


@pytest.mark.parametrize("depth", [300, 600, 900, 1500, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeply_nested_json_is_ignored_or_malformed_and_does_no_harm(depth: int, opening: str, closing: str) -> None:
    nested = opening * depth + "1" + closing * depth
    body = json.dumps(request(unknown="NESTED")).replace('"NESTED"', nested).encode()
    try:
        parse_scan_request(body, CAPABILITIES)
    except MalformedRequestError:
        return
    assert depth < 1500


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["registry", "artifact", "enabled_capabilities", "registry__url", "registry__authorization", "artifact__repository",
     "artifact__digest", "artifact__tag", "artifact__mime_type", "artifact__size", "unknown"]
)  # fmt: skip


def taken_or_refused(body: bytes) -> None:
    try:
        taken = parse_scan_request(body, CAPABILITIES)
    except (MalformedRequestError, InvalidRequestError) as error:
        str(error).encode()
    else:
        assert taken.artifact.digest.startswith(("sha256:", "sha512:"))
        assert taken.registry.url.startswith("http")


@RELAXED
@given(FIELDS, VALUES)
def test_any_value_in_any_field_is_taken_or_refused(place: str, value: Any) -> None:
    taken_or_refused(json.dumps(request(**{place: value})).encode())


@RELAXED
@given(st.one_of(st.binary(), VALUES.map(lambda value: json.dumps(value).encode())))
def test_any_body_is_taken_or_refused(body: bytes) -> None:
    taken_or_refused(body)


@RELAXED
@given(st.integers(0, 700), st.binary(min_size=1, max_size=3), st.booleans())
def test_any_damage_to_a_good_body_is_taken_or_refused(place: int, damage: bytes, cut: bool) -> None:
    body = json.dumps(request()).encode()
    taken_or_refused(body[:place] + damage + (b"" if cut else body[place + len(damage) :]))


PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@RELAXED
@given(PRINTABLE.filter(lambda name: ":" not in name), PRINTABLE, st.sampled_from(["Basic ", "basic ", "BASIC  "]))
def test_a_robot_s_name_and_password_may_be_any_text(username: str, password: str, scheme: str) -> None:
    value = base64.b64encode(f"{username}:{password}".encode()).decode()
    taken = parse(request(registry__authorization=scheme + value))
    assert taken.registry.credentials == Credentials(username, password)
