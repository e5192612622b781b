"""(1) A video file or a folder of pictures comes in, upright RGB clips go out.

The only package that decodes video. `scan` looks and chooses a way, `decode_clips` reads, and
`with_fallback` reads again packet by packet when the chosen way fails.

Interface, by file:
    clips: decode_clips
    containers: AV_ERRORS, open_container, open_input, read_head
    facts: Facts, Value, facts_of
    frame_facts: frame_facts_of
    frames: ArrayFrames, DecodedFrames
    growing: Growing, GrowingClips, PROBE
    picture_folder: CONTAINER, decode, list_pictures, read_rgb
    resize: Whole, halve, reduce_to
    retry: with_fallback
    rgb: Converter
    scan: scan
    sequential: Tally, decode_all
    windows: count_from, find_windows, frame_numbers, plan_clips, spread_clips
"""
