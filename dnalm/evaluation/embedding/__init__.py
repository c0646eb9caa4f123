"""Vectors of sequences, tokens and bases from a trained model."""
