"""S3, S4, S7: any words of a command line are composed or refused in a sentence, and do nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dnalm.compose import read_config
from dnalm.compose.check import check
from dnalm.errors import ConfigError

BASE = ("experiment=dnabert", "size=tiny", "data=demo")
LONG_RUNS = int(os.environ.get("DNALM_FUZZ", "150"))

OF_HYDRA = [
    "hydra.run.dir=/etc/x", "hydra.searchpath=[/tmp]", "+hydra.searchpath=[/tmp]", "++hydra.output_subdir=x",
    "++hydra.job_logging.root=1", "hydra/launcher=joblib", "+hydra/launcher=x", "hydra/job_logging=x",
    "~hydra", "hydra=x", "hydra.job.chdir=true", "++hydra.callbacks.x._target_=os.system",
]  # fmt: skip
ELSEWHERE = [
    "size=../../../etc/passwd", "size=/etc/passwd", "experiment=../data/demo", "experiment@hydra=x",
    "+experiment@hydra.run=dnabert", "+size@hydra=tiny", "+@hydra=1", "'hydra.run.dir'=x",
    "override hydra/launcher=x", "data=[demo,fasta]",
]  # fmt: skip
ODD = [
    "=3", "a==3", "a.=3", ".a=3", "a[0]=1", "a=\0", "a=" + "[" * 3000 + "]" * 3000,
    "a=" + "{b:" * 500 + "1" + "}" * 500,
    "seed=${seed}", "a.b.c=${a}", "a=${eval:1}", "a=${hydra:run.dir}", "a=${oc.dict.values:x}", "~nothere",
    "seed=range(1,1000000000)", "a=glob(*)", "+a", "a=${a${b}}", "a=${" * 300,
]  # fmt: skip


@pytest.mark.parametrize("word", OF_HYDRA)
def test_hydra_itself_is_not_set(word: str) -> None:
    with pytest.raises(ConfigError, match=r"CFG-16 .*: a setting of Hydra itself; keys and groups"):
        read_config("pretrain", [*BASE, word])


@pytest.mark.parametrize("word", [*ELSEWHERE, *ODD])
def test_no_word_leads_elsewhere(word: str) -> None:
    with pytest.raises(ConfigError):
        read_config("pretrain", [*BASE, word])


def test_a_users_folder_may_not_set_hydra_either(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra:\n  run:\n    dir: /etc/x\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    with pytest.raises(ConfigError):
        check(read_config("pretrain", [*BASE, "experiment=mine"], extra_folder=tmp_path), command="pretrain")


@pytest.mark.parametrize(
    "name",
    [
        *("WANDB_API_KEY", "HF_TOKEN", "DNALM_TEST_SECRET", "PGPASSWORD", "DATABASE_URL", "SLACK_WEBHOOK"),
        *("AWS_ACCESS", "COOKIE", "SLURM_JWT", "MY_DIR", "PATH", "scratch", "SCRATCH2"),
    ],
)
def test_secrets_of_the_environment_do_not_enter_configs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary")
    with pytest.raises(ConfigError) as refused:
        read_config("pretrain", [*BASE, f"+a=${{oc.env:{name}}}"])
    assert f"CFG-33 ${{oc.env:{name}}}: an environment variable that configs may not read" in str(
        refused.value
    )
    assert "canary" not in str(refused.value)


def test_other_variables_of_the_environment_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert read_config("pretrain", [*BASE, "resume=${oc.env:SCRATCH}"])["resume"] == "/scratch/me"
    assert read_config("pretrain", [*BASE, "resume=${oc.env:SLURM_NOT_SET,here}"])["resume"] == "here"
    with pytest.raises(ConfigError, match="environment variable SLURM_NOT_SET is not set"):
        read_config("pretrain", [*BASE, "+a=${oc.env:SLURM_NOT_SET}"])


_watched: list[str] = []
_watching = [False]
_ACTS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "shutil.rmtree",
         "os.remove", "os.rename", "os.mkdir")  # fmt: skip


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching[0]:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in _ACTS:
        _watched.append(f"{event} {arguments!r}")


@contextmanager
def doing_nothing() -> Iterator[None]:
    """Assert that nothing is written, started or connected to; hooks cannot be taken away."""
    if not hasattr(sys, "_dnalm_hook"):
        sys.addaudithook(_hook)
        sys._dnalm_hook = True  # type: ignore[attr-defined]
    _watched.clear()
    _watching[0] = True
    try:
        yield
    finally:
        _watching[0] = False
    assert _watched == []


_TOKENS = st.sampled_from(
    [
        "a",
        "seed",
        "steps",
        "model",
        "optim",
        "data",
        "size",
        "experiment",
        "run.dir",
        "_target_",
        "hydra",
        "trainer",
        "=",
        "+",
        "++",
        "~",
        "@",
        ":",
        ",",
        ".",
        "/",
        "..",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "${",
        "}",
        "'",
        '"',
        "\\",
        "\n",
        "\0",
        " ",
        "*",
        "&",
        "!!python/name:os.system",
        "null",
        "true",
        "1e9",
        "0x1",
        "nan",
        "inf",
        "-1",
        "é",
        "空",
        "os.system",
        "torch.load",
        "oc.env:HOME",
        "oc.decode:",
        "choice:",
        "glob(*)",
        "range(1,9)",
        "sort(",
        "int(",
        "tiny",
        "demo",
        "/etc/passwd",
        "../x",
        "x" * 300,
    ]
)
_WORDS = st.lists(st.lists(_TOKENS, min_size=1, max_size=8).map("".join) | st.text(max_size=20), max_size=3)


@settings(max_examples=LONG_RUNS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_WORDS)
@example(["+_target_=os.system"])
@example(["model._target_=torch.load"])
def test_any_words_are_composed_or_refused_and_do_nothing(words: list[str]) -> None:
    """S4. What is composed is not built yet; `check` looks at it first."""
    said = "one line"
    with doing_nothing():
        try:
            read_config("pretrain", [*BASE, *words])
        except ConfigError as error:
            said = str(error)
    assert said.replace("\n", "").isprintable(), "nothing that could rewrite a terminal"
