"""`harbor-scanner register`: make a scanner known to Harbor by Harbor's API, in place of six clicks."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harbor_scanner.commands.common import ConfigOption, refuse
from harbor_scanner.config import read_values
from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.groups import ScannersSettings
from harbor_scanner.http.settings import ApiSettings
from harbor_scanner.layers import Loader
from harbor_scanner.plugins import DEFAULT, find_plugins

if TYPE_CHECKING:
    from harbor_scanner.commands.registered import Report
    from harbor_scanner.harbor.plan import Wanted

EXIT_FAILED = 1
"""Harbor is not as it should be; what was done until then stays, and another run goes on."""

PASSWORD, PASSWORD_FILE = "HARBOR_PASSWORD", "HARBOR_PASSWORD_FILE"

NAMES = {"aqua": "Aqua Enterprise", "qualys": "Qualys QScanner", "osv": "OSV"}
"""What a new registration is called: the first two as the vendors' documents call them. Others have their own name."""

TITLES = {"aqua": "Aqua", "qualys": "Qualys", "osv": "OSV"}
"""What Harbor is told by the scanner itself, by which one sees whether it is the right one."""


class Auth(StrEnum):
    """How Harbor shows a credential to the service."""

    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"
    APIKEY = "apikey"


class _Service:
    """What the settings tell of the service that is registered."""

    def __init__(self, path: Path | None) -> None:
        files = Files()
        overrides = {"SCANNER_CONFIG": str(path)} if path is not None else {}
        try:
            values = read_values(files, Loader(os.environ, overrides=overrides, files=files))
            loader = Loader(os.environ, overrides=overrides, files=files, values=values)
            api, scanners = loader.load(ApiSettings), loader.load(ScannersSettings)
            loader.finish()
        except SettingsError as error:
            refuse(error)
        assert api is not None and scanners is not None  # noqa: S101, PT018 - `finish` raised otherwise
        self.basic, self.tokens = api.auth_basic, api.auth_tokens
        installed = find_plugins().found
        given = [name for name, plugin in installed.items() if loader.gives(plugin.settings)]
        self.enabled: Sequence[str] = scanners.enabled or given or [DEFAULT]


def register(  # noqa: PLR0913 - the options of a command
    *,
    harbor: Annotated[
        str, typer.Option(metavar="URL", envvar="HARBOR_URL", help="Harbor, such as https://harbor.example.")
    ],
    url: Annotated[
        str, typer.Option(metavar="URL", help="This service as Harbor reaches it, such as http://harbor-scanner:8080.")
    ],
    username: Annotated[
        str,
        typer.Option(
            metavar="NAME", envvar="HARBOR_USERNAME", help="System administrator, or robot account, of Harbor."
        ),
    ] = "admin",
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar=PASSWORD_FILE,
            help="With that one's password; - is stdin. Or set HARBOR_PASSWORD.",
        ),
    ] = None,
    scanner: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Such as aqua, several times for several; else all enabled."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="What Harbor calls it.")] = None,
    auth: Annotated[
        Auth | None,
        typer.Option(
            help="How Harbor shows its credential, which is that of the service's settings; else as those say."
        ),
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Have it scan wherever a project has no own scanner.")
    ] = False,
    use_internal_address: Annotated[
        bool | None, typer.Option(help="Have images pulled from Harbor's core instead of its public address.")
    ] = None,
    skip_certificate_check: Annotated[
        bool | None, typer.Option(help="Have Harbor take any certificate of this service.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Authority (PEM) of Harbor's certificate, if the machine has not it."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: only look, test, and tell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    path: ConfigOption = None,
) -> None:
    """Make this service known to Harbor as a scanner, or bring its registration up to date.

    Tests the connection from Harbor first. Safe to repeat: what is right already is left alone. Options that are not
    given leave a registration as it is. Ends with 1 if it failed, 2 if an option or a setting is wrong.
    """
    from harbor_scanner.commands.registered import Report  # noqa: PLC0415 - other commands do without
    from harbor_scanner.redact import Redactor  # noqa: PLC0415

    service = _Service(path)
    address = _harbor(harbor)
    wanted = _wanted(service, scanner, name, url, auth, default=default, internal=use_internal_address,
                     skip=skip_certificate_check)  # fmt: skip
    tls = _context(ca)
    password = _password(password_file)
    redactor = Redactor([password, service.basic, service.basic.partition(":")[2], *service.tokens])
    report = Report(address, redactor, dry_run=dry_run, as_json=as_json)
    done = asyncio.run(_register(address, username, password, wanted, tls, report))
    report.finish()
    if not done:
        raise typer.Exit(EXIT_FAILED)


async def _register(
    harbor: str, username: str, password: str, wanted: Sequence[Wanted], tls: ssl.SSLContext, report: Report
) -> bool:
    from harbor_scanner.harbor.api import HarborApi  # noqa: PLC0415
    from harbor_scanner.harbor.api_errors import HarborApiError  # noqa: PLC0415
    from harbor_scanner.harbor.registration import register as bring  # noqa: PLC0415

    try:
        async with HarborApi(harbor, username, password, tls=tls) as api:
            for one in wanted:
                report.add(await bring(api, one, tls=tls, dry_run=report.dry_run))
    except HarborApiError as error:
        report.fail(error)
        return False
    return True


def _wanted(
    service: _Service, chosen: Sequence[str] | None, name: str | None, url: str, auth: Auth | None, *,
    default: bool, internal: bool | None, skip: bool | None,
) -> list[Wanted]:  # fmt: skip
    """Return the registrations as they should be: one for each scanner."""
    from harbor_scanner.harbor import plan  # noqa: PLC0415

    scanners = list(dict.fromkeys(chosen or service.enabled))
    installed = find_plugins()
    for scanner in chosen or ():
        if scanner not in installed.found:
            _wrong("--scanner", f"there is no scanner {scanner!r}; there are {installed.names}")
    if name is not None and len(scanners) > 1:
        _wrong("--name", f"it is for one scanner: choose one of {', '.join(scanners)} with --scanner")
    if name is not None and not 0 < len(name.strip()) <= plan.LONGEST_NAME:
        _wrong("--name", f"it must have 1 to {plan.LONGEST_NAME} characters")
    try:
        base = plan.normal_url(url)
        # A service of several scanners has each under the path of its name.
        several = len({*scanners, *(service.enabled if set(scanners) <= set(service.enabled) else ())}) > 1
        urls = [plan.normal_url(f"{base}/{one}" if several else base) for one in scanners]
    except ValueError as error:
        _wrong("--url", str(error))
    kind, credential = _credential(service, auth)
    return [
        plan.Wanted(
            name=name.strip() if name is not None else NAMES.get(one, one), url=where, rename=name is not None,
            auth=kind, credential=credential, skip_check=skip, internal_address=internal,
            default=default and one == scanners[0], scanner=TITLES.get(one, ""),
        )
        for one, where in zip(scanners, urls, strict=True)
    ]  # fmt: skip


def _credential(service: _Service, auth: Auth | None) -> tuple[str | None, str]:
    """Return what Harbor shall show, and how; None if nobody said anything of it."""
    from harbor_scanner.harbor import plan  # noqa: PLC0415

    if auth is None and service.basic:
        auth = Auth.BASIC
    elif auth is None and service.tokens:
        auth = Auth.BEARER
    credential, kind = {
        None: ("", None),
        Auth.NONE: ("", plan.NO_AUTH),
        Auth.BASIC: (service.basic, plan.BASIC),
        Auth.BEARER: (next(iter(service.tokens), ""), plan.BEARER),
        Auth.APIKEY: (next(iter(service.tokens), ""), plan.API_KEY),
    }[auth]
    if kind and not credential:
        setting = "SCANNER_API_AUTH_BASIC" if auth is Auth.BASIC else "SCANNER_API_AUTH_TOKENS"
        _wrong("--auth", f"it needs the credential of the service: set {setting}, or {setting}_FILE, as there")
    if len(credential) > plan.LONGEST_CREDENTIAL:
        _wrong("--auth", f"the credential is longer than Harbor's limit of {plan.LONGEST_CREDENTIAL} characters")
    return kind, credential


def _harbor(url: str) -> str:
    from harbor_scanner.harbor.plan import split_url  # noqa: PLC0415

    try:
        return split_url(url).geturl().rstrip("/")
    except ValueError as error:
        _wrong("--harbor", str(error))


def _context(ca: Path | None) -> ssl.SSLContext:
    """Return what checks certificates: the machine's authorities, and one more."""
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except OSError as error:  # so is ssl.SSLError
            reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            _wrong("--ca", f"{str(ca)!r} cannot be used: {reason}")
    return context


def _password(file: Path | None) -> str:
    """Return Harbor's password: from a file, the environment, or whoever sits at the terminal."""
    given = os.environ.get(PASSWORD, "")
    if file is not None and given:
        _wrong("--password-file", f"{PASSWORD} is set as well: keep one of them")
    if file is not None:
        try:
            given = (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            _wrong("--password-file", f"{str(file)!r} cannot be read: {reason}")
        if not given:
            _wrong("--password-file", f"{str(file)!r} is empty")
    if not given and sys.stdin.isatty():
        given = str(typer.prompt("Harbor's password", hide_input=True, err=True))
    if not given:
        _wrong("--password-file", f"there is no password: give one, or set {PASSWORD}")
    try:
        given.encode()
    except UnicodeEncodeError:
        _wrong("--password-file", "the password is not UTF-8 text")
    return given


def _wrong(option: str, problem: str) -> NoReturn:
    raise typer.BadParameter(problem, param_hint=option)
