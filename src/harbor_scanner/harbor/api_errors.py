"""What can go wrong when Harbor itself is asked: its refusals in its own words, and what is no Harbor at all."""

from __future__ import annotations

import errno
import os
import ssl

import httpx2
import msgspec

from harbor_scanner.errors import HarborScannerError

_SHOWN = 300
_ADMINISTRATOR = (
    "Registering a scanner needs a system administrator, or a robot account of the system that may list, read, create "
    "and update scanners."
)


class HarborApiError(HarborScannerError):
    """Harbor cannot be asked, or refuses. `advice` says what to do, and may be empty."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message}\n{advice}" if advice else message)
        self.message = message
        self.advice = advice


class NoHarborError(HarborApiError):
    """What answers at the address is no Harbor, or something that stands before it."""


class RegistrationConflictError(HarborApiError):
    """Another registration has this name or this URL."""


class HarborFailedError(HarborApiError):
    """Harbor answers 500, as it does whenever it cannot use an adapter. Its own log has the cause, the answer has not.

    (Harbor v2.16 src/lib/http/error.go, `SendError`.)
    """


class _Problem(msgspec.Struct):
    message: str = ""


class _Problems(msgspec.Struct):
    errors: list[_Problem] | None = None
    message: str = ""
    """As in Harbor 1.10."""


def unreachable(url: str, error: Exception) -> HarborApiError:
    """Return the error for a Harbor that no connection leads to."""
    reason = root_reason(error)
    return HarborApiError(f"Harbor at {url} cannot be reached: {reason}.", _advice(error, reason))


def root_reason(error: BaseException) -> str:
    """Return why something cannot be reached, without a full stop: what connects hides it behind something general."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    deepest = next((one for one in reversed(chain) if isinstance(one, OSError)), error)
    reason = str(error) or type(error).__name__
    if isinstance(deepest, ssl.SSLError):
        reason = str(deepest.strerror or deepest)
    elif isinstance(deepest, OSError):
        known = deepest.errno is not None and deepest.errno in errno.errorcode
        reason = os.strerror(deepest.errno or 0) if known else deepest.strerror or reason
    return reason.rstrip(".")


def refusal(url: str, username: str, response: httpx2.Response) -> HarborApiError:
    """Return the error that an answer stands for."""
    status, said = response.status_code, _said(response)
    message, advice, kind = f"Harbor at {url} refuses: {said} (status {status}).", "", HarborApiError
    if status == 401:
        message = f"Harbor at {url} does not accept the user name {username!r} with this password."
        advice = "People of OIDC have no password here: take Harbor's own `admin`, or a robot account of the system."
    elif said is None:
        return foreign(url, response)
    elif status == 403:
        immutable = "immutable" in said
        advice = "Harbor itself looks after this scanner: choose another --name." if immutable else _ADMINISTRATOR
    elif status == 409:
        advice = "Another scanner has this name or this URL: look at Interrogation Services in Harbor."
        kind = RegistrationConflictError
    elif status == 500:
        message = f"Harbor at {url} failed: {said} (status {status})."
        advice = "The log of Harbor's core tells why."
        kind = HarborFailedError
    return kind(message, advice)


def foreign(url: str, response: httpx2.Response) -> NoHarborError:
    """Return the error for what no Harbor answers."""
    if response.is_redirect:
        return NoHarborError(
            f"{url} only sends elsewhere, to {response.headers.get('location', '')[:_SHOWN]}.",
            "Give --harbor the address at which Harbor itself answers.",
        )
    kind = response.headers.get("content-type", "").partition(";")[0] or "nothing"
    return NoHarborError(
        f"{url} does not answer as Harbor does: status {response.status_code}, with {kind}.",
        "Is --harbor the address of Harbor 1.10 or newer? A proxy or a page to log in may stand before it; "
        "with the status 502, 503 or 504, Harbor's core is not up.",
    )


def _said(response: httpx2.Response) -> str | None:
    """Return Harbor's own words, or None if these are not Harbor's."""
    try:
        problems = msgspec.json.decode(response.content, type=_Problems)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    texts = [problem.message for problem in problems.errors or ()] or [problems.message]
    return "; ".join(filter(None, texts))[:_SHOWN] or None


def _advice(error: Exception, reason: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "If its certificate is signed by an authority of your own, give that one's certificate with --ca."
    if "SSL" in reason:
        return "Does it speak TLS there? Else give --harbor with http://, or another port."
    if isinstance(error, httpx2.ProxyError):
        return "The proxy comes from HTTPS_PROXY or HTTP_PROXY; NO_PROXY names the hosts to be reached without it."
    return "Is --harbor the address of Harbor, as it is seen from here?"
