"""Numbers only: scores files, metrics, intervals, calibration. No model, no pictures, no cache.

A CSV of scores comes in, whoever made it; metrics with intervals go out.

Interface, by file:
    bootstrap: LEVEL, bootstrap
    calibration: Calibration, DEFAULT, FILE, Reliability, as_json, calibrate, calibration_from,
        fit_calibration, logit, read_calibration, reliability, sigmoid, videos_needed
    csv_file: protect, read_scores, write_scores
    delong: DeLong, NORMAL_975, auc_covariance, delong, equality_test
    equal_error: equal_error
    evaluation_folder: Evaluation, FOLDER, METRICS_FILE, Plain, SCORES, cautions_beside,
        keep_older, new_evaluation, read_evaluation, write_metrics
    evaluate_scores: evaluate_scores, most_wrong, same_videos, sizes_of
    formulas: roc
    gate: STUDY, answer
    holm: holm
    metrics: METRICS, Measure, Metric, OURS, add_metric, brief_keys, calibration_keys,
        known_metrics, measure, measure_difference
    operating_point: OperatingPoint, operating_point, wilson
    results: Block, Calibrated, Coverage, Honesty, Options, Result, Sizes, UnsureZone
    spread: Spread, spread
    table: ABSENT, Scores, scores_table
    video_scores: RULES, video_scores
"""
