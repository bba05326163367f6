"""Bring a registration in Harbor to what is wanted: look, compare, test, and change only what differs."""

from __future__ import annotations

import contextlib
import ssl

import msgspec

from harbor_scanner.harbor import client
from harbor_scanner.harbor.api import HarborApi, Registration
from harbor_scanner.harbor.api_errors import (
    HarborApiError,
    HarborFailedError,
    RegistrationConflictError,
    root_reason,
)
from harbor_scanner.harbor.checks import AdapterError
from harbor_scanner.harbor.models import ScannerInfo
from harbor_scanner.harbor.plan import API_KEY, BASIC, BEARER, Change, Plan, Wanted, plan

_ONLY_FROM_HARBOR = (
    "The adapter answers from here, so that it is the way from Harbor to it: the name as Harbor's containers resolve "
    "it, firewalls and network policies, and HTTP_PROXY and NO_PROXY of Harbor's core; with https://, whether Harbor "
    "trusts the authority of the adapter's certificate (else --skip-certificate-check). The log of Harbor's core tells "
    "which."
)
_OTHER_SCANNER = (
    "A service of several scanners has each under a path: give --url with /aqua, /qualys or /osv at its end. Else say "
    "with --scanner which one it is; --name changes the name in Harbor."
)
_GIVE = "Give it as the service has it, in SCANNER_API_AUTH_BASIC or SCANNER_API_AUTH_TOKENS."
_BY_STATUS = {
    401: "The adapter refuses the credential: SCANNER_API_AUTH_BASIC or SCANNER_API_AUTH_TOKENS must be the same here "
    "as where it runs.",
    404: "There is no adapter under this path: --url ends before `/api/v1`.",
}


class Outcome(msgspec.Struct, frozen=True):
    """What was done, or would be."""

    action: str
    name: str
    url: str
    id: str
    """Empty if there is none yet."""
    changes: tuple[Change, ...]
    default: bool
    """Whether it is the default scanner now, or would be."""
    made_default: bool
    """Whether that is new."""
    sees: ScannerInfo | None
    """The scanner that Harbor meets there, if it told."""
    notes: tuple[str, ...]
    """What the operator should know, a line each."""


async def register(api: HarborApi, wanted: Wanted, *, tls: ssl.SSLContext, dry_run: bool = False) -> Outcome:
    """Do all that is missing, or with `dry_run` only look and test. Safe to repeat, and to run twice at once.

    `tls` is for a look at the adapter from here, if Harbor cannot use it. Raises HarborApiError.
    """
    try:
        return await _register(api, wanted, tls, dry_run=dry_run)
    except RegistrationConflictError:
        # Somebody may have been quicker, such as this command elsewhere: then it is there by now.
        return await _register(api, wanted, tls, dry_run=dry_run)


async def _register(api: HarborApi, wanted: Wanted, tls: ssl.SSLContext, *, dry_run: bool) -> Outcome:
    planned = plan(wanted, await api.registrations())
    target = planned.target
    if wanted.default and target.disabled:
        raise HarborApiError(
            f"{target.name} is deactivated in Harbor, and cannot be the default scanner.",
            "Activate it there under Interrogation Services, or leave --default out.",
        )
    sees, notes = await _tested(api, planned, tls, dry_run=dry_run)
    if target.disabled:
        notes = (*notes, "It is deactivated in Harbor, and scans nothing until somebody activates it there.")
    if not dry_run:
        target, sees = await _apply(api, planned, tls, sees)
    makes_default = wanted.default and not target.is_default
    if wanted.scanner and sees is not None and sees.name != wanted.scanner:
        if makes_default:
            raise HarborApiError(
                f"{target.name} is not made the default scanner: Harbor meets {sees.name} at {target.url}, not "
                f"{wanted.scanner}.",
                _OTHER_SCANNER,
            )
        notes = (*notes, f"That is not {wanted.scanner}. {_OTHER_SCANNER}")
    if makes_default and not dry_run:
        await _make_default(api, target)
    return Outcome(
        planned.action, target.name, target.url, target.id, planned.changes, target.is_default or wanted.default,
        makes_default, sees, notes,
    )  # fmt: skip


async def _tested(
    api: HarborApi, planned: Plan, tls: ssl.SSLContext, *, dry_run: bool
) -> tuple[ScannerInfo | None, tuple[str, ...]]:
    """Have Harbor test the adapter as it will be registered, as far as Harbor can; return what it sees, and notes."""
    current, target = planned.current, planned.target
    shown = bool(target.credential) or not target.auth
    if current is not None and _reached_alike(current, target) and (not planned.changes or not shown):
        try:
            return await api.seen(current.id), ()
        except HarborFailedError as error:
            # It may be an old failure, which Harbor knows for a while; a test is always a new one.
            if target.skip_check or not shown:
                raise await _explained(error, target, tls) from None
    if not shown:
        raise HarborApiError(
            f"Harbor does not show the credential of {target.name}, so that the change cannot be tested.", _GIVE
        )
    try:
        await api.test(target.name, target.url, target.auth, target.credential)
    except HarborFailedError as error:
        if not target.skip_check:
            raise await _explained(error, target, tls) from None
        if current is None and not dry_run:
            return None, ()
        later = "Harbor tests again when it creates it" if current is None else "look at its health in Harbor"
        return None, (f"It could not be tested: Harbor's test checks the certificate in any case; {later}.",)
    return None, ()


def _reached_alike(one: Registration, other: Registration) -> bool:
    """Whether Harbor comes to the same adapter by both, in the same way."""
    return (one.url, one.auth, one.skip_check) == (other.url, other.auth, other.skip_check)


async def _apply(
    api: HarborApi, planned: Plan, tls: ssl.SSLContext, sees: ScannerInfo | None
) -> tuple[Registration, ScannerInfo | None]:
    """Change what is to be changed. Return the registration as it is now, and what Harbor sees there."""
    if planned.current is not None:
        if planned.changes:
            await api.update(planned.current.id, planned.settings)
        return planned.target, sees
    try:
        registration_id = await api.create(planned.settings)
    except HarborFailedError as error:
        raise await _explained(error, planned.target, tls) from None
    with contextlib.suppress(HarborFailedError):  # it is created, and was tested
        sees = await api.seen(registration_id)
    # Harbor makes the first one its default of its own accord.
    return await api.registration(registration_id), sees


async def _make_default(api: HarborApi, target: Registration) -> None:
    try:
        await api.make_default(target.id)
    except HarborApiError as error:
        raise HarborApiError(
            f"{target.name} is registered, but is not the default scanner: {error.message}",
            error.advice or "Run the same again.",
        ) from None


async def _explained(error: HarborFailedError, target: Registration, tls: ssl.SSLContext) -> HarborApiError:
    """Return the error with a look at the adapter from here, for Harbor does not tell why it cannot use it."""
    message = f"Harbor cannot use the adapter at {target.url}. {error.message}"
    if target.auth and not target.credential:
        return HarborApiError(message, f"The log of Harbor's core tells why. If it is the credential: {_GIVE}")
    return HarborApiError(message, await _seen_from_here(target, tls))


async def _seen_from_here(target: Registration, tls: ssl.SSLContext) -> str:
    user, _, password = target.credential.partition(":")
    headers = {
        BASIC: client.basic(user, password),
        BEARER: client.bearer(target.credential),
        API_KEY: client.api_key(target.credential),
    }.get(target.auth, {})
    try:
        async with client.HarborClient(target.url, auth=headers, verify=False if target.skip_check else tls) as adapter:
            await adapter.metadata()
    except client.UnexpectedStatusError as refused:
        return f"From here, the adapter answers: {refused}. {_BY_STATUS.get(refused.status, '')}".rstrip()
    except client.AdapterUnreachableError as problem:
        reason = root_reason(problem)
        return (
            f"From here it cannot be reached either: {reason}. Is it up, and is --url its address for Harbor? "
            "The log of Harbor's core tells Harbor's own reason."
        )
    except AdapterError as problem:
        return f"From here, it does not answer as an adapter does. {problem}"
    return _ONLY_FROM_HARBOR
