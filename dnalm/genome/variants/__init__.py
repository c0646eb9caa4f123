"""Variants as people have them: VCF, five columns without a header, or a table with one."""

from dnalm.genome.variants.alleles import Allele, Reason, judge
from dnalm.genome.variants.form import Form, find_form
from dnalm.genome.variants.records import Record, miscounted, num_values, read_records
from dnalm.genome.variants.survey import Survey, survey

__all__ = [
    "Allele",
    "Form",
    "Reason",
    "Record",
    "Survey",
    "find_form",
    "judge",
    "miscounted",
    "num_values",
    "read_records",
    "survey",
]
