"""(8) A trained run and a manifest come in; scores, metrics with intervals and a report go out.

Independent of `prediction`: neither imports the other.

Interface, by file:
    board: board_of
    board_files: read_entries
    board_page: caution_lines, tables_of, write_board
    comparison: compare
    evaluate: across, evaluate
    page: Extras, evaluation_page
    probe: beside
    protocols: find_protocol
    robustness: PERTURBATIONS, Perturbation, add_perturbation
"""
