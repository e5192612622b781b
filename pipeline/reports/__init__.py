"""Bricks for what a person looks at: tables, plots, heat maps, pages.

Numbers come in; text, pictures and self-contained HTML go out, everything made safe first.

Interface, by file:
    blend_preview: blend_preview
    feature_map: embed
    heat: FRAMES, grad_cam, heat_of, last_map, overlay, seen, small
    honesty: honesty_lines, percent, zone_lines
    html: own_version, page, write_page
    plots: DARK, Picture, image_uri, lines, pictures_of, roc_plot, scatter
    printable: printable
    tables: Cell, NONE, Table, WRITERS, comma_separated, levels_table, metrics_table,
        number, plain, terminal
"""
