"""(7) A manifest and a recipe come in; a run folder with checkpoints goes out.

Exact resume: stopped at any step, the end is the same.

Interface, by file:
    progress: Live, Started
    train: train
"""
