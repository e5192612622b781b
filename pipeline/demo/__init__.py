"""A drawn dataset in the official FaceForensics++ tree, so that anybody can walk the whole road.

Its numbers show that the road works, never that a detector is good.

Interface, by file:
    dataset: DemoConfig, METHODS, draw_dataset, mosaic
"""
