"""Detectors that others released, as members beside our own runs.

A release becomes a run folder once: its file, placed by the user or fetched, is checked against the
sha256 that is known, its tensors get our names, and from then on everything that takes a run takes
it.

Interface, by file:
    install: PREFIX, find_release, open_release
    releases: RELEASES, Release
"""
