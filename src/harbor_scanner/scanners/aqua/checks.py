"""What `harbor-scanner doctor` looks at for Aqua: the console, its account, and the version of `scannercli`.

The console is asked as Aqua's own Terraform provider does (terraform-provider-aquasec, `client/client.go` and
`client/registries.go`): Aqua documents no call by which `scannercli` itself logs in.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from harbor_scanner.doctor.check import Area, Check, TroubleError, Verdict
from harbor_scanner.doctor.network import Answer, Network, Trust, without_user
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.scanners.aqua.settings import AquaSettings

AQUA = Area("aqua")

_OLDEST = (4, 5)
_FOR_ROBOTS = (4, 6, 20181)
"""The first `scannercli` with `--robot-username` (the Aqua adapter's README, Troubleshooting)."""
_WORK = Path("/opt/aquascans")
_WHOM = "the Aqua console"
_TRUST_ADVICE = (
    "Let SSL_CERT_FILE, for the service, name a file (PEM) with the certificate of that authority beside the others "
    "that are trusted; or set SCANNER_CLI_NO_VERIFY=true."
)


def checks(settings: AquaSettings, surroundings: Surroundings) -> Iterator[Check]:
    """Yield the checks."""
    yield Check(
        AQUA, "console", functools.partial(_console, settings, surroundings.network),
        "See that the console answers at SCANNER_AQUA_HOST.",
    )  # fmt: skip
    yield Check(AQUA, "version", functools.partial(_version, settings, surroundings))
    yield Check(AQUA, "directory", _work_directory, "See that the disk answers.")


async def _console(settings: AquaSettings, network: Network) -> AsyncIterator[Verdict]:
    trust = Trust(any_certificate=settings.no_verify, advice=_TRUST_ADVICE)
    base = settings.host.rstrip("/")
    shown = without_user(base)
    body = msgspec.json.encode({"id": settings.username, "password": settings.password})
    try:
        if settings.token:
            answer = await network.ask(_WHOM, f"{base}/", trust=trust)
        else:
            headers = {"Content-Type": "application/json"}
            answer = await network.ask(
                _WHOM, f"{base}/api/v1/login", method="POST", headers=headers, content=body, trust=trust
            )
    except TroubleError as trouble:
        yield trouble.verdict(AQUA, "console")
        return
    if settings.no_verify:
        yield AQUA.warning(
            "console", f"{shown} answers, whose certificate nobody looks at (SCANNER_CLI_NO_VERIFY).",
            "Trust its authority by SSL_CERT_FILE instead, or others may pose as the console.",
        )  # fmt: skip
    else:
        yield AQUA.ok("console", f"{shown} answers.")
    if settings.token:
        yield AQUA.unknown(
            "credentials", "Whether SCANNER_AQUA_TOKEN is accepted only a scan tells: no call is known that takes it.",
            "Scan one image; a token that is refused shows in its log.",
        )  # fmt: skip
        return
    token = _token(answer) if answer.status == 200 else ""
    if not token:
        yield _refused(answer, shown)
        return
    network.secrets.add(token)
    yield AQUA.ok("credentials", "The console accepts user and password.")
    yield await _registry(settings, network, base, token, trust)


def _refused(answer: Answer, shown: str) -> Verdict:
    """Return what an answer means that gives no token."""
    status = answer.status
    # Aqua's cloud has its users log in elsewhere, so it may not know this call.
    if status == 401 and not (urlsplit(shown).hostname or "").endswith(".aquasec.com"):
        return AQUA.failure(
            "credentials", "The console refuses user and password (status 401).",
            "Correct SCANNER_AQUA_USERNAME and SCANNER_AQUA_PASSWORD.",
        )  # fmt: skip
    if status in {401, 403}:
        return AQUA.unknown(
            "credentials", f"The console did not let this user log in by its API (status {status}), which need not "
            "hold for scans.", "See that the user has the Scanner role, and scan one image.",
        )  # fmt: skip
    if 300 <= status < 400:
        target = without_user(answer.headers.get("location", "")) or "no address"
        return AQUA.warning(
            "credentials", f"{shown} sends elsewhere (status {status}, {target}).",
            "Let SCANNER_AQUA_HOST be the address where the console really is.",
        )  # fmt: skip
    if status >= 500:
        return AQUA.failure(
            "credentials", f"The console, or a proxy before it, failed (status {status}).",
            "See whether the console is up, and its log.",
        )  # fmt: skip
    return AQUA.unknown(
        "credentials", f"Whether user and password are accepted cannot be told: {shown} answered with status {status}.",
        "See that SCANNER_AQUA_HOST is the console's address; scan one image.",
    )  # fmt: skip


async def _registry(settings: AquaSettings, network: Network, base: str, token: str, trust: Trust) -> Verdict:
    """Return whether the console knows the registry by its name."""
    name = settings.registry
    advice = "SCANNER_AQUA_REGISTRY must be the Registry Name under Integrations / Image Registries in the console."
    url = f"{base}/api/v1/registries/{quote(name, safe='')}"
    try:
        answer = await network.ask(_WHOM, url, headers={"Authorization": f"Bearer {token}"}, trust=trust)
    except TroubleError as trouble:
        return AQUA.unknown("registry", f"Whether it knows the registry {name!r} cannot be told: {trouble.what}")
    if answer.status == 200:
        return AQUA.ok("registry", f"The console knows a registry of the name {name!r}.")
    if answer.status == 404:
        return AQUA.warning("registry", f"The console shows this user no registry of the name {name!r}.", advice)
    what = f"Whether it knows the registry {name!r} cannot be told: this user may not look (status {answer.status})."
    return AQUA.unknown("registry", what, advice)


async def _version(settings: AquaSettings, surroundings: Surroundings) -> AsyncIterator[Verdict]:
    text = await surroundings.version()
    numbers = tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0])[:3])
    if not text:
        return  # the check of the program has told why
    advice = "Install the scannercli of your Aqua Enterprise version."
    if len(numbers) < 2:
        yield AQUA.unknown("version", f"How old scannercli {text} is cannot be told.", advice)
    elif numbers < _OLDEST:
        yield AQUA.failure("version", f"scannercli {text} is too old: 4.5 is the oldest that can be used.", advice)
    elif numbers < _FOR_ROBOTS and settings.override_registry_credentials:
        yield AQUA.failure(
            "version", f"scannercli {text} lacks options that SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true needs: "
            "4.6.20181 (4.6 update 16) is the first.",
            "Install a newer one, or set it to false: Aqua then pulls with the account entered in its console.",
        )  # fmt: skip
    elif numbers < _FOR_ROBOTS:
        yield AQUA.warning(
            "version", f"scannercli {text} pulls with the account of the Aqua console only, which Harbor's deployment "
            "security keeps from images that it blocks (412 Precondition Failed).",
            "Install 4.6.20181 (4.6 update 16) or newer, or keep deployment security off in those projects.",
        )  # fmt: skip
    else:
        yield AQUA.ok("version", f"scannercli {text} is new enough.")


async def _work_directory() -> AsyncIterator[Verdict]:
    if os.access(_WORK, os.F_OK) and not os.access(_WORK, os.W_OK | os.X_OK):
        yield AQUA.warning(
            "directory", f"User {os.geteuid()} may not write to {_WORK}, where scannercli works.",
            f"Give it to the user of the service: `chown {os.geteuid()} {_WORK}` (on a volume: there).",
        )  # fmt: skip


def _token(answer: Answer) -> str:
    try:
        found: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    token = found.get("token") if isinstance(found, dict) else None
    return token if isinstance(token, str) else ""
