"""What `harbor-scanner doctor` looks at for Qualys: the platform, the access token, and how the registry is reached.

The platform is asked for the list of images (Container Security API, `GET /csapi/v1.3/images`), one of them at most.
That the API takes the token of qscanner as it takes those of its own clients is inferred: both are JSON Web Tokens of
the platform, and qscanner's report is that API's.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from harbor_scanner.doctor.certificates import day
from harbor_scanner.doctor.check import Area, Check, TroubleError, Verdict
from harbor_scanner.doctor.network import Answer, Network, Trust, without_user
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.scanners.qualys.causes import GIVEN_AS
from harbor_scanner.scanners.qualys.settings import QualysSettings

QUALYS = Area("qualys")

GATEWAYS = {
    **{f"US{number}": f"https://gateway.qg{number}.apps.qualys.com" for number in range(1, 5)},
    **{f"EU{number}": f"https://gateway.qg{number}.apps.qualys.eu" for number in range(1, 3)},
    "IN1": "https://gateway.qg1.apps.qualys.in",
    "CA1": "https://gateway.qg1.apps.qualys.ca",
    "AE1": "https://gateway.qg1.apps.qualys.ae",
    "UK1": "https://gateway.qg1.apps.qualys.co.uk",
    "AU1": "https://gateway.qg1.apps.qualys.com.au",
    "KSA1": "https://gateway.qg1.apps.qualysksa.com",
}
"""Gateways of pods, as Qualys' integrations with other products have them; EU3 and GOV1 are in none of them."""
_WHOM = "the Qualys platform"
_ASK = "csapi/v1.3/images?pageNumber=1&pageSize=1"
_SOON = timedelta(days=7)
_SHOWN = 200
_TRUST_ADVICE = "Set scannerArgs.cert-path to the certificate authority, or scannerArgs.skip-verify-tls to true."


def checks(settings: QualysSettings, surroundings: Surroundings) -> Iterator[Check]:
    """Yield the checks."""
    if settings.access_token:
        yield Check(QUALYS, "token", functools.partial(_token, settings))
    yield Check(
        QUALYS, "platform", functools.partial(_platform, settings, surroundings.network),
        "See that this machine reaches the gateway of scannerArgs.pod or scannerArgs.gateway-url.",
    )  # fmt: skip
    if surroundings.registry.startswith("http://"):
        yield Check(QUALYS, "registry", functools.partial(_plain_registry, surroundings.registry))


async def _token(settings: QualysSettings) -> AsyncIterator[Verdict]:
    claims = _claims(settings.access_token)
    expires = claims.get("exp")
    advice = f"Get a new one from Qualys, and put it into {GIVEN_AS}; it takes effect without a restart."
    try:
        end = datetime.fromtimestamp(float(expires), UTC) if isinstance(expires, int | float) else None
    except (ValueError, OverflowError, OSError):
        end = None
    now = datetime.now(UTC)
    if end is None:
        yield QUALYS.unknown("token", "When the access token expires cannot be told: it does not say so.")
    elif end <= now:
        yield QUALYS.failure("token", f"The access token has expired on {day(end)}.", advice)
    elif end - now < _SOON:
        yield QUALYS.warning("token", f"The access token expires on {day(end)}.", advice)
    else:
        yield QUALYS.ok("token", f"The access token says that it is valid until {day(end)}.")


async def _platform(settings: QualysSettings, network: Network) -> AsyncIterator[Verdict]:
    base = (settings.gateway_url or GATEWAYS.get(settings.pod, "")).rstrip("/")
    if not base:
        if settings.pod:
            what = f"The gateway of {settings.pod} is not known here, so the platform was not asked."
            yield QUALYS.unknown("platform", what, "With scannerArgs.gateway-url instead of the pod it is.")
        else:
            what = "No platform is named: only SBOMs can be made."
            yield QUALYS.failure("platform", what, "Set scannerArgs.pod, or scannerArgs.gateway-url.")
        return
    trust = Trust(settings.skip_verify_tls, settings.cert_path, _TRUST_ADVICE)
    headers = {"Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {settings.access_token}"} if settings.access_token else {}
    try:
        answer = await network.ask(_WHOM, f"{base}/{_ASK}", headers=headers, trust=trust, proxy=settings.proxy)
    except TroubleError as trouble:
        yield trouble.verdict(QUALYS, "platform")
        return
    shown = without_user(base)
    if settings.skip_verify_tls:
        yield QUALYS.warning(
            "platform", f"{shown} answers, whose certificate nobody looks at (scannerArgs.skip-verify-tls).",
            "Set scannerArgs.cert-path instead, or others may pose as the platform.",
        )  # fmt: skip
    else:
        yield QUALYS.ok("platform", f"{shown} answers.")
    if settings.access_token:
        yield _judged(answer, shown)
    else:
        yield QUALYS.failure(
            "credentials", "There is no access token: only SBOMs can be made.", f"Put it into {GIVEN_AS}."
        )


def _judged(answer: Answer, shown: str) -> Verdict:
    """Return what the answer tells of the token."""
    status = answer.status
    if status == 200 and _is_json(answer):
        return QUALYS.ok("credentials", "The platform accepts the access token.")
    if status == 401:
        return QUALYS.failure(
            "credentials", "The platform refuses the access token (status 401).",
            f"Put a valid token of this very platform into {GIVEN_AS}; see that pod or gateway are yours.",
        )  # fmt: skip
    if status == 403:
        return QUALYS.unknown(
            "credentials", f"The platform does not let the access token list images (status 403{_said(answer)}), "
            "which scans need not do.",
            "See that its user may use Container Security; scan one image to be sure.",
        )  # fmt: skip
    if status >= 500:
        return QUALYS.failure(
            "credentials", f"The platform, or a proxy before it, failed (status {status}).", "Try again later."
        )
    page = " and a page for people" if status == 200 else ""
    return QUALYS.unknown(
        "credentials",
        f"Whether the access token is accepted cannot be told: {shown} answered with status {status}{page}.",
        "See that it is the gateway of your platform (https://www.qualys.com/platform-identification); scan one image.",
    )  # fmt: skip


async def _plain_registry(url: str) -> AsyncIterator[Verdict]:
    yield QUALYS.failure(
        "registry", f"qscanner has no documented way to pull from a registry without TLS ({without_user(url)}).",
        "Give Harbor a certificate, and an external URL that begins with https://.",
    )  # fmt: skip


def _claims(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token says (RFC 7519); nothing if it is none. Nobody vouches for it here."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:  # of which those of Base64 and JSON are
        return {}
    return found if isinstance(found, dict) else {}


def _is_json(answer: Answer) -> bool:
    """Whether an API has answered, and not a page to log in; a long answer is not read to its end."""
    return answer.body.lstrip()[:1] in {b"{", b"["}


def _said(answer: Answer) -> str:
    try:
        found: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    message = found.get("message") if isinstance(found, dict) else None
    return f", {' '.join(message.split())[:_SHOWN]!r}" if isinstance(message, str) else ""
