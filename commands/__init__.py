"""One file per command: options, one call into the pipeline, a summary for the terminal."""
