"""DNA on disk: alphabet, readers, the genome store, intervals, and the simulated clade."""
