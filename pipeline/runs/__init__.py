"""What a training leaves behind: its folder, checkpoints and what it says of itself.

Stands apart from `training`, because evaluation and prediction need a run, never the loop.

Interface, by file:
    checkpoint: Checkpoint, FOLDER, SUMS, belongs, forget_after, load_into, load_optimizer,
        newest, save, saved, split_optimizer, weights_in
    knowledge: Knowledge, Spread, knowledge_from
    networks: build_network, resolve
    provenance: known_of, plain, run_facts
    repeat: go_on, repeat
    run_folder: METRICS, RUN_FILE, Run, SPEED, config_from, list_runs, load_model, new_run,
        newest_answering_run, newest_run, open_run, read_document, write_run
    summary: rank, summary
"""
