"""Looking into a model: attention, substitutions, dependencies between bases, motifs."""
