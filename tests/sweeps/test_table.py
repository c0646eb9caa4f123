"""Tables and ledgers hold whatever a job says, and always parse."""

import csv
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnalm.sweeps import Ledger, Record
from dnalm.sweeps.results import plot_sweep, read_summary, write_tables
from dnalm.tables import harmless, readable

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
records = st.builds(
    Record,
    job=texts,
    status=st.sampled_from(["running", "done", "failed"]),
    overrides=st.dictionaries(texts, texts, max_size=3),
    run=texts,
    log=texts,
    exit_code=st.none() | st.integers(-64, 255),
    seconds=st.none() | st.floats(0, 1e6),
    metrics=st.dictionaries(
        texts, st.none() | st.booleans() | st.integers() | st.floats() | texts, max_size=3
    ),
    error=texts,
)


@given(everything=st.lists(records, max_size=5))
def test_a_table_parses_and_no_cell_is_a_formula(everything: list[Record]) -> None:
    with TemporaryDirectory() as folder:
        write_tables(Path(folder), everything, "metric")
        with Path(folder, "table.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        markdown = Path(folder, "table.md").read_text(encoding="utf-8").split("\n")[:-1]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines) == 1 + len(everything)
    for cell in (cell for line in lines for cell in line if cell[:1] in ("=", "+", "-", "@")):
        assert cell[0] in "+-"
        if cell not in ("+", "-"):  # strands, which are no formulas
            float(cell)
    assert len(markdown) == 2 + len(everything)
    assert len({len(re.findall(r"(?<!\\)\|", line.replace(r"\\", ""))) for line in markdown}) == 1


def test_a_metric_that_is_called_as_a_setting_does_not_hide_it(tmp_path: Path) -> None:
    metrics: dict[str, float | str] = {"seed": 7, "model": "its title", "seconds": 1.5, "score": 0.25}
    overrides = {"model": "runs/x", "seed": "3"}
    record = Record(
        job="a", status="done", overrides=overrides, run="a", log="a.log", seconds=9, metrics=metrics
    )
    write_tables(tmp_path, [record], "score")
    with (tmp_path / "table.csv").open(newline="") as file:
        names, values = csv.reader(file)
    assert len({*names}) == len(names)
    row = dict(zip(names, values, strict=True))
    assert (row["model"], row["seed"], row["seconds"], row["score"]) == ("runs/x", "3", "9", "0.25")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("@x", "'@x"), ("-2+3", "'-2+3"), ("-2.5e-3", "-2.5e-3"),
        ("", ""),
        ("a=b", "a=b"), ("\t=1", "' =1"),
        ("a\r\nb", "a  b"),
    ],
)  # fmt: skip
def test_what_begins_a_formula_is_quoted_but_numbers(cell: str, shown: str) -> None:
    assert harmless(cell) == shown


@given(everything=st.lists(records, min_size=1, max_size=5), data=st.data())
def test_a_ledger_survives_a_cut_at_any_byte(everything: list[Record], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "sweep.jsonl")
        ledger = Ledger(path)
        for record in everything:
            ledger.append(record)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        kept = everything[: whole[:cut].count(b"\n")]
        again = Ledger(path)
        assert list(again.last) == list(dict.fromkeys(record.job for record in kept))
        again.append(everything[-1])
        assert Ledger(path).last.keys() == {record.job for record in [*kept, everything[-1]]}
        assert [json.loads(line)["job"] for line in path.read_text().splitlines()] == [
            record.job for record in [*kept, everything[-1]]
        ]


def test_lines_that_are_no_events_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    ledger = Ledger(path)
    ledger.append(Record(job="a", status="done", overrides={}, run="run", log="log"))
    with path.open("ab") as file:
        file.write(b'\0\0\0\n[]\n"x"\n{"job": "b"}\n\xff\n')
    assert list(Ledger(path).last) == ["a"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "1", '{"a": 1', "\0"])
def test_an_incomplete_summary_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(content)
    assert read_summary(tmp_path / "summary.json") is None
    assert read_summary(tmp_path / "absent/summary.json") is None


def test_a_summary_gives_its_plain_values(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"a": 1.5, "b": {"c": 1}, "d": NaN, "e": "x", "f": null}')
    assert read_summary(tmp_path / "summary.json") == {"a": 1.5, "e": "x", "f": None}


def test_the_plot_has_a_panel_for_each_axis_that_varies(tmp_path: Path) -> None:
    made = [
        Record(
            job=str(n),
            status="done",
            overrides={"lr": f"{10.0**-n}", "name": name, "same": "1"},
            run="",
            log="",
            metrics={"m": n * 0.5},
        )
        for n in range(1, 4)
        for name in "ab"
    ]
    assert plot_sweep(made, "m", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_sweep(made, "absent", tmp_path / "none.png")
    assert not plot_sweep(made[:1], "m", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_markdown_leaves_out_what_no_row_fills_and_digits_that_nobody_reads(tmp_path: Path) -> None:
    bits = 2.2648794663989027
    made = [
        Record(
            job="lr_0.1-00",
            status="done",
            overrides={"lr": "0.1"},
            run="a",
            log="a.log",
            exit_code=0,
            metrics={"bits": bits, "other": 1},
        ),
        Record(job="lr_0.2-11", status="running", overrides={"lr": "0.2"}, run="b", log="b.log"),
    ]
    write_tables(tmp_path, made, "bits")
    shown = (tmp_path / "table.md").read_text().splitlines()
    assert shown[0] == r"| job | lr | status | exit\_code | bits | run | log |"
    assert shown[2] == r"| lr\_0.1-00 | 0.1 | done | 0 | 2.2649 | a | a.log |"
    assert shown[3] == r"| lr\_0.2-11 | 0.2 | running |  |  | b | b.log |"
    assert str(bits) in (tmp_path / "table.csv").read_text()
    write_tables(tmp_path, made, "absent")
    assert "absent" not in (tmp_path / "table.md").read_text()
    write_tables(tmp_path, [], "bits")
    assert (tmp_path / "table.md").read_text().startswith(r"| job | status | exit\_code | seconds | bits |")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.2648794663989027, "2.2649"), (0.5, "0.5"), (0.00012345678, "0.00012346"), (1008389, "1,008,389"),
        (float("nan"), "nan"), (-0.25, "-0.25"), (True, "True"), ("mcc", "mcc"), (None, "undefined"),
    ],
)  # fmt: skip
def test_figures_are_shown_in_five_digits(value: object, shown: str) -> None:
    assert readable(value) == shown
