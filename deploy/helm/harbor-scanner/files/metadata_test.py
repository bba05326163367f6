"""Ask a service for the metadata of its scanners, as Harbor does: `helm test`. Arguments: URL, names of scanners."""

from __future__ import annotations

import base64
import json
import ssl
import sys
import urllib.request
from pathlib import Path

SECRETS = Path("/etc/harbor-scanner")
CERTIFICATE = Path("/etc/pki/harbor-scanner/tls.crt")
TYPE = "application/vnd.scanner.adapter.metadata+json; version=1.1"


def secret(name: str) -> str:
    """Return a secret of the API, or nothing if it has none."""
    file = SECRETS / name
    return file.read_text().strip() if file.exists() else ""


def trust() -> ssl.SSLContext:
    """Return what is trusted: what the system trusts, and the service's own certificate, whoever signed it."""
    context = ssl.create_default_context()
    if CERTIFICATE.exists():
        context.load_verify_locations(CERTIFICATE)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def ask(url: str) -> str:
    """Return name and version of a scanner. Raises OSError, ValueError or KeyError."""
    request = urllib.request.Request(f"{url}/api/v1/metadata", headers={"Accept": TYPE})  # noqa: S310 - of the chart
    if basic := secret("SCANNER_API_AUTH_BASIC"):
        request.add_header("Authorization", "Basic " + base64.b64encode(basic.encode()).decode())
    elif tokens := secret("SCANNER_API_AUTH_TOKENS"):
        request.add_header("Authorization", "Bearer " + tokens.partition(",")[0].strip())
    # A proxy of the cluster has nothing to do with it.
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust()))
    with urllib.request.build_opener(*handlers).open(request, timeout=20) as answer:
        scanner = json.load(answer)["scanner"]
    return f"{scanner['name']} {scanner['version']}"


def main(base: str, *names: str) -> None:
    """Ask for each scanner, and end with 1 if one does not answer."""
    failed = False
    for name in names:
        url = f"{base}/{name}"
        try:
            line = ask(url)
        except (OSError, ValueError, KeyError) as error:
            line = str(error)
            failed = True
        sys.stdout.write(f"{url}: {line}\n")
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
