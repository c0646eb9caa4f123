"""The page of runs: its numbers are those of the files, nothing in it runs, and what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.cli import _parse, main
from dnalm.errors import DataError
from dnalm.evaluation.charts import thinned
from dnalm.evaluation.plots import Curve
from dnalm.evaluation.report import report_page, write_report
from dnalm.evaluation.run_files import RunFiles, differences, flattened, read_runs

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
CONFIG = {
    "_target_": "dnalm.commands.pretrain.PretrainCommand",
    "model": {"hidden_size": 128, "annotations": []},
    "seed": 1,
}
BITS = {
    "val_bits_per_base": 1.9152595311994671,
    "hidden_bases": 16_151,
    "baseline_order0_bits": 1.996787272121553,
    "baseline_two_sided_bits": 1.9411572048013261,
    "over_two_sided": {"mean": -0.0258976736, "standard_error": None, "windows": 4_226},
}
SPECIES = {
    "worm": {**BITS, "val_bits_per_base": 1.9200030131608676, "hidden_bases": 7_001},
    "fly": {**BITS, "val_bits_per_base": 1.9150703339519112, "hidden_bases": 9_150},
}
SUMMARY = {
    "experiment": "dnabert",
    "parameters": 1_008_389,
    "steps": 60,
    "val_loss": 2.5097203254699707,
    **BITS,
    "species": SPECIES,
    "tokens_per_s": 34_441,
    "data_wait": 0.0643,
    "of_a_later_version": 0.123456789,
}
METRICS = "step,train_loss,learning_rate,val_loss,val_bits_per_base\n" + "".join(
    f"{step},{8 - step / 10},{step / 1e6},{'7.5,1.99' if step % 20 == 19 else ','}\n" for step in range(60)
)
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "nav",
        "section",
        "div",
        "h1",
        "h2",
        "p",
        "a",
    ),
    *("ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td", "data", "details", "summary"),
    *(
        "figure",
        "figcaption",
        "img",
        "svg",
        "g",
        "path",
        "rect",
        "line",
        "text",
        "defs",
        "clippath",
        "use",
        "image",
    ),
}


def make_run(folder: Path, *, metrics: str | None = METRICS, **files: object) -> Path:
    """A run directory; `config` and `summary` take the place of the usual ones."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(files.get("config", CONFIG)))
    (folder / "summary.json").write_text(json.dumps(files.get("summary", SUMMARY)))
    if metrics is not None:
        (folder / "metrics.csv").write_text(metrics)
    return folder


class Page(HTMLParser):
    """What a browser would see: tags, attributes, the text, and the exact numbers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.numbers: set[float] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "data":
            self.numbers.add(float(dict(attrs)["value"] or "nan"))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*folders: Path) -> str:
    return report_page(*read_runs(folders))


def plain_numbers(node: object) -> set[float]:
    if isinstance(node, Mapping):
        return {number for value in node.values() for number in plain_numbers(value)}
    return {float(node)} if isinstance(node, int | float) else set()


def test_every_number_of_the_summary_is_on_the_page_with_all_its_digits(tmp_path: Path) -> None:
    assert plain_numbers(SUMMARY) <= Page(page_of(make_run(tmp_path / "first"))).numbers


def test_figures_of_a_task_stand_beside_those_of_another_run(tmp_path: Path) -> None:
    figures = [0.9355030655860901, 0.8123456789012345]
    runs = [
        make_run(
            tmp_path / f"run_{number}",
            metrics=None,
            config={"_target_": "dnalm.commands.baseline.baseline", "seed": number},
            summary={"task": "enhancer", "metric": "mcc", "test": {"mcc": score}, "rows": {"test": 1_672}},
        )
        for number, score in enumerate(figures)
    ]
    page = Page(page_of(*runs))
    assert {*figures, 1_672.0} <= page.numbers
    assert "mcc (declared)" in page.text


def test_text_of_files_is_text_on_the_page(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    run = make_run(
        tmp_path / name,
        metrics=METRICS.replace("train_loss", f"'{HOSTILE}'").replace("learning_rate", r"$\frac{"),
        config={**CONFIG, HOSTILE: {"key": HOSTILE}, "turned": "\u202eabc"},
        summary={**SUMMARY, HOSTILE: HOSTILE, "species": {HOSTILE: BITS, "$x_{": BITS}},
    )
    (run / "a\" onerror='b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (run / "clusters.csv").write_text(f"vectors,<b>\n{HOSTILE},1\n")
    page = Page(page_of(run, make_run(tmp_path / "other")))
    assert page.tags <= ALLOWED
    assert [key for key, _ in page.attributes if key.startswith("on")] == []
    assert page.text.count(HOSTILE) >= 5
    assert name in page.text
    assert "\u202e" not in page.text
    assert r"\u202eabc" in page.text.replace("\\\\", "\\")


def test_nothing_of_the_page_lies_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    (run / "clusters.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page = page_of(run)
    assert "http" not in page.replace("http-equiv", "")
    assert re.findall(r"url\((?!#)|@import|<script|<link", page) == []
    places = [value or "" for key, value in Page(page).attributes if key in ("src", "href", "xlink:href")]
    assert places
    assert all(place.startswith(("#", "data:image/png;base64,")) for place in places)


def test_figures_are_whole_and_their_ink_is_that_of_the_page(tmp_path: Path) -> None:
    figures = re.findall(r"<figure><svg.*?</svg>", page_of(make_run(tmp_path / "first")), re.DOTALL)
    assert len(figures) == 4  # loss, bits per base, learning rate; bits of species
    for figure in figures:
        ElementTree.fromstring(figure.removeprefix("<figure>"))
        assert "currentColor" in figure
        assert "#000000" not in figure


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcde"), st.sampled_from([1, "1", None, True, [1]])), min_size=2
    )
)
def test_keys_that_differ_are_listed_and_no_others(configs: list[dict[str, object]]) -> None:
    runs = [
        RunFiles(name=str(n), path=Path(str(n)), config=flattened(each)) for n, each in enumerate(configs)
    ]
    missing = object()

    def unlike(key: str) -> bool:
        values = [(type(value), value) for value in (each.get(key, missing) for each in configs)]
        return any(value != values[0] for value in values)

    assert differences(runs).keys() == {key for each in configs for key in each if unlike(key)}


def test_two_configs_side_by_side_differ_where_they_do(tmp_path: Path) -> None:
    other = {**CONFIG, "model": {"hidden_size": 64, "annotations": []}, "run": {"dir": "b"}, "steps": 9}
    runs, _ = read_runs([make_run(tmp_path / "a"), make_run(tmp_path / "b", config=other)])
    assert differences(runs) == {"model.hidden_size": ["128", "64"], "steps": ["absent", "9"]}
    assert "pretrain: 2 keys differ" in Page(report_page(runs)).text


def test_a_loss_is_labelled_by_what_it_is_a_mean_over(tmp_path: Path) -> None:
    objectives = {"masked_tokens": {"loss": "per_base"}}
    tokens = make_run(tmp_path / "tokens")
    bases = make_run(tmp_path / "bases", config={**CONFIG, "objectives": objectives})
    units = {folders: re.findall(r"nats per [a-z ]+", page_of(*folders)) for folders in ((tokens,), (bases,))}
    assert set(units[tokens,]) == {"nats per masked token"}
    assert set(units[bases,]) == {"nats per base"}
    assert "nats per masked token or nats per base" in page_of(tokens, bases)


def test_what_is_missing_or_unreadable_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "killed", metrics=None)
    assert "killed: metrics.csv is missing" in page_of(run)
    (run / "metrics.csv").write_text("step,train_loss\n9,1.5\nten,1.4\n")
    (run / "summary.json").write_text("{")
    (run / "broken.png").write_bytes(b"GIF89a")
    page = Page(page_of(run)).text
    assert "killed: metrics.csv cannot be read: invalid literal" in page
    assert "killed: summary.json cannot be read: not JSON" in page
    assert "killed: broken.png cannot be read: it is no PNG" in page
    assert "model.hidden_size" in page


KEYS = (
    *(
        "species",
        "objectives",
        "val",
        "test",
        "rows",
        "data",
        "metric",
        "mean",
        "model",
        "baseline",
        "results",
    ),
    *("val_bits_per_base", "baseline_order0_bits", "over_two_sided", "results", "intervals", "genomes"),
    *("mcc", "steps"),
)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=5))
ANY = st.recursive(
    PLAIN,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=4),
    max_leaves=12,
)
ANYTHING = st.dictionaries(st.sampled_from(KEYS), ANY, max_size=6)


@settings(max_examples=60)
@given(ANYTHING, ANYTHING)
def test_whatever_a_summary_holds_there_is_a_page(
    summary: dict[str, object], provenance: dict[str, object]
) -> None:
    run = RunFiles(name="odd", path=Path("odd"), summary=summary, provenance=provenance)
    assert Page(report_page([run])).tags <= ALLOWED


def test_a_folder_that_is_no_run_is_one_error_and_nothing_is_written(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"REPORT-01 .*: .*; the folder of a run"):
            write_report([folder], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_a_long_run_is_hardly_larger(tmp_path: Path) -> None:
    def long(rows: int) -> str:
        return "step,train_loss\n" + "".join(f"{step},{(step * 7919) % 1000 / 7}\n" for step in range(rows))

    short, whole = (len(page_of(make_run(tmp_path / f"{n}", metrics=long(n)))) for n in (300, 30_000))
    assert abs(whole - short) < 5_000
    assert whole < 150_000


def test_points_of_a_long_curve_are_means_of_its_pieces() -> None:
    steps, values = thinned(Curve(list(range(1, 601)), [float(n % 2) for n in range(600)]))
    assert steps == [n + 0.5 for n in range(1, 601, 2)]
    assert values == [0.5] * 300


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    target = write_report([run], run / "report.html")
    before = target.read_bytes()
    assert write_report([run], target).read_bytes() == before


def test_a_sweep_stands_for_its_jobs_and_shows_its_table(tmp_path: Path) -> None:
    for name in ("job_1", "job_2"):
        make_run(tmp_path / "sweep" / name)
    (tmp_path / "sweep/sweep.jsonl").touch()
    (tmp_path / "sweep/table.csv").write_text("job,status\njob_1,done\njob_2,'=failed\n")
    runs, notes = read_runs([tmp_path / "sweep"])
    assert [run.name for run in runs] == ["sweep", "job_1", "job_2"]
    assert [run.command for run in runs] == ["sweep", "pretrain", "pretrain"]
    (table,) = runs[0].tables
    assert table.rows == [["job_1", "done"], ["job_2", "=failed"]]
    assert notes == []


def test_the_page_of_a_sweep_leads_to_those_of_its_jobs(tmp_path: Path) -> None:
    jobs = [make_run(tmp_path / "sweep" / name) for name in ("lr=1 [a]", "lr=2")]
    (tmp_path / "sweep/sweep.jsonl").touch()
    write_report(jobs[:1], jobs[0] / "report.html")
    page = Page(write_report([tmp_path / "sweep"], tmp_path / "sweep/report.html").read_text())
    places = [value or "" for key, value in page.attributes if key == "href"]
    assert {place for place in places if not place.startswith("#")} == {"lr%3D1%20%5Ba%5D/report.html"}
    assert (tmp_path / "sweep" / unquote(places[-1])).is_file()
    elsewhere = Page(write_report([tmp_path / "sweep"], jobs[1] / "page.html").read_text())
    assert all((value or "").startswith("#") for key, value in elsewhere.attributes if key == "href")


STRATA = """group,stratum,about,hidden_bases,windows,bits_per_base,bits_per_base_se,order0_bits,\
order0_bits_se,two_sided_bits,two_sided_bits_se,over_two_sided,over_two_sided_se,masked_tokens,accuracy,accuracy_se
all,all,,9000,400,1.91,0.01,1.99,0.01,1.93,0.01,-0.02,0.01,30000,0.0123456,0.001
region,CDS,,4000,200,1.95,,2.0,0.01,1.96,0.01,-0.01,0.01,0,,
region,<b>intron,,5000,200,1.87,0.01,1.98,0.01,1.9,0.01,-0.03,0.01,0,,
token frequency,1,rare ones,4500,300,1.99,0.01,2.0,0.01,2.01,0.01,-0.02,0.01,15000,0.001,0.0005
token frequency,10,frequent ones,4500,300,1.83,0.01,1.9,0.01,1.8765432,0.01,-0.02,0.01,15000,0.0234567,0.001
token frequency,none,not a tenth,0,0,,,,,,,,,0,,
""".replace("\\\n", "")


def test_bits_and_accuracy_by_part_are_those_of_the_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    (run / "strata.csv").write_text(STRATA)
    page = Page(page_of(run))
    assert {1.8765432, 0.0123456, 0.0234567, 15_000.0} <= page.numbers
    assert "<b>intron" in page.text
    for caption in (
        "bits per base by region",
        "bits per base by token frequency",
        "accuracy by token frequency",
    ):
        assert f"first: {caption}" in page.text
    (run / "strata.csv").write_text(STRATA.replace("1.8765432", "much"))
    assert "first: strata.csv cannot be read: could not convert string to float" in page_of(run)


def test_points_of_a_map_are_drawn_by_label_in_place_of_the_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    (run / "clusters.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = [f"model,{method},{n % 7},{n % 5},label {n % 3}" for method in ("pca", "umap") for n in range(90)]
    (run / "map.csv").write_text("\n".join(["vectors,method,x,y,label", *rows]))
    ((read,), _) = read_runs([run])
    assert {key: {label: len(at) for label, at in of.items()} for key, of in read.maps.items()} == {
        ("model", method): {f"label {n}": 30 for n in range(3)} for method in ("pca", "umap")
    }
    text = page_of(run)
    assert [f"first: model, {method}" in text for method in ("PCA", "UMAP")] == [True, True]
    assert "clusters.png" not in text


def test_a_benchmark_has_one_axis_for_all_tasks_of_a_metric(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "bench")
    pairs = [(task, model, n) for task in ("x", "y") for model, n in (("one", 4), ("two", 6))]
    lines = [f"{task},mcc,{model},ours,0.{n},0.{n - 1},0.{n + 1},1 2 3," for task, model, n in pairs]
    header = "task,metric,model,from,mean,low,high,seeds,error"
    (folder / "benchmark.csv").write_text("\n".join([header, *lines, "x,mcc,paper,a.csv,0.9,,,,"]))
    charts = re.findall(r"<figcaption>(bench: mcc[^<]*)", page_of(folder))
    assert charts == ["bench: mcc on the test sets, with 95 % intervals"]
    assert {0.3, 0.4, 0.5, 0.6, 0.7, 0.9} <= Page(page_of(folder)).numbers


@pytest.mark.parametrize("command", ["predict.predict", "embed.embed"])
def test_a_folder_that_holds_but_a_file_and_its_summary_has_a_page(tmp_path: Path, command: str) -> None:
    about = {"out": "x.tsv", "sequences": 12_345, "counts": {"promoter": 678}, "config": {
        "_target_": f"dnalm.commands.{command}"}}  # fmt: skip
    (tmp_path / "x.tsv.summary.json").write_text(json.dumps(about))
    (run,), _ = read_runs([tmp_path])
    assert run.command == command.partition(".")[0]
    assert run.notes == []
    page = Page(report_page([run]))
    assert {12_345.0, 678.0} <= page.numbers
    assert "counts.promoter" in page.text
    assert "_target_" not in page.text


def test_scored_variants_show_figures_and_a_distribution(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    (run / "scored.tsv").write_text("chrom\tllr\tskipped\nchr1\t-1.5\t\nchr1\t\tmismatch\nchr1\t2.5\t\n")
    figures = {"score": "llr", "auroc": 0.7123456, "auroc_low": 0.6, "auroc_high": 0.8}
    about = {"scores": ["llr"], "evaluation": [figures]}
    (run / "scored.tsv.summary.json").write_text(json.dumps(about))
    page = Page(page_of(run))
    assert 0.7123456 in page.numbers
    assert "scored.tsv, llr of 2 alleles" in page.text
    assert "scored.tsv, auroc with 95 % intervals" in page.text


def test_plain_words_are_folders_whatever_letters_they_have() -> None:
    line = _parse(["report", "runs/a, b", "runs/c", "out=x.html"])
    assert line.overrides == ["out=x.html", 'runs=["runs/a, b","runs/c"]']


def test_the_command_writes_into_one_folder_and_beside_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(make_run(tmp_path / name)) for name in ("a [1]", "b")]
    for words, place in ((runs[:1], tmp_path / "a [1]"), (runs, tmp_path)):
        with pytest.raises(SystemExit, match="0"):
            main(["report", *words])
        assert capsys.readouterr().out == f"report: {place / 'report.html'}\n"
        assert Page((place / "report.html").read_text()).tags <= ALLOWED


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """<!DOCTYPE html><body><script>
const widths = [1280, 400], found = {};
const done = widths.map(width => new Promise(finish => {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    found[width] = {
      wide: page.documentElement.scrollWidth,
      figures: [...page.querySelectorAll("figure > *:first-child")].map(each => {
        const box = each.getBoundingClientRect(); return [box.left, box.right, box.height];
      }),
    };
    finish();
  };
  document.body.append(frame);
}));
Promise.all(done).then(() => {
  const text = document.createElement("pre"); text.id = "found";
  text.textContent = JSON.stringify(found); document.body.append(text);
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_every_figure_on_a_desk_and_on_a_telephone(tmp_path: Path) -> None:
    """At 1,280 and 400 px: no error, no figure cut, nothing to scroll sideways."""
    assert BROWSER is not None
    runs = [make_run(tmp_path / name) for name in ("first", "a_run_of_a_very_long_name" * 4)]
    (runs[0] / "tall.png").write_bytes(
        (Path(__file__).parents[2] / "experiments/peaks/balance.png").read_bytes()
    )
    (runs[0] / "strata.csv").write_text(STRATA)
    rows = [f"model,{method},{n % 7},{n % 5},label {n % 3}" for method in ("pca", "umap") for n in range(90)]
    (runs[0] / "map.csv").write_text("\n".join(["vectors,method,x,y,label", *rows]))
    write_report(runs, tmp_path / "report.html")
    (tmp_path / "measure.html").write_text(MEASURE)
    words = "--headless --no-sandbox --disable-gpu --allow-file-access-from-files --enable-logging=stderr"
    words += f" --virtual-time-budget=20000 --user-data-dir={tmp_path / 'profile'} --dump-dom"
    done = subprocess.run(
        [BROWSER, *words.split(), (tmp_path / "measure.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    written = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert written, done.stderr
    for width, seen in json.loads(written[1]).items():
        assert seen["wide"] <= int(width)
        # 3 charts of curves; bits by region and by frequency, and by species of the other run; accuracy; 2
        # maps; the picture
        assert len(seen["figures"]) == 10
        assert all(left >= 0 and right <= int(width) and high > 60 for left, right, high in seen["figures"])
