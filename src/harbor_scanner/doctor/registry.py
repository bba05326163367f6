"""The registry that scanners pull from: by its address, or by an image that is there."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from harbor_scanner.doctor.check import Area, TroubleError, Verdict
from harbor_scanner.doctor.network import Network, Trust, Way, without_user
from harbor_scanner.errors import ScanError
from harbor_scanner.scanning.credentials import NOBODY, find_account
from harbor_scanner.scanning.platform import Platform
from harbor_scanner.scanning.reference import Reference

REGISTRY = Area("registry")

_TRUST = Trust(
    advice="Let SSL_CERT_FILE, for the service, name a file (PEM) with the certificate of the authority that signed "
    "Harbor's (`ca.crt` in Harbor) beside the others that are trusted: scanners read it too."
)


async def reachable(network: Network, url: str) -> AsyncIterator[Verdict]:
    """Yield whether the registry answers, shows a certificate that is trusted, and names a place for tokens."""
    whom = "the registry"
    try:
        answer = await network.ask(whom, f"{url}/v2/", trust=_TRUST, way=Way.BOTH)
    except TroubleError as trouble:
        yield trouble.verdict(REGISTRY, "connection")
        return
    challenge = answer.headers.get("www-authenticate", "")
    page = answer.headers.get("content-type", "").startswith("text/html")
    if not ((answer.status == 200 and not page) or (answer.status == 401 and challenge)):
        yield REGISTRY.failure(
            "connection", f"{without_user(url)} answers, but not as a registry does (status {answer.status}"
            f"{', with a page for people' if page else ''}).",
            "Name the address that stands in Harbor as external URL (`externalURL`, `hostname`), which Harbor sends "
            "with each scan; a proxy may also have answered in its place.",
        )  # fmt: skip
        return
    if url.startswith("http://"):
        yield REGISTRY.warning(
            "connection", f"{without_user(url)} answers by plain HTTP: the credentials of scans go there in clear.",
            "Give Harbor a certificate.",
        )  # fmt: skip
    else:
        yield REGISTRY.ok("connection", f"{without_user(url)} answers, and its certificate is trusted.")
    realm = re.search(r'(?i)^bearer\b.*\brealm="([^"]*)"', challenge)
    if realm and urlsplit(realm[1])[:2] != urlsplit(url)[:2]:
        yield await _tokens(network, realm[1])


async def _tokens(network: Network, realm: str) -> Verdict:
    """Return whether the place where the registry has its clients get tokens is reached."""
    try:
        answer = await network.ask("the registry's token service", realm, trust=_TRUST, way=Way.BOTH)
    except TroubleError as trouble:
        return REGISTRY.failure(
            "tokens", f"The registry sends its clients to {without_user(realm)} for tokens. {trouble.what}",
            f"That is Harbor's external URL: it must be reached from here too. {trouble.advice}",
        )  # fmt: skip
    # Without a scope it may refuse us with any other status.
    if answer.status == 404 or answer.status >= 500:
        return REGISTRY.failure(
            "tokens", f"The registry sends its clients to {without_user(realm)} for tokens, which answers with status "
            f"{answer.status}.", "That is Harbor's external URL: see that it leads to Harbor, and that its core is up.",
        )  # fmt: skip
    return REGISTRY.ok("tokens", f"{without_user(realm)}, where the registry gives tokens, answers.")


async def image(network: Network, reference: Reference) -> AsyncIterator[Verdict]:
    """Yield whether an image can be read with the account of the environment or of docker, by its manifest."""
    from harbor_scanner.scanning.resolving import resolve  # noqa: PLC0415 - few ask for it

    who = "no account"
    try:
        account = await asyncio.to_thread(find_account, reference.host, os.environ)
        network.secrets.update(account.secrets)
        who = "no account" if account == NOBODY else "the account given"
        subject = await resolve(reference, account, Platform.of_this_machine())
    except ScanError as error:
        yield REGISTRY.failure("image", f"{error.message} (With {who}.)", error.advice)
    else:
        yield REGISTRY.ok("image", f"{reference} can be read with {who}: it is {subject.artifact.digest}.")


async def nothing() -> AsyncIterator[Verdict]:
    """Yield that nobody named a registry."""
    yield REGISTRY.skipped(
        "connection", "No registry was named: Harbor sends its address with each scan only.",
        "Have it looked at with --registry https://harbor.example, or --image with an image in it.",
    )  # fmt: skip
