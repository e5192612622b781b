"""(5) Lists of `folder label` lines, and the account of how every video ended.

What was extracted comes in; text files that a person can read and edit go out.

Interface, by file:
    checked: Manifest, PICTURES_KEY, read_manifest
    foreign_lists: FORMS, import_list, write_imported
    outcomes: Listed, duration, read_outcomes, summary, write_outcomes
    selections: contradictions, count, leaks, merge, relabelled, select
    text: parse, write_manifest
"""
