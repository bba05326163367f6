"""values.yaml: the file of settings that Qualys' adapter and its Helm chart read, as plain text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import yaml

from harbor_scanner.settings import BOOLEAN, OPTIONAL_BOOLEAN, Kind

Tree = dict[str, "Node"]
Node = str | Tree | list[None] | None
"""Text as it is written, a map, a list (whose items nobody wants), or nothing."""

_NULL = {"", "~", "null", "Null", "NULL", "---"}
"""What stands for no value. The last one is how Qualys' deployment guide writes it in its table of parameters."""
_MOST_NAMED = 20
"""Unknown keys that are named: to look for the nearest known one takes a while each."""
_STRING = "tag:yaml.org,2002:str"
_PLAIN_TAGS = (_STRING, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_HELM_BOOLEANS = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), "true"),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), "false"),
}
_QUOTED = re.compile(r"(['\"])(?![\\<])(?:(?!\1).){2,}\1")


class UnreadableValuesError(ValueError):
    """The file is no YAML that can be taken. The message tells why and where, and quotes nothing of the file."""


class Misfit(msgspec.Struct, frozen=True):
    """What in the file is not as it should be."""

    line: str
    fatal: bool
    """Whether a setting cannot be told for it; the rest is only worth a warning."""


class Values:
    """The keys of a values.yaml with their texts."""

    def __init__(self, path: Path, tree: Tree, twice: Iterable[str] = ()) -> None:
        self.path = path
        self._tree = tree
        self._twice = tuple(twice)

    @classmethod
    def parse(cls, path: Path, content: bytes) -> Values:
        """Read the file's content. Raises UnreadableValuesError."""
        tree = _Tree()
        try:
            # Without tags nothing is made of the text; without constructors there is nothing to be made.
            root = yaml.compose(content.decode("utf-8-sig"), Loader=yaml.BaseLoader)
            values = tree.read(root) if root is not None else None
        except yaml.MarkedYAMLError as error:
            raise UnreadableValuesError(_told(error)) from None
        except yaml.YAMLError:
            raise UnreadableValuesError("it holds characters that YAML does not allow") from None
        except UnicodeDecodeError:
            raise UnreadableValuesError("it is not UTF-8 text") from None
        except RecursionError:
            raise UnreadableValuesError("it is nested too deeply") from None
        if not isinstance(values, dict | None):
            raise UnreadableValuesError("it must hold keys with their values, such as `scannerArgs:`")
        return cls(path, values or {}, tree.twice)

    def get(self, key: str) -> str:
        """Return the text of a key such as `scannerArgs.pod`; nothing if it is not given."""
        node: Node = self._tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node if isinstance(node, str) else ""

    def misfits(self, known: Iterable[str]) -> Iterator[Misfit]:
        """Yield what is not as it should be, where `known` are the keys that mean something."""
        keys = set(known)
        sections = {key.rpartition(".")[0] for key in keys} - {""}
        for line in self._twice:
            yield Misfit(f"{self.path}: {line}", fatal=False)
        unknown: list[str] = []
        yield from self._misfits(self._tree, "", keys, sections, unknown)
        for key in unknown[:_MOST_NAMED]:
            yield Misfit(f"{key} (in {self.path}) is not a setting{_nearest(key, keys | sections)}", fatal=False)
        if more := len(unknown[_MOST_NAMED:]):
            yield Misfit(f"{self.path} has {more} more keys that are not settings", fatal=False)

    def _misfits(
        self, tree: Tree, prefix: str, keys: set[str], sections: set[str], unknown: list[str]
    ) -> Iterator[Misfit]:
        """Yield what is wrong with known keys, and gather the unknown ones."""
        for name, node in tree.items():
            key = f"{prefix}{name}"
            where = f"{key} (in {self.path})"
            if "." in name or (key not in keys and key not in sections):
                unknown.append(key)
            elif key in keys and isinstance(node, dict | list):
                yield Misfit(f"{where}: it must be a single value, not a {_shape(node)}", fatal=True)
            elif key in sections and isinstance(node, dict):
                yield from self._misfits(node, f"{key}.", keys, sections, unknown)
            elif key in sections and node is None:
                yield Misfit(f"{where} is empty: the defaults of its keys hold", fatal=False)
            elif key in sections:
                yield Misfit(f"{where}: it must hold keys with their values, not a {_shape(node)}", fatal=True)


def as_helm(kind: Kind, text: str) -> str:
    """Return `text` with the words for true and false that Helm knows, which reads YAML 1.1, in our own spelling."""
    return _HELM_BOOLEANS.get(text, text) if kind in (BOOLEAN, OPTIONAL_BOOLEAN) else text


class _Tree:
    """Turns YAML nodes into a tree of texts."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self._made: dict[int, Node] = {}

    def read(self, node: yaml.Node) -> Node:
        # What is referred to many times is read once: a few lines of YAML can stand for gigabytes.
        if id(node) not in self._made:
            self._made[id(node)] = self._read(node)
        return self._made[id(node)]

    def _read(self, node: yaml.Node) -> Node:
        if node.tag not in _PLAIN_TAGS:
            raise _refused(node, "tags (`!…`) are not allowed")
        if isinstance(node, yaml.ScalarNode):
            return None if node.style is None and node.value in _NULL else str(node.value)
        if isinstance(node, yaml.MappingNode):
            tree: Tree = {}
            self._made[id(node)] = tree
            for key, value in node.value:
                name = self._key(key)
                if name in tree:
                    self.twice.append(f"line {key.start_mark.line + 1}: {name} is given twice; the last one holds")
                tree[name] = self.read(value)
            return tree
        return []

    @staticmethod
    def _key(node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _STRING:
            raise _refused(node, "a key must be a plain word")
        if node.value == "<<":
            raise _refused(node, "merging (`<<`) is not supported; write the keys out")
        return str(node.value)


def _refused(node: yaml.Node, reason: str) -> UnreadableValuesError:
    return UnreadableValuesError(f"line {node.start_mark.line + 1}: {reason}")


def _told(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong, without what the message quotes: it may be a part of a secret."""
    reason = _QUOTED.sub("…", ", ".join(part for part in (error.context, error.problem) if part) or "it is no YAML")
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {reason}" if mark is not None else reason


def _shape(node: Node) -> str:
    match node:
        case dict():
            return "map"
        case list():
            return "list"
        case _:
            return "single value"


def _nearest(key: str, known: Iterable[str]) -> str:
    """Return a question for the key that was meant: spelt nearly so, or of this name in another section."""
    ends = {candidate.rpartition(".")[2]: candidate for candidate in sorted(known)}
    for word, candidates in ((key, {candidate: candidate for candidate in known}), (key.rpartition(".")[2], ends)):
        near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.7)
        if near:
            meant = candidates[near[0]]
            section, _, last = meant.rpartition(".")
            return f"; did you mean {meant}?" if meant != key else f"; write {last} under {section}"
    return ""
