"""How close are the fakes of a data set to their originals? The quality of a data set.

Pairs of cached crops come in; Mask-SSIM, perceptual distance, warping error and how real and fake
lie in a feature space go out, with intervals, beside published values.

Interface, by file:
    flow: open_flow
    measure: Tools, measure_all
    networks: KINDS, Network, POOLED, RANDOM, open_network
    page: Quality, brief_table, quality_words, write_quality
    pairs: find_pairs
    rating: rate
    space: Encoder, space_of
"""
