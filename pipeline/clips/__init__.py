"""(6) A manifest comes in; batches of clips that a model takes go out.

Reads cached folders, exports and folders of pictures alike.

Interface, by file:
    augment: build_augment, only_moves
    batches: RawBatch, batch_of, batches
    h264: h264
    hdf5: Export, is_export
    hdf5_writer: write_export
    looks: NOTICED, looks_of_clips, looks_of_videos
    plans: share, training_plan
    prepare: Augment, Batch, prepare, random_of
    readers: all_fakes_have_masks, find_videos
    real_only: RealOnly
    samples: MODES, Picks, Sample, evaluation_picks, mode_of
    source: ClipSource
    stored_bands: BandsFrom
    transcode: Coding, lacking, transcode
"""
