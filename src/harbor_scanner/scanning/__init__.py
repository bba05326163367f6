"""Scans without Harbor: from an image's name, or its files, to a table or a document."""
