"""(9) Somebody's video and a trained model come in; a verdict, a page and an annotated film go out.

The same decoding, crops and scoring as training and evaluation used.

Interface, by file:
    annotated_video: annotate
    export: export_model
    exported: TOLERANCE
    live: follow_recording
    page: write_prediction_page
    predict: expand, open_scorers, predict
    verdicts: NOT_A_PROOF, as_json, exit_code, verdict_table
"""
