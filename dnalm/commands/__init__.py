"""One thin module per command: build, run, say where the result is."""
