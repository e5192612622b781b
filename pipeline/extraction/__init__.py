"""Joins stages 0 to 5: every video of a dataset, in worker processes, resumable.

Videos and settings come in; cached folders, manifests and outcomes go out.

Interface, by file:
    crops: detector_for, read_crops, refusal_of
    probe: probe
    publish: is_listed, publish
    receipt: materialize, read_receipt, receipt_of, write_receipt
    reference: judged, measure, reference_of
    repair: repair, tidy
    resume: content_hash, finished
    run: cache_folder, extract
"""
