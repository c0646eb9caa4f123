"""What a variant does, as a model sees it: scores of both alleles, over whole files."""
