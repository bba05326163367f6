"""Zip archives of any size, read member by member.

The directory of an archive is not held in memory, which `zipfile` does: exports have hundreds of thousands of members.
Names of members serve messages only; nothing is ever written under them. (PKWARE's APPNOTE.TXT, sections 4.3 to 4.5.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from harbor_scanner.osv.errors import DatabaseError, UnreadableAdvisoryError

MEMBER_LIMIT = 64 * 2**20
"""Bytes of one advisory; the largest known have a few million."""
_RATIO = 200
"""How many times the size of the archive its members may have together: JSON of advisories takes about 5 to 20."""
_FLOOR = 256 * 2**20
"""Bytes that any archive may hold, however small it is."""

_END = struct.Struct("<4s4H2LH")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_FULL = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8


class Member(NamedTuple):
    """A file of an archive, not yet read."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class Archive:
    """An archive in an open file. Raises DatabaseError if it is none, or broken as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, 2)
        self.count, self._directory, self._directory_end, self._shift = self._end()
        self._left = max(_FLOOR, self._length * _RATIO)

    def members(self) -> Iterator[Member]:
        """Yield the members in the order of the archive's directory; folders are none."""
        place, found = self._directory, 0
        while place < self._directory_end:
            fields = self._unpack(_ENTRY, place, b"PK\1\2")
            flags, method, crc, packed, size = fields[5], fields[6], fields[9], fields[10], fields[11]
            name_length, extra_length, comment_length, offset = fields[12], fields[13], fields[14], fields[-1]
            text = self._at(place + _ENTRY.size, name_length + extra_length)
            name, extra = text[:name_length], text[name_length:]
            size, packed, offset = _large(extra, size, packed, offset)
            if not name.endswith(b"/"):
                yield Member(name.decode(errors="replace"), flags, method, crc, packed, size, offset)
            place += _ENTRY.size + name_length + extra_length + comment_length
            found += 1
        # Old writers count to 65,535 only, and begin anew.
        if (found - self.count) % 0x10000:
            raise _broken()

    def read(self, member: Member) -> bytes:
        """Return the content of a member. Raises UnreadableAdvisoryError, and DatabaseError for a bomb."""
        if member.flags & 1:
            raise UnreadableAdvisoryError("it is encrypted")
        if member.method not in {_STORED, _DEFLATED}:
            raise UnreadableAdvisoryError(f"it is packed with method {member.method}, which is not known")
        if member.packed > MEMBER_LIMIT:
            raise _too_large()
        try:
            fields = self._unpack(_LOCAL, member.offset + self._shift, b"PK\3\4")
            packed = self._at(member.offset + self._shift + _LOCAL.size + fields[-2] + fields[-1], member.packed)
        except DatabaseError:
            raise UnreadableAdvisoryError("its part of the archive is broken") from None
        data = packed if member.method == _STORED else _inflate(packed)
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise UnreadableAdvisoryError("its checksum is wrong")
        self._left -= len(data)
        if self._left < 0:
            raise DatabaseError("The archive unpacks to far more than advisories do.", "Use another one.")
        return data

    def _end(self) -> tuple[int, int, int, int]:
        """Return the number of members, where their directory begins and ends, and how far all offsets are shifted."""
        tail_length = min(self._length, _END.size + 0xFFFF)
        tail = self._at(self._length - tail_length, tail_length)
        found = tail.rfind(b"PK\5\6")
        if found < 0 or found + _END.size > tail_length:
            raise DatabaseError("The file is no zip archive, or not all of it is there.", "Fetch it again.")
        place = self._length - tail_length + found
        _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, found)
        if place >= _END_64_LOCATOR.size:
            locator = self._at(place - _END_64_LOCATOR.size, _END_64_LOCATOR.size)
            if locator.startswith(b"PK\6\7"):
                place = _END_64_LOCATOR.unpack(locator)[2]
                *_, count, size, offset = self._unpack(_END_64, place, b"PK\6\6")
        shift = place - size - offset
        if shift < 0:
            raise _broken()
        return count, offset + shift, offset + shift + size, shift

    def _unpack(self, form: struct.Struct, place: int, signature: bytes) -> tuple[int, ...]:
        data = self._at(place, form.size)
        if not data.startswith(signature):
            raise _broken()
        return form.unpack(data)

    def _at(self, place: int, length: int) -> bytes:
        if place < 0 or place + length > self._length:
            raise _broken()
        self._file.seek(place)
        data = self._file.read(length)
        if len(data) < length:
            raise _broken()
        return data


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, MEMBER_LIMIT)
    except zlib.error as error:
        raise UnreadableAdvisoryError(f"it cannot be unpacked: {error}") from None
    if not inflater.eof and len(data) >= MEMBER_LIMIT:
        raise _too_large()
    return data


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Return sizes and offset with those that stand in the extra field for large archives."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            return tuple(next(values, _FULL) if value == _FULL else value for value in (size, packed, offset))  # type: ignore[return-value]
        extra = extra[4 + length :]
    return size, packed, offset


def _too_large() -> UnreadableAdvisoryError:
    return UnreadableAdvisoryError(f"it is larger than {MEMBER_LIMIT // 2**20} MiB")


def _broken() -> DatabaseError:
    return DatabaseError("The archive is broken.", "Fetch it again.")
