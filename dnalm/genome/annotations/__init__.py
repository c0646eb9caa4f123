"""Annotation files as users have them, read into intervals and values on a genome.

Inside, coordinates are 0-based and half-open; GFF and GTF count from 1 and are converted where a line of
theirs is read (`gff`). No library reads these formats strictly: pysam, pyBigWig and pandas-based readers
take wrong coordinates, phases and column counts without a word, so text is checked line by line here.
"""
