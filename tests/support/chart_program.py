"""The program, given the environment and the files of a pod of the chart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harbor_scanner import groups
from harbor_scanner.config import Config, load_config
from harbor_scanner.plugins import find_plugins
from harbor_scanner.settings import Setting, settings_of
from support.chart_cases import CERTIFICATE, KEY, SECRET
from support.chart_pods import environment, files, pod
from support.helm import Object

OTHERS = {
    "aqua/user": f"{SECRET}-user", "aqua/password": f"{SECRET}-password", "redis/url": "redis://redis:6379/0",
    "tokens/current": f"{SECRET}-api", "qualys-ca/ca.crt": CERTIFICATE,
    "scanner-tls/tls.crt": CERTIFICATE, "scanner-tls/tls.key": KEY,
    "scans-harbor-scanner-tls/tls.crt": CERTIFICATE, "scans-harbor-scanner-tls/tls.key": KEY,
    "harbor-scanner-tls/tls.crt": CERTIFICATE, "harbor-scanner-tls/tls.key": KEY,
    "certs/tls.crt": CERTIFICATE, "certs/tls.key": KEY,
}  # fmt: skip
"""What an operator keeps in Secrets and ConfigMaps of his own."""


def known() -> dict[str, Setting]:
    """Return every setting of the program by its name."""
    each = [*groups.GROUPS_BEFORE, *(plugin.settings for plugin in find_plugins().found.values()), *groups.GROUPS_AFTER]
    return {setting.name: setting for group in each for setting in settings_of(group).values()}


def loaded(objects: Sequence[Object], place: Path) -> Config:
    """Return the settings as the program has them in a pod, whose files lie in `place` instead of at the root."""
    found = files(objects, pod(objects), OTHERS) | {"/certs/a.crt": CERTIFICATE, "/certs/a.key": KEY}
    moved = {re.escape(path): str(place / path.lstrip("/")) for path in found}
    pattern = re.compile("|".join(sorted(moved, key=len, reverse=True)))

    def move(text: str) -> str:
        return pattern.sub(lambda match: str(place / match[0].lstrip("/")), text)

    for path, content in found.items():
        file = place / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(move(content))
    variables = {name: move(text) for name, text in environment(objects, OTHERS).items()}
    values = place / "usr/share/qscanner/values.yaml"
    token = place / "usr/share/qscanner/accesstoken/token"
    if token.exists():
        variables["QUALYS_ACCESS_TOKEN_FILE"] = str(token)
    return load_config(variables, path=values if values.exists() else None)


def told(config: Config) -> dict[str, str]:
    """Return every setting as it holds, as text by its name."""
    return {entry.setting.name: entry.text for entry in config.effective}
