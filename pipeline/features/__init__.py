"""(6b) A manifest and a frozen encoder come in; one checked group of features a video goes out.

Features lie in a store beside the cache; a head trains on them in seconds, a probe reads them.

Interface, by file:
    compute: Call, compute
    frozen: Frozen, KEPT, MODEL, fingerprint, frozen_encoder, options_of, rebuilt
    repair: damaged, repair, tidy
    settings: FeatureSettings, read_index
    store: Stored, find_key, read_features
"""
