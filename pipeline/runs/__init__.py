"""What a training leaves behind: its folder, checkpoints and what it says of itself.

Stands apart from `training`, because evaluation and prediction need a run, never the loop.

Interface, by file:
    checkpoint: Checkpoint, SUMS, belongs, forget_after, load_into, load_optimizer, newest,
        read_weights, save, split_optimizer, weights_in
    knowledge: Knowledge, Spread, knowledge_from
    networks: build_network, refuse_frozen_noise, resolve
    newest: CHECKPOINTS, RUN_FILE, list_runs, newest_answering_run, newest_run, saved
    provenance: known_of, plain, run_facts
    repeat: go_on, repeat
    run_folder: METRICS, Run, SPEED, config_from, load_model, new_run, open_run, read_document,
        write_run
    seeds: by_experiment, siblings
    summary: rank, summary
"""
