"""Absent or whole: how files and folders are written so that a stop at any moment leaves no half of
them.

Bytes and folders come in; they appear under their name by one rename, or not at all.

Interface, by file:
    files: begin_sync, json_lines, json_object, parse_json, read_bounded, read_json, refusals,
        replacing, sync_folder, try_writing, write_whole
    folders: commit_folder, exchange, remove_folder, restore_replaced, scratch_folder
    json_records: record_of
    locks: lock_cache, taking_turns
    permissions: inherited_mode, like_parent, opened_like_parent, private_folder
    temporaries: remove_stale
"""
