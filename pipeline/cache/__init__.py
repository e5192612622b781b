"""(3, 4) Crops come in; one committed, digested Zarr v3 group a video goes out, bands beside them.

The only package that writes or trusts what lies in a cache.

Interface, by file:
    attributes: checked_attributes
    bands: coefficients
    clip_reader: ClipReader
    check: cache_folders, check, damaged_rows, missing_videos, video_folders
    digest: DIGEST, canonical, file_sha256
    feature_group: open_features, verify_features, write_features
    index: crop_config, read_index, settings_in_cache, settings_of_key, write_index
    refused: Fingerprint, RECORDS, noted, plain_outcome, recall, remember
    video: CachedVideo, GROUP_FILE, attributes_of, is_committed, open_video, settings_of,
        verify_video
    writing: SAFE_ID, replace_attributes, write_video
    zarr_layout: ARRAYS, MAX_CLIP_BYTES
"""
