"""What the test images hold: package databases with the real names and versions of their time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

DEBIAN_OS_RELEASE = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
"""

ALPINE_OS_RELEASE = """\
NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.9.4
PRETTY_NAME="Alpine Linux v3.9"
"""

PRIVATE_KEY = """\
-----BEGIN RSA PRIVATE KEY-----
bm90IGEga2V5LCBidXQgbG9va3MgbGlrZSBvbmUgdG8gYSBzY2FubmVy
-----END RSA PRIVATE KEY-----
"""


class Deb(NamedTuple):
    """An installed Debian package. Its Source field is absent where name and version are the same."""

    name: str
    version: str
    source: str = ""


class Apk(NamedTuple):
    """An installed Alpine package, and the package that it was built from."""

    name: str
    version: str
    origin: str
    license: str


DEBIAN_BASE = (
    Deb("apt", "2.6.1"),
    Deb("base-files", "12.4+deb12u1"),
    Deb("bash", "5.2.15-2+b2", "bash (5.2.15-2)"),
    Deb("coreutils", "9.1-1"),
    Deb("dash", "0.5.12-2"),
    Deb("debconf", "1.5.82"),
    Deb("dpkg", "1.21.22"),
    Deb("gcc-12-base", "12.2.0-14", "gcc-12"),
    Deb("libc-bin", "2.36-9+deb12u1", "glibc"),
    Deb("libc6", "2.36-9+deb12u1", "glibc"),
    Deb("libgcc-s1", "12.2.0-14", "gcc-12"),
    Deb("libgcrypt20", "1.10.1-3"),
    Deb("libgnutls30", "3.7.9-2", "gnutls28"),
    Deb("libsystemd0", "252.12-1~deb12u1", "systemd"),
    Deb("libtasn1-6", "4.19.0-2"),
    Deb("login", "1:4.13+dfsg1-1+b1", "shadow (1:4.13+dfsg1-1)"),
    Deb("passwd", "1:4.13+dfsg1-1+b1", "shadow (1:4.13+dfsg1-1)"),
    Deb("perl-base", "5.36.0-7", "perl"),
    Deb("tar", "1.34+dfsg-1.2"),
    Deb("tzdata", "2023c-5"),
    Deb("util-linux", "2.38.1-5+b1", "util-linux (2.38.1-5)"),
    Deb("zlib1g", "1:1.2.13.dfsg-1", "zlib"),
)

DEBIAN_WEB = (
    Deb("ca-certificates", "20230311"),
    Deb("curl", "7.88.1-10+deb12u1"),
    Deb("libcurl4", "7.88.1-10+deb12u1", "curl"),
    Deb("libexpat1", "2.5.0-1", "expat"),
    Deb("libnghttp2-14", "1.52.0-1", "nghttp2"),
    Deb("libssl3", "3.0.9-1", "openssl"),
    Deb("libwebp7", "1.2.4-0.2", "libwebp"),
    Deb("openssh-client", "1:9.2p1-2", "openssh"),
    Deb("openssl", "3.0.9-1"),
)

ALPINE = (
    Apk("alpine-baselayout", "3.1.0-r3", "alpine-baselayout", "GPL-2.0-only"),
    Apk("busybox", "1.29.3-r10", "busybox", "GPL-2.0"),
    Apk("giflib", "5.1.4-r2", "giflib", "MIT"),
    Apk("libbz2", "1.0.6-r6", "bzip2", "BSD"),
    Apk("libcurl", "7.64.0-r1", "curl", "MIT"),
    Apk("libjpeg-turbo", "1.5.3-r4", "libjpeg-turbo", "IJG"),
    Apk("libssh2", "1.8.2-r0", "libssh2", "BSD"),
    Apk("libtasn1", "4.13-r0", "libtasn1", "GPL-3.0 LGPL"),
    Apk("musl", "1.1.20-r4", "musl", "MIT"),
    Apk("musl-utils", "1.1.20-r4", "musl", "MIT BSD GPL2+"),
    Apk("python2", "2.7.16-r1", "python2", "custom"),
    Apk("unzip", "6.0-r4", "unzip", "custom"),
    Apk("zlib", "1.2.11-r1", "zlib", "Zlib"),
)


def dpkg_status(packages: Iterable[Deb]) -> str:
    """Return `var/lib/dpkg/status`, with the entry that a removed package leaves behind as well."""
    return "\n".join(
        [
            *(_deb_entry(package, "install ok installed") for package in packages),
            _deb_entry(Deb("openssh-server", "1:9.2p1-2", "openssh"), "deinstall ok config-files"),
        ]
    )


def deb_files(packages: Iterable[Deb]) -> dict[str, str]:
    """Return a few files as these packages install them."""
    files = {}
    for package in packages:
        files[f"usr/share/doc/{package.name}/copyright"] = f"This is {package.name} as packaged for Debian.\n"
        files[f"var/lib/dpkg/info/{package.name}.list"] = f"/.\n/usr/share/doc/{package.name}/copyright\n"
    return files


def apk_installed(packages: Iterable[Apk]) -> str:
    """Return `lib/apk/db/installed`."""
    return "\n".join(
        f"P:{package.name}\nV:{package.version}\nA:x86_64\nL:{package.license}\no:{package.origin}\nF:usr/lib\n"
        for package in packages
    )


def npm(name: str, version: str, licence: str) -> str:
    """Return the `package.json` of an installed Node.js package."""
    return json.dumps({"name": name, "version": version, "license": licence}, indent=2)


def _deb_entry(package: Deb, status: str) -> str:
    source = f"Source: {package.source}\n" if package.source else ""
    return (
        f"Package: {package.name}\nStatus: {status}\nPriority: optional\nArchitecture: amd64\n{source}"
        f"Version: {package.version}\nDescription: {package.name}, a package of Debian\n"
        " whose description goes on in lines that start with a blank.\n"
    )
