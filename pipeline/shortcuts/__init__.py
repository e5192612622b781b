"""Can the label be told from something that is not the forgery? The audit of a data set.

Facts of files and crops come in; how well each family of them gives the label away goes out, with a
null, an interval, and in words what to fix.

Interface, by file:
    page: audit_tables, audit_words, beside_manifest, read_summary, write_audit
    protocol: audit
    signals: Signals, of_dataset, of_manifest
    usage: usage_of
"""
