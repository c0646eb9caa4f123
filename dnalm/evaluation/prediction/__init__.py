"""Predictions of fine-tuned models: classes and values of sequences, of bases, and along genomes."""
