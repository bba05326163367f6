"""The flags of `scannercli scan`, as strict as in any program written in Go: what is not known is refused."""

from __future__ import annotations

from collections.abc import Iterator

VALUES = frozenset({"host", "user", "password", "token", "registry", "robot-username", "robot-password", "jsonfile"})
SWITCHES = frozenset(
    {"checkonly", "dockerless", "no-verify", "direct-cc", "show-negligible", "register", "register-compliant"}
)
SHORT = {"H": "host", "U": "user", "P": "password", "A": "token", "n": "no-verify", "D": "direct-cc"}
BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class UsageError(Exception):
    """The command line is wrong."""


class Options:
    """A command line, understood: `options["host"]` is a value, empty if not given."""

    def __init__(self, values: dict[str, str], switches: dict[str, bool], image: str) -> None:
        self._values = values
        self._switches = switches
        self.image = image

    def __getitem__(self, flag: str) -> str:
        return self._values.get(flag, "")

    def on(self, switch: str) -> bool:
        """Tell whether a switch was set."""
        return self._switches.get(switch, False)


def parse(arguments: list[str]) -> Options:
    """Read `--flag=value`, `--flag value`, `--switch`, `--switch=false` and one image. Raises UsageError."""
    values: dict[str, str] = {}
    switches: dict[str, bool] = {}
    images: list[str] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            images.append(word)
            continue
        flag, given, value = word.partition("=")
        name = flag[2:] if flag.startswith("--") else SHORT.get(flag[1:], "")
        if name in SWITCHES:
            switches[name] = _boolean(flag, value) if given else True
        elif name in VALUES:
            values[name] = value if given else _next(words, flag)
        else:
            raise UsageError(f"unknown flag: {flag}")
    if len(images) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(images)}")
    return Options(values, switches, images[0])


def _boolean(flag: str, value: str) -> bool:
    if value not in BOOLEANS:
        raise UsageError(f'invalid argument "{value}" for "{flag}" flag: strconv.ParseBool: invalid syntax')
    return BOOLEANS[value]


def _next(words: Iterator[str], flag: str) -> str:
    for word in words:
        return word
    raise UsageError(f"flag needs an argument: {flag}")
