"""A track is made once, whole or not at all, for one genome, and gives the same in any process."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnalm.errors import DataError
from dnalm.genome import track_recipes as building
from dnalm.genome.store import GenomeStore, build_store, open_or_build
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal
from dnalm.genome.tracks import TrackContent, TrackManifest, TrackStore
from tests.genome.conftest import NUM_BASES, Write

LINES = ("chr1 2 4 a 5", "chr1 4 20 b 7", "chr2 0 20 c 1")


def recipe_of(kind: str, path: Path) -> IntervalClasses | IntervalLabels | Signal:
    if kind == "values":
        return Signal(file=path)
    if kind == "classes":
        return IntervalClasses(files={"x": path})
    return IntervalLabels(files={"x": path}, label_by="class")


@pytest.fixture(params=["classes", "labels", "values"])
def track(request: pytest.FixtureRequest, store: GenomeStore, write: Write, tmp_path: Path) -> TrackStore:
    track = recipe_of(request.param, write("a.bed", *LINES)).prepare(store, tmp_path / "t")
    assert track.kind == request.param
    return track


def test_windows_are_pieces_of_the_whole(track: TrackStore) -> None:
    whole = track.read(0, NUM_BASES)
    for start in range(NUM_BASES + 1):
        for end in range(start, NUM_BASES + 1):
            np.testing.assert_array_equal(track.read(start, end), whole[start:end])
    assert track.num_bases == len(whole) == NUM_BASES


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, NUM_BASES + 1)])
def test_windows_outside_the_genome_are_errors(start: int, end: int, track: TrackStore) -> None:
    with pytest.raises(ValueError, match=rf"\[{start}, {end}\) does not lie within \[0, {NUM_BASES}\)"):
        track.read(start, end)


def read_in_child(track: TrackStore, pipe: multiprocessing.connection.Connection) -> None:  # type: ignore[name-defined]
    pipe.send([track.read(start, start + 7).tolist() for start in range(NUM_BASES - 7)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(method: str, track: TrackStore) -> None:
    expected = [track.read(start, start + 7).tolist() for start in range(NUM_BASES - 7)]
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=read_in_child, args=(track, sender))
    child.start()
    found = receiver.recv()
    child.join()
    np.testing.assert_equal(found, expected)
    copy = pickle.loads(pickle.dumps(track))
    np.testing.assert_array_equal(copy.read(0, 9), track.read(0, 9))


def test_manifest_survives_its_json(track: TrackStore) -> None:
    fields = json.loads(track.manifest.to_json())
    del fields["format"], fields["version"]
    assert TrackManifest.from_fields(fields) == track.manifest
    assert [source.name for source in track.manifest.sources] == ["a.bed"]


def test_opening_needs_the_same_genome(track: TrackStore, store: GenomeStore, tmp_path: Path) -> None:
    assert TrackStore.open(track.path, store).fingerprint == track.fingerprint
    (tmp_path / "other.fa").write_text(">chr1\nACGT\n")
    other = build_store(tmp_path / "other.fa", tmp_path / "other")
    with pytest.raises(DataError) as caught:
        TrackStore.open(track.path, other)
    assert str(caught.value) == (
        f"TRACK-07 {track.path}: the track belongs to genome.fa (fingerprint {store.fingerprint}); "
        f"other.fa (fingerprint {other.fingerprint}). Fix: prepare the track for this genome."
    )


def test_damaged_tracks_are_noticed(track: TrackStore, store: GenomeStore) -> None:
    manifest, entry = track.path / "manifest.json", track.manifest.files[0]
    text, content = manifest.read_text(), (track.path / entry.name).read_bytes()
    fields = json.loads(text)

    def check(words: str) -> None:
        with pytest.raises(DataError, match=rf"{words}.*Fix: delete the folder, it is rebuilt"):
            TrackStore.open(track.path, store)

    (track.path / entry.name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    check(f"TRACK-06 .*the checksum of {entry.name} differs")
    (track.path / entry.name).write_bytes(content[:-1])
    check(f"TRACK-05 .*{entry.name} has {len(content) - 1} bytes; {len(content)} by its manifest")
    (track.path / entry.name).unlink()
    check(f"TRACK-04 .*{entry.name} is missing")
    manifest.write_text(json.dumps(fields | {"version": 99}))
    check("TRACK-03 .*format version 99; version 1")
    for damaged in ("{", "[]", json.dumps({key: fields[key] for key in list(fields)[:5]}), "\udcff"):
        manifest.write_text(damaged, errors="surrogateescape")
        check("TRACK-02 .*manifest.json is damaged")
    manifest.unlink()
    check("TRACK-01 .*manifest.json is missing")


def test_second_preparation_makes_nothing(
    store: GenomeStore, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = IntervalClasses(files={"x": write("a.bed", *LINES)})
    first = recipe.prepare(store, tmp_path / "t")
    monkeypatch.setattr(IntervalClasses, "_write", lambda *_: pytest.fail("made again"))
    assert recipe.prepare(store, tmp_path / "t").path == first.path
    assert first.path.name.startswith("IntervalClasses-a-")


def test_another_file_recipe_or_genome_makes_another_track(
    store: GenomeStore, write: Write, tmp_path: Path
) -> None:
    path = write("a.bed", *LINES)
    (tmp_path / "other.fa").write_text(">chr1\n" + "A" * 31 + "\n>chr2\n" + "A" * 30 + "\n")
    other = open_or_build(tmp_path / "other.fa", tmp_path)
    recipes = [
        IntervalClasses(files={"x": path}),
        IntervalClasses(files={"x": path}, background="none"),
        IntervalLabels(files={"x": path}),
    ]
    paths = {recipe.prepare(genome, tmp_path / "t").path for recipe in recipes for genome in (store, other)}
    write("a.bed", *LINES, "chr2 0 20 c 1")
    paths.add(recipes[0].prepare(store, tmp_path / "t").path)
    assert len(paths) == 7


def test_default_cache_is_the_users(
    store: GenomeStore, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building.platformdirs, "user_cache_path", lambda name: tmp_path / "home" / name)
    track = IntervalLabels(files={"x": write("a.bed", *LINES)}).prepare(store)
    assert track.path.parent == tmp_path / "home/dnalm/tracks"


def test_absent_and_growing_sources_are_errors(
    store: GenomeStore, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"TRACK-11 .*absent.bed: the file cannot be read"):
        IntervalLabels(files={"x": tmp_path / "absent.bed"}).prepare(store, tmp_path / "t")
    path = write("a.bed", *LINES)

    def write_and_grow(self: Signal, store: GenomeStore, folder: Path) -> TrackContent:
        content = original(self, store, folder)
        path.write_text(path.read_text() + "#\n")
        return content

    original = Signal._write
    monkeypatch.setattr(Signal, "_write", write_and_grow)
    with pytest.raises(DataError, match=r"TRACK-12 .*changed while it was read"):
        Signal(file=path).prepare(store, tmp_path / "t")
    assert [entry for entry in (tmp_path / "t").iterdir() if entry.suffix != ".lock"] == []


def test_notes_are_printed_once_and_kept(
    store: GenomeStore, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(building.stderr, "print", said.append)
    recipe = IntervalClasses(files={"x": write("a.bed", *LINES, LINES[0])})
    notes = recipe.prepare(store, tmp_path / "t").manifest.notes
    assert said == list(notes)
    assert "BED-14" in notes[0]
    recipe.prepare(store, tmp_path / "t")
    assert len(said) == 1


def prepare_and_log(path: Path, store: GenomeStore, folder: Path, start: threading.Barrier) -> None:
    """In a child: prepare at the same time as others, and log whether it was made here."""
    write = Signal._write

    def logged(*arguments: Any) -> TrackContent:  # noqa: ANN401
        with (folder / "log").open("a") as file:
            file.write("made\n")
        return write(*arguments)

    Signal._write = logged  # type: ignore[method-assign]
    start.wait()
    assert Signal(file=path).prepare(store, folder / "t").num_bases == NUM_BASES


def test_processes_that_start_together_make_it_once(store: GenomeStore, write: Write, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (write("a.bed", *LINES), store, tmp_path, context.Barrier(2))
    children = [context.Process(target=prepare_and_log, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_classes_are_read_at_20000_windows_a_second(tmp_path: Path) -> None:
    (tmp_path / "genome.fa").write_text(">chr1\n" + "ACGT" * 250_000 + "\n")
    store = open_or_build(tmp_path / "genome.fa", tmp_path)
    lines = [f"chr1\t{start}\t{start + 90}\t{start // 100 % 13}\n" for start in range(0, 1_000_000, 100)]
    (tmp_path / "a.bed").write_text("".join(lines))
    track = IntervalClasses(files={"x": tmp_path / "a.bed"}).prepare(store, tmp_path / "t")
    starts = np.random.default_rng(0).integers(0, 999_000, 5_000).tolist()
    begin = time.process_time()
    num_covered = sum(int((track.read(start, start + 1000) != 255).sum()) for start in starts)
    assert num_covered / 5_000_000 == pytest.approx(0.9, abs=0.001)
    assert 5_000 / (time.process_time() - begin) > 20_000
