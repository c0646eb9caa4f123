"""`dnalm compare`: bits per base of several models at the same bases, with the same stretches hidden.

The run directory holds `comparison.csv` and `.md` (a line a model), `differences.csv` (a line a pair of
models), `comparison.png` and `comparison.svg`, and `summary.json` with the same figures.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from dnalm.console import progress_bar, stdout
from dnalm.data import Corpus
from dnalm.errors import DataError
from dnalm.evaluation.baselines import count
from dnalm.evaluation.comparison import (
    CommonComparison,
    HeldOut,
    JudgedModel,
    compare_models,
    draw_places,
    plot_comparison,
    read_stretches,
    token_base_frequencies,
)
from dnalm.evaluation.inference import Device, LoadedModel, Precision
from dnalm.evaluation.interpretation.reader import require_both_sides, training_window
from dnalm.evaluation.report import leave_report
from dnalm.evaluation.strata import training_counts
from dnalm.limits import EACH_ONCE, NOT_EMPTY, Attempts, Seed, Tokens, ValidationWindows, WindowBases
from dnalm.models import Pretrained
from dnalm.paths import InputName
from dnalm.tables import markdown_text, replace_text, table_writer
from dnalm.training import RunDirectory

StretchBases = Annotated[int, Field(gt=0, le=1000)]
_PRINTED = 12  # pairs of models


def compare(
    *,
    models: Annotated[tuple[InputName, ...], NOT_EMPTY, EACH_ONCE],
    data: Corpus,
    run: RunDirectory,
    config: dict[str, object],
    stretch_bp: StretchBases = 6,
    places: ValidationWindows = 1000,
    draws: Attempts = 3,
    window_bp: WindowBases | None = None,
    seed: Seed = 1,
    batch_tokens: Tokens = 16_384,
    precision: Precision = "float32",
    device: Device = "auto",
) -> None:
    """Judge masked language models at the same bases, beside counts that see what each of them sees.

    Args:
        models: runs, model directories or `owner/name` on the hub; `…:untrained` for the twin of one.
        data: the genomes, divided as when the models were trained: what validates is judged, what trains is
            counted.
        run: the folder to leave.
        config: the composed config.
        stretch_bp: bases that are hidden together; tokens that reach beyond hide more.
        places: stretches of a draw.
        draws: how often places are drawn.
        window_bp: bases that every model reads around a stretch; the shortest training window of the models
            if absent.
        seed: of the draws.
        batch_tokens: tokens of a batch.
        precision: of matrix products.
        device: where to compute.

    Raises:
        CheckpointError: a model cannot be read, cannot predict tokens, or sees one side alone (MODEL-15).
        DataError: CMP-01, too little is held out; CMP-02, the stretch does not fit the window; CMP-03, a
            model cannot take it with the bases around it.
    """
    with run.opened(config, resumable=False):
        loaded = {
            name: LoadedModel.open(Pretrained(source=name), device=device, precision=precision)
            for name in models
        }
        for model in loaded.values():
            require_both_sides(model)
        window_bp = window_bp or min(training_window(model) for model in loaded.values())
        _check_window(stretch_bp, window_bp)
        data.prepare(())
        genomes = data.genomes(())
        held_out = [HeldOut(each.name, each.store, each.division.validation) for each in genomes]
        chosen = draw_places(
            held_out, stretch_bp=stretch_bp, window_bp=window_bp, count=places, draws=draws, seed=seed
        )
        run.create(config)
        texts = [each.training_text() for each in genomes if len(each.division.train)]
        counts = count([(text.store, text.regions) for text in texts])
        found = {}
        for name, model in loaded.items():
            counts_V = training_counts(model.tokenizer, texts)
            frequencies = token_base_frequencies(model.tokenizer, counts_V)
            with progress_bar(f"Judging {name}", total=len(chosen)) as done:
                found[name] = read_stretches(
                    model, held_out, chosen, frequencies, batch_tokens=batch_tokens, done=done
                )
        comparison = compare_models(held_out, counts, chosen, found)
        _leave(run, comparison, stretch_bp=stretch_bp, window_bp=window_bp, seed=seed)


def _check_window(stretch_bp: int, window_bp: int) -> None:
    if window_bp < 4 * stretch_bp:
        raise DataError(
            "CMP-02",
            where="stretch_bp",
            found=f"{stretch_bp} bases hidden in windows of {window_bp}",
            expected="a window at least four times as long as the stretch",
            fix=f"set stretch_bp={max(1, window_bp // 4)} or less, or a larger window_bp",
        )


def _leave(run: RunDirectory, found: CommonComparison, *, stretch_bp: int, window_bp: int, seed: int) -> None:
    """Tables, picture, summary, and what is printed."""
    rows = [
        [
            name,
            f"{each.bits:.4f} ± {each.standard_error:.4f}",
            " ".join(f"{draw:.4f}" for draw in each.draws),
            f"{each.hidden_bp:.1f}",
            f"{each.counts:.4f}",
            f"{each.of_tokens:.4f}",
            f"{each.over_counts.mean:+.4f} ± {each.over_counts.standard_error:.4f}",
            f"{each.over_tokens.mean:+.4f} ± {each.over_tokens.standard_error:.4f}",
        ]
        for name, each in sorted(found.models.items(), key=lambda item: item[1].bits)
    ]
    columns = ["model", "bits per base", "by draw", "hidden bp", "counts", "its tokens"]
    columns += ["less counts", "less its tokens"]
    with table_writer(run.path / "comparison.csv", columns) as write:
        for row in rows:
            write(row)
    replace_text(run.path / "comparison.md", markdown_text(columns, rows))
    pairs = [
        [*names, f"{each.mean:+.4f}", f"{each.standard_error:.4f}", f"{each.in_standard_errors:+.1f}"]
        for names, each in found.differences.items()
    ]
    with table_writer(
        run.path / "differences.csv", ["first", "second", "first less second", "standard error", "in errors"]
    ) as write:
        for row in pairs:
            write(row)
    pictures = [run.path / f"comparison.{kind}" for kind in ("png", "svg")]
    plot_comparison(found, pictures, stretch_bp=stretch_bp)
    about = {"stretch_bp": stretch_bp, "window_bp": window_bp, "seed": seed}
    summary = run.write_summary({**about, **_figures(found)})
    stdout.print(
        f"{found.num_bases:,} bases in {found.num_places:,} stretches of {stretch_bp}, in windows of "
        f"{window_bp}: order-0 entropy {found.order0:.4f}, counts of all but the stretch "
        f"{found.two_sided:.4f}"
    )
    for name, each in sorted(found.models.items(), key=lambda item: item[1].bits):
        stdout.print(_sentence(name, each))
    for first, second, mean, error, in_errors in pairs if len(pairs) <= _PRINTED else []:
        stdout.print(f"{first} less {second}: {mean} ± {error} ({in_errors} standard errors)")
    stdout.print(f"picture: {pictures[0]}")
    leave_report(run.path)
    stdout.print(f"summary: {summary}")


def _sentence(name: str, found: JudgedModel) -> str:
    beside = {
        "counts with its view": (found.counts, found.over_counts),
        "its tokens' frequencies": (found.of_tokens, found.over_tokens),
    }
    parts = [
        f"{what} {value:.4f} ({abs(over.mean):.4f} {'better' if over.mean < 0 else 'worse'}, "
        f"{abs(over.in_standard_errors):.1f} standard errors)"
        for what, (value, over) in beside.items()
    ]
    return f"{name}: {found.bits:.4f} ± {found.standard_error:.4f} bits per base; {'; '.join(parts)}"


def _figures(found: CommonComparison) -> dict[str, object]:
    figures = asdict(found)
    figures["differences"] = [
        {"first": first, "second": second, **asdict(each)}
        for (first, second), each in found.differences.items()
    ]
    return figures
