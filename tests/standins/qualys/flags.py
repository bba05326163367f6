"""The flags of qscanner, as strict as in any program written in Go: what is not known is refused.

They may stand before and after the subcommand. Where the words that a flag takes are known, no other is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PODS = {
    "US1": "https://gateway.qg1.apps.qualys.com",
    "US2": "https://gateway.qg2.apps.qualys.com",
    "US3": "https://gateway.qg3.apps.qualys.com",
    "US4": "https://gateway.qg4.apps.qualys.com",
    "EU1": "https://gateway.qg1.apps.qualys.eu",
    "EU2": "https://gateway.qg2.apps.qualys.eu",
    "EU3": "",
    "IN1": "https://gateway.qg1.apps.qualys.in",
    "CA1": "https://gateway.qg1.apps.qualys.ca",
    "AE1": "https://gateway.qg1.apps.qualys.ae",
    "UK1": "https://gateway.qg1.apps.qualys.co.uk",
    "AU1": "https://gateway.qg1.apps.qualys.com.au",
    "KSA1": "https://gateway.qg1.apps.qualysksa.com",
    "GOV1": "",
}
"""Platforms and their gateways, which are not known of all."""

_TEXTS = (
    "gateway-url access-token output-dir cache-dir proxy cert-path policy-tags platform exclude-dirs exclude-files "
    "disable-sca-languages shell-commands scan-target-info detection-priority secret-config-file compliance-benchmarks"
)
_WORDS = {
    "pod": set(PODS),
    "mode": {"inventory-only", "scan-only", "get-report", "evaluate-policy"},
    "cache": {"local", "none"},
    "log-level": {"debug", "info", "warn", "error"},
    "storage-driver": {"none", "docker-overlay2", "containerd-overlayfs", "podman-overlay", "crio-overlay"},
}
_LISTS = {
    "scan-types": {"pkg", "secret", "malware", "fileinsight", "compliance"},
    "format": {"json", "db", "spdx", "spdx-tlv", "cyclonedx"},
    "report-format": {"table", "sarif", "json", "gitlab"},
}
_DURATIONS = {"scan-timeout", "network-retry-wait-min", "network-retry-wait-max"}
_NUMBERS = {"max-network-retries"}
_SWITCHES = {
    "skip-verify-tls",
    "offline-scan",
    "limit-resource-usage",
    "show-perf-stat",
    "collect-build-pipeline-metadata",
    "skip-java-db-update",
    "version",
}
_VALUES = {*_TEXTS.split(), *_WORDS, *_LISTS, *_DURATIONS, *_NUMBERS}
_SHORT = {"m": "mode", "f": "format", "o": "output-dir", "l": "log-level"}
_DEFAULTS = {
    "mode": "get-report",
    "scan-types": "pkg,fileinsight",
    "format": "json",
    "cache": "local",
    "log-level": "info",
    "storage-driver": "none",
    "max-network-retries": "10",
}
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_DURATION = re.compile(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+)")


class UsageError(Exception):
    """The command line is wrong."""


class CommandLine:
    """A command line, understood: `line["mode"]` is a value, or the flag's default, or empty."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.switches: dict[str, bool] = {}
        self.words: list[str] = []
        """All that are no flags: the subcommand and its arguments."""

    def __getitem__(self, flag: str) -> str:
        return self.values.get(flag, _DEFAULTS.get(flag, ""))

    def parts(self, flag: str) -> list[str]:
        """Return the elements of a comma list."""
        return self[flag].split(",") if self[flag] else []

    def on(self, switch: str) -> bool:
        """Tell whether a switch was set."""
        return self.switches.get(switch, False)


def parse(arguments: list[str]) -> CommandLine:
    """Understand a command line. Raises UsageError."""
    line = CommandLine()
    words = iter(arguments)
    for word in words:
        if word == "--":
            line.words.extend(words)
        elif not word.startswith("-") or word == "-":
            line.words.append(word)
        else:
            _flag(line, word, words)
    return line


def _flag(line: CommandLine, word: str, words: Iterator[str]) -> None:
    flag, given, value = word.partition("=")
    name = flag[2:]
    if not flag.startswith("--"):
        if len(flag) > 2:
            # `-mscan-only`, as pflag takes it.
            flag, given, value = word[:2], "yes", word[2:].removeprefix("=")
        name = _SHORT.get(flag[1:], "")
    if name in _SWITCHES:
        line.switches[name] = _boolean(flag, value) if given else True
    elif name in _VALUES:
        line.values[name] = _checked(flag, name, value if given else _next(words, flag))
    else:
        raise UsageError(f"unknown flag: {flag}")


def _checked(flag: str, name: str, value: str) -> str:
    known, parts = _WORDS.get(name), [value]
    if name in _LISTS:
        known, parts = _LISTS[name], value.split(",")
    if known is not None and not set(parts) <= known:
        raise _invalid(flag, value, f"must be one of {', '.join(sorted(known))}")
    if name in _DURATIONS and not _DURATION.fullmatch(value):
        raise _invalid(flag, value, f'time: invalid duration "{value}"')
    if name in _NUMBERS and not re.fullmatch(r"\d+", value, re.ASCII):
        raise _invalid(flag, value, f'strconv.ParseUint: parsing "{value}": invalid syntax')
    return value


def _boolean(flag: str, value: str) -> bool:
    if value not in _BOOLEANS:
        raise _invalid(flag, value, f'strconv.ParseBool: parsing "{value}": invalid syntax')
    return _BOOLEANS[value]


def _invalid(flag: str, value: str, why: str) -> UsageError:
    return UsageError(f'invalid argument "{value}" for "{flag}" flag: {why}')


def _next(words: Iterator[str], flag: str) -> str:
    for word in words:
        return word
    raise UsageError(f"flag needs an argument: {flag}")
