"""(9) Somebody's video and a trained model come in; a verdict, a page and an annotated film go out.

The same decoding, crops and scoring as training and evaluation used.

Interface, by file:
    answers: answers
    export: export_model
    exported: TOLERANCE
    inputs: expand
    jobs: Job, Note
    live: follow_recording
    predict: open_scorers, predict
    shipped: NONE_SHIPS, shipped_run
    verdicts: JSON_CLOSING, NOT_A_PROOF, Prediction, exit_code, json_item, json_line,
        json_opening, verdict_table
"""
