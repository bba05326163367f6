"""The configuration of a process: its settings, read from all their layers and checked against each other.

Names and defaults are those of the Aqua adapter's README and of Qualys' deployment guide, with our additions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from harbor_scanner import chart, groups
from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.groups import LogSettings, SbomSettings, ScannersSettings, SourceSettings, WorkerSettings
from harbor_scanner.http import settings as http
from harbor_scanner.http.settings import ApiSettings
from harbor_scanner.jobs.address import ALLOWED as REDIS_ALLOWED
from harbor_scanner.jobs.settings import RedisSettings, StoreSettings
from harbor_scanner.layers import Effective, Loader
from harbor_scanner.live import LiveSettings, Reading, Watcher
from harbor_scanner.plugins import DEFAULT, Plugins, find_plugins, workers_setting
from harbor_scanner.scanners.base import ScannerPlugin
from harbor_scanner.settings import PROXIES, password_in, settings_of, unreadable
from harbor_scanner.values import UnreadableValuesError, Values


class Role(StrEnum):
    """What a process does: both, or one of the two that scale apart over one Redis."""

    ALL = "all"
    API = "api"
    WORKER = "worker"

    @property
    def serves(self) -> bool:
        """Whether this role answers Harbor."""
        return self is not Role.WORKER

    @property
    def scans(self) -> bool:
        """Whether this role runs scans."""
        return self is not Role.API


class EnabledScanner(msgspec.Struct, frozen=True):
    """A scanner that this process serves."""

    name: str
    plugin: ScannerPlugin
    settings: LiveSettings
    workers: int
    """How many of its scans run at once in this process."""


class Config(msgspec.Struct, frozen=True):
    """All settings of one process."""

    role: Role
    log: LogSettings
    api: ApiSettings
    worker: WorkerSettings
    store: StoreSettings
    redis: RedisSettings
    scanners: tuple[EnabledScanner, ...]
    """In the order of SCANNER_ENABLED: the first also answers at the root path."""
    sbom: SbomSettings
    live: Watcher
    """What keeps the settings of the scanners up to date."""
    effective: tuple[Effective, ...]
    """Every setting with its text and origin, in the order of the documentation."""
    unknown: tuple[str, ...]
    """A line for each variable and key that looks like a setting and is none."""
    warnings: tuple[str, ...]
    """What else the operator should know, a line each."""

    @property
    def log_file(self) -> Path | None:
        """Where logs are also written, if anywhere."""
        return self.worker.data_dir / "log" / "harbor-scanner.log" if self.log.file else None

    def secrets(self) -> list[str]:
        """Return every secret value among the settings, for redaction."""
        return list(self.live.reading.secrets)


class _Service(msgspec.Struct, frozen=True):
    """What a look at the layers gave, apart from what may change."""

    log: LogSettings
    api: ApiSettings
    sbom: SbomSettings
    worker: WorkerSettings
    store: StoreSettings
    redis: RedisSettings
    workers: Mapping[str, int]


def load_config(
    environment: Mapping[str, str],
    role: Role = Role.ALL,
    *,
    overrides: Mapping[str, str] = MappingProxyType({}),
    path: Path | None = None,
    chart_defaults: bool = False,
    plugins: Plugins | None = None,
) -> Config:
    """Read the settings from all their layers. Raises SettingsError, which lists all problems.

    `overrides` are settings of the command line by the names of their variables. `path` names the values.yaml. With
    `chart_defaults` the defaults of Qualys' deployment guide hold even without one.
    """
    installed = find_plugins() if plugins is None else plugins
    if path is not None:
        overrides = {**overrides, "SCANNER_CONFIG": str(path)}
    look = _Look(environment, role, overrides, chart_defaults, installed)
    files = Files()
    service, reading = look.at(files)
    names = tuple(reading.scanners)
    live = Watcher(lambda files: look.at(files, names)[1], files, reading)
    scanners = tuple(
        EnabledScanner(name, installed.found[name], LiveSettings(live, name), service.workers[name]) for name in names
    )
    return Config(
        role=role, log=service.log, api=service.api, worker=service.worker, store=service.store, redis=service.redis,
        scanners=scanners, sbom=service.sbom, live=live,
        effective=reading.effective, unknown=reading.unknown, warnings=reading.warnings,
    )  # fmt: skip


class _Look(msgspec.Struct, frozen=True):
    """How settings are read: all that stays the same while files change."""

    environment: Mapping[str, str]
    role: Role
    overrides: Mapping[str, str]
    chart_defaults: bool
    plugins: Plugins

    def at(self, files: Files, running: tuple[str, ...] | None = None) -> tuple[_Service, Reading]:
        """Read all settings, of the scanners that are `running` or, at the start, of those that are enabled."""
        sources = self._loader(files, None)
        values = read_values(files, sources)
        loader = self._loader(files, values)
        loader.effective += sources.effective
        loader.recognise((entry.setting for entry in sources.effective), in_file=False)
        log = loader.load(LogSettings)
        api = loader.load(ApiSettings)
        chosen = self._chosen(loader, self._loader(files, values), at_start=running is None)
        names = chosen if running is None else running
        sbom = loader.load(SbomSettings)
        workers = {name: loader.read(workers_setting(name)) for name in names}
        scanners = {name: loader.load(self.plugins.found[name].settings, live=True) for name in names}
        worker = loader.load(WorkerSettings)
        store = loader.load(StoreSettings)
        redis = loader.load(RedisSettings)
        warnings = list(self._check_scanners(loader, scanners))
        if api is not None:
            api = self._check_api(loader, api, warnings)
        if redis is not None:
            self._check_redis(loader, redis)
        unknown = self._unknown(loader)
        noted = (*self._plugin_warnings(), *loader.warnings, *(chart.warnings(values) if values else ()), *warnings)
        loader.finish((*unknown, *noted))
        assert log and api and sbom and worker and store and redis  # noqa: S101, PT018 - `finish` raised otherwise
        service = _Service(
            log, api, sbom, worker, store, redis, {name: workers[name] or worker.workers for name in names}
        )
        return service, Reading(
            scanners, tuple(loader.effective), tuple(unknown), noted,
            tuple({secret for secret in self._secrets(loader, api, redis, scanners) if secret}),
        )  # fmt: skip

    def _loader(self, files: Files, values: Values | None) -> Loader:
        return Loader(self.environment, overrides=self.overrides, files=files, values=values, chart=self.chart_defaults)

    def _chosen(self, loader: Loader, other: Loader, *, at_start: bool) -> tuple[str, ...]:
        """Return the names of the scanners to enable; `other` is of use for trying what is not for keeps."""
        group = loader.load(ScannersSettings)
        entry = loader.effective[-1]
        if group is None:
            return ()
        if group.enabled:
            wrong = [name for name in group.enabled if name not in self.plugins.found]
            for name in wrong if at_start else ():
                reason = self.plugins.broken.get(name, f"there is no scanner {name!r}; there are {self.plugins.names}")
                loader.require(condition=False, problem=f"SCANNER_ENABLED: {reason}")
            return tuple(name for name in group.enabled if name not in wrong)
        given = tuple(name for name, plugin in self.plugins.found.items() if other.gives(plugin.settings))
        if not given and self.role.scans and DEFAULT in self.plugins.found:
            given = (DEFAULT,)
        loader.effective[-1] = msgspec.structs.replace(entry, text=",".join(given))
        loader.require(given or not at_start, f"SCANNER_ENABLED: {self._nothing_configured(other)}")
        return given

    def _nothing_configured(self, loader: Loader) -> str:
        if not self.role.scans:
            return f"it is needed with --role {self.role}: a comma list of {self.plugins.names}"
        needs = []
        for name, plugin in self.plugins.found.items():
            defaults = loader.load(plugin.settings)
            lines = [*plugin.problems(defaults), *plugin.warnings(defaults)] if defaults is not None else []
            words = [loader.worded(line.partition(":")[0]) for line in lines]
            needs.append(f"{name} ({' and '.join(words)})" if words else name)
        return f"no scanner is configured; set what one of them needs: {', or '.join(needs)}"

    def _check_scanners(self, loader: Loader, scanners: Mapping[str, Any]) -> Iterator[str]:
        """Note what is wrong with the settings of scanners, and yield warnings."""
        if not self.role.scans:
            return
        for name, settings in scanners.items():
            plugin = self.plugins.found[name]
            for line in plugin.problems(settings) if settings is not None else ():
                loader.require(condition=False, problem=line)
            for line in plugin.warnings(settings) if settings is not None else ():
                yield loader.worded(line)

    def _check_api(self, loader: Loader, api: ApiSettings, warnings: list[str]) -> ApiSettings:
        if not self.role.serves:
            return api
        keys = {entry.key for entry in loader.effective}
        for_the_chart = api.tls_enabled is None and not keys.isdisjoint(("service.tlsCertData", "service.tlsKeyData"))
        if api.tls_enabled is False or for_the_chart:
            if api.tls_certificate is not None or api.tls_key is not None:
                warnings.append(
                    loader.worded("SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY: they are not used, for "
                                  "SCANNER_API_TLS_ENABLED is not true; Harbor is answered by plain HTTP")
                )  # fmt: skip
            api = msgspec.structs.replace(api, tls_certificate=None, tls_key=None)
        hold = next((entry for entry in loader.effective if entry.setting.name == "SCANNER_API_POLL_HOLD"), None)
        if hold is not None and not hold.given and 0 < api.write_timeout <= api.poll_hold:
            api = msgspec.structs.replace(api, poll_hold=api.write_timeout / 2)
        for line in http.problems(api):
            loader.require(condition=False, problem=line)
        return api

    def _check_redis(self, loader: Loader, redis: RedisSettings) -> None:
        loader.require(
            redis.address or self.role is Role.ALL,
            f"SCANNER_REDIS_URL: it is needed with --role {self.role}, for API and workers meet in one Redis; "
            f"it must be {REDIS_ALLOWED}",
        )
        for line in unreadable("SCANNER_REDIS_TLS_CA", redis.ca_file):
            loader.require(condition=False, problem=line)

    def _unknown(self, loader: Loader) -> list[str]:
        for name, plugin in self.plugins.found.items():
            loader.recognise((workers_setting(name), *settings_of(plugin.settings).values()))
        loader.recognise_keys(key.path for key in chart.CHART_KEYS)
        return loader.unknown()

    def _plugin_warnings(self) -> Iterator[str]:
        yield from self.plugins.warnings
        yield from self.plugins.broken.values()

    def _secrets(
        self, loader: Loader, api: ApiSettings, redis: RedisSettings, scanners: Mapping[str, Any]
    ) -> Iterator[str]:
        for entry in loader.effective:
            setting = entry.setting
            if setting.secret and setting.redacted and setting.mask is None:
                yield entry.text
        yield api.auth_basic.partition(":")[2]
        yield from api.auth_tokens
        yield redis.address.password if redis.address else ""
        for name, settings in scanners.items():
            yield from self.plugins.found[name].secrets(settings)
        # Scanners see these too, and may print them.
        for name in PROXIES:
            yield password_in(self.environment.get(name, ""))


def read_values(files: Files, loader: Loader) -> Values | None:
    """Return the values.yaml, if there is one. Raises SettingsError: without it nothing else can be told."""
    sources = loader.load(SourceSettings)
    loader.finish()
    assert sources is not None  # noqa: S101 - `finish` raised otherwise
    [entry] = loader.effective
    path = sources.values if entry.given else groups.VALUES_PATH
    content = files.read(path)
    name = f"SCANNER_CONFIG ({entry.origin})" if entry.given else "values.yaml"
    if content.data is None and not content.problem and not entry.given:
        return None
    if content.data is None:
        reason = content.problem or "No such file or directory"
        raise SettingsError([f"{name}: {str(path)!r} cannot be read: {reason}"])
    try:
        return Values.parse(path, content.data)
    except UnreadableValuesError as error:
        raise SettingsError([f"{name}: {str(path)!r} cannot be read: {error}"]) from None
