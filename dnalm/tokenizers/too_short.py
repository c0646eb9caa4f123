"""The one rule that every tokenizer has for its input."""

from __future__ import annotations

from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes


def require_bases(codes: Codes, least: int, *, unit: str) -> None:
    """Refuse a sequence that is too short to spell a token.

    Args:
        codes: (L,) the sequence.
        least: bases that one token needs.
        unit: what a token is, such as `6-mer`.

    Raises:
        DataError: SEQ-01.
    """
    if len(codes) < least:
        raise DataError(
            "SEQ-01",
            where="sequence",
            found=f"{len(codes)} bases",
            expected=f"at least {least} {'base' if least == 1 else 'bases'} to spell one {unit}",
            fix="drop such sequences" + (" or choose a smaller k" if least > 1 else ""),
        )
