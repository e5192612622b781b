"""(2) Decoded clips come in; one person's aligned square crops go out, with boxes and landmarks.

MTCNN's weights come from facenet-pytorch; the cascade that runs them is ours.

Interface, by file:
    crop: crop_clip
    detector: Detector, build_detector
    find: find_crops
    persons: Person, join
    shared_detector: SharedDetector
"""
