"""(0) Which videos there are: one layout a dataset, under `layouts/`.

A root folder comes in; a `Dataset` of `Video` records with labels, splits and safe ids goes out.

Interface, by file:
    audit: Probe, Report, audit
    dataset: DRAWN_MARKER, Dataset, Source, SourceOptions
    listing: list_media, natural, stem_of
    metadata: read_json, read_lines
    registry: SOURCES, broken_sources, default_root, discover, list_sources, origin_of, resolve
    splits: joined_groups, read_ratio
"""
