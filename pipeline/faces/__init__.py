"""(2) Decoded clips come in; one person's aligned square crops go out, with boxes and landmarks.

MTCNN's weights come from facenet-pytorch; the cascade that runs them is ours.

Interface, by file:
    crop: crop_clip, crop_frames
    cuts: FACE_CUT_CORRELATION, FACE_CUT_LEVELS, likeness, thumbnail
    detector: Detector, build_detector
    find: Place, find_crops
    persons: Person, join
    shared_detector: SharedDetector
"""
