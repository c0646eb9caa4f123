"""What is learned is never read: by name, by file, by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dnalm.errors import ConfigError
from dnalm.genome.store import GenomeStore
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels
from dnalm.genome.tracks import TrackStore
from dnalm.training.objectives import MaskedTokens, ObjectiveSet, check_sources
from dnalm.training.track_objectives import ChromatinState, Conservation, RegionClass

Stores = Callable[[dict[str, str]], GenomeStore]
WHY = (
    "inputs that tell nothing of a target, for the model would read the answer off its input (leakage). "
    "Fix: leave knowledge out of inputs, or leave objectives.genes out."
)


def refusal(*arguments: object, check: Callable[..., object] = check_sources) -> str:
    with pytest.raises(ConfigError) as caught:
        check(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_one_name_is_refused_with_the_objective_and_the_reason() -> None:
    objectives = {"masked": MaskedTokens(), "genes": RegionClass(track="knowledge")}
    assert refusal(objectives, "fixed", ("other", "knowledge"), check=ObjectiveSet) == (
        "CFG-30 inputs, objectives.genes: track 'knowledge', which that objective learns; " + WHY
    )


def test_an_input_twice_is_refused() -> None:
    message = "CFG-30 inputs: track 'a' twice; each input once. Fix: leave the second one out."
    assert refusal(None, "fixed", ("a", "b", "a"), check=ObjectiveSet) == message


def test_other_names_go_together() -> None:
    goals = ObjectiveSet(
        {"masked": MaskedTokens(), "genes": RegionClass(track="region")}, "fixed", ("knowledge",)
    )
    assert (goals.inputs, goals.targets) == (("knowledge",), ["region"])
    assert ObjectiveSet().inputs == ()


@pytest.fixture
def track(make_store: Stores, tmp_path: Path) -> Callable[..., TrackStore]:
    store = make_store({"chr1": "ACGT" * 10})

    def make(*files: tuple[str, str], classes: bool = False) -> TrackStore:
        """A track of files by name and text."""
        for name, text in files:
            (tmp_path / name).write_text(text)
        paths = {"x" if len(files) == 1 else name: tmp_path / name for name, _ in files}
        recipe = IntervalClasses(files=paths) if classes else IntervalLabels(files=paths, label_by="class")
        return recipe.prepare(store, tmp_path / "tracks")

    return make


A, B, C = "chr1\t0\t5\ta\n", "chr1\t3\t9\tb\n", "chr1\t30\t33\tc\n"
GENES = {"genes": ChromatinState(track="learned")}


def test_one_file_under_two_names_is_refused(track: Callable[..., TrackStore]) -> None:
    told, learned = track(("one.bed", A), ("copy.bed", B)), track(("two.bed", B), classes=True)
    tracks = {"knowledge": told, "learned": learned}
    assert refusal(("knowledge",), GENES, [{}, tracks]) == (
        "CFG-30 inputs, objectives.genes: track 'knowledge', made from copy.bed as track 'learned' is, which "
        "that objective learns; " + WHY
    )


def test_files_that_differ_and_say_the_same_are_refused(track: Callable[..., TrackStore]) -> None:
    tracks = {"knowledge": track(("a.bed", A)), "learned": track(("b.bed", "# a comment\n" + A))}
    assert "track 'knowledge', which says of every base what track 'learned' does" in refusal(
        ("knowledge",), GENES, [tracks]
    )


def test_other_annotations_are_no_leak(track: Callable[..., TrackStore]) -> None:
    tracks = {
        "knowledge": track(("a.bed", A)),
        "learned": track(("c.bed", C)),
        "further": track(("b.bed", B)),
    }
    check_sources(("knowledge", "further"), GENES, [tracks, {"knowledge": tracks["knowledge"]}, {}])
    check_sources(("knowledge",), {"none": Conservation(track="elsewhere")}, [tracks])
