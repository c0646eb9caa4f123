"""A simulated clade: genomes whose truth is known, in the files that users have.

`simulate(Clade(), folder)` writes several species that descend from one ancestor; `find_or_simulate` keeps
them in a cache. Equal parameters give equal bytes; the parts draw from independent streams, so that more
variants, say, leave the genomes as they are.

What is planted, and where it is written:

- Isochores of different GC with rare CpG; repeat families (soft-masked in the FASTA, `repeats.bed`).
- Genes (`gff3`): promoter with TATA box or CpG island, initiator, factor sites; 5'UTR, start codon, codons
  with a human-like usage, introns GT..AG with branch point and polypyrimidine tract, 3'UTR, AATAAA.
- Enhancers of 3-5 motifs in a set order and spacing, insulators with a CTCF-like site (`gff3`, `motifs.bed`).
  An enhancer is active in a tissue exactly if it holds the tissue's master motif (`<tissue>.states.bed`).
- Selection: each kind of site has its rate (`conservation.bw`); codons and motifs stay functional in every
  species; insertions and deletions fall in unconstrained DNA, and annotations follow them.
- Variants that break motifs or splice sites, each with a neutral partner (`variants.vcf`).
- Labelled windows of three tasks, split by contig (`tasks/`), and where each gene lies in each species
  (`orthologs.tsv`).

The README that is written beside the files gives the numbers, the motifs and the grammar.
"""

from dnalm.simulation.evolution import Species
from dnalm.simulation.sequence import MOTIFS, Feature, Motif
from dnalm.simulation.settings import Clade
from dnalm.simulation.simulate import clade_folder, find_or_simulate, grow, is_finished, simulate

__all__ = [
    "MOTIFS",
    "Clade",
    "Feature",
    "Motif",
    "Species",
    "clade_folder",
    "find_or_simulate",
    "grow",
    "is_finished",
    "simulate",
]
