"""Open clips without their media: a list (clips.csv), a reader of a folder that holds some of them,
detectors and plain baselines on the same clips, and the gate's answer.

    python -m benchmarks.openclips FOLDER [--run DIR] [--model zoo:meso4] [--out FILE.md]

More clips are more rows: file, label, kind of forgery, person group, pair (clips of one file), the
panel to cut, repository, commit, path, licence. `counts` says whether a clip may speak for the
gate: real face swaps do, drawn animations and swaps made by hand do not.
"""
