"""Syft, which lists the packages of an image and writes SBOMs (https://github.com/anchore/syft)."""
