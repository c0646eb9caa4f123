"""What the README and the pages show works, and the numbers they give are recomputed."""

import re
import shlex
from pathlib import Path

import pytest

from dnalm import grants
from dnalm.cli import _parse
from dnalm.compose import build, read_config
from dnalm.compose.check import check
from dnalm.compose.groups import options
from dnalm.compose.help import EXAMPLES
from dnalm.models import count_parameters
from dnalm.sweeps.command_line import read_sweep

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs/models.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = ("config.md", "errors.md", "commands.md")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]\n]*\]\(([^)\s]+)\)")
FILES = """
    brain.bed data/variants/README dev.csv dnabert2/tokenizer.json genes.gff3 hg19.2bit hg19.fa.gz
    hg38.2bit jaspar.meme liver.bed my_species.tsv peaks.bed phylop.bw runs/bpe/tokenizer.json
    sacCer3.fa.gz sacCer3.gff3.gz
    Sarb.gff3.gz sequences.fa SK1.gff3.gz test.csv train.csv variants.vcf.gz runs/mine/config.yaml
    runs/mine/model/config.json runs/seed2/config.yaml runs/seed2/model/config.json
"""


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def command_lines() -> list[str]:
    """Lines of bash blocks that call dnalm, and examples of `--help`, each once."""
    text = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
    lines = [
        line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    lines += [f"dnalm {command} {words}" for command, examples in EXAMPLES.items() for words in examples]
    return list(dict.fromkeys(line.rstrip() for line in lines if line.startswith("dnalm ")))


def links(page: Path) -> list[str]:
    """Targets of a page's links and pictures within the repository."""
    return [link for link in LINK.findall(FENCED.sub("", page.read_text())) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """What GitHub and mkdocs call the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_commands_are_found() -> None:
    assert len(command_lines()) > 50


@pytest.mark.parametrize("line", command_lines())
def test_every_command_composes_and_checks(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_configs/experiment").mkdir(parents=True)
    (tmp_path / "my_configs/experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n  - dnabert\n")
    for name in FILES.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    typed = _parse(shlex.split(line, comments=True)[1:])
    command, words, extra = typed.command or "pretrain", typed.overrides, typed.config_dir
    if "--multirun" in typed.flags:
        plan = read_sweep(command, words, config_dir=extra)
        jobs = build(plan.settings["hparams_search"]).known(plan.axes, [])
        assert [plan.wrong_with(plan.make_job(tmp_path, overrides)) for overrides in jobs] == [""] * len(jobs)
        return
    if typed.is_explained:
        words = [word for word in words if word != "json=true"]
    config = read_config(command.replace(" ", "_"), words, extra_folder=extra)
    check(config, given=frozenset({"config"}), command=command)


def test_a_component_of_ones_own_is_built_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/components.md").read_text()
    python, yaml, console = (
        page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "yaml", "console")
    )
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg/__init__.py").write_text(python)
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule/wave.yaml").write_text(yaml)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(grants, "current", grants.Grants())
    _, _, command, *words = shlex.split(console.replace("\\\n", " "))
    place = words.index("--config-dir")
    del words[place : place + 2]
    config = read_config(command, grants.take_grants([*words, "data=demo"]), extra_folder=tmp_path)
    check(config, given=frozenset({"config"}), command=command)
    schedule = build(config["schedule"])(total_steps=10**6)
    assert [round(schedule(step), 6) for step in (500_000, 10**6)] == [0.55, 0.1]
    assert type(build(config["trainer"]).callbacks[0]).__name__ == "SayHello"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_parameters_in_the_tables_are_those_of_the_model(experiment: str) -> None:
    config = read_config("pretrain", [f"experiment={experiment}"])
    node = {name: value for name, value in config["model"].items() if not name.startswith("_")}
    vocabulary = build(config["tokenizer"]).vocab_size
    count = count_parameters({**node, "vocab_size": vocabulary, "mask_id": 2})
    for text, shown in ((MODELS, f"{count:,}"), (README, f"{count / 1e6:.{0 if count > 1e7 else 1}f}")):
        (row,) = (line for line in text.splitlines() if line.startswith("|") and f"`{experiment}`" in line)
        _, names, _, _, counts, *_ = row.split("|")
        numbers = [number.rstrip(",") for number in re.findall(r"\d[\d.,]*", counts)]
        assert numbers[re.findall(r"\w+", names).index(experiment) % len(numbers)] == shown


def test_the_readme_is_short() -> None:
    assert len(README) <= 7000


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or folder of the repository, and its anchor a heading there."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=named)
def test_keys_that_a_text_names_exist(page: Path) -> None:
    """Every `group=` is a folder of `conf/`, the last word of every other `key=` an argument of something."""
    groups = {
        path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*") if path.is_dir()
    }
    keys = set(re.findall(r"^\| (\w+) \|", (ROOT / "docs/config.md").read_text(), re.MULTILINE))
    elsewhere = {
        "a",
        "env",
        "plugins",
        "offline",
        "trust_remote_code",
    }  # Hydra's grammar, the program, libraries
    codes = re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text()))
    words = [word for code in codes for word in re.findall(r"(?:^|\s|\[)([a-z_/]+(?:\.[a-z_<>]+)*)=", code)]
    assert [word for word in words if word.split(".")[-1] not in keys | groups | elsewhere] == []


def test_every_page_is_reached_from_the_index() -> None:
    """By links from page to page."""
    docs = ROOT / "docs"
    reached, todo = set(), [docs / "index.md"]
    while todo:
        page = todo.pop()
        if page not in reached and page.suffix == ".md" and page.is_relative_to(docs):
            reached.add(page)
            paths = [link.partition("#")[0] for link in links(page)]
            todo += [(page.parent / path).resolve() for path in paths if path]
    assert reached == set(docs.rglob("*.md"))


def test_no_marker_of_a_merge_is_left() -> None:
    for page in PAGES:
        assert not re.search(r"^(<<<<<<<|>>>>>>>|=======$)", page.read_text(), re.MULTILINE), page


def test_make_has_the_targets_that_are_named() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:`|\n|; )make ([\w.-]+)", text))
    assert {"demo", "test", "test-all", "check", "bench-gpu"} <= named
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
