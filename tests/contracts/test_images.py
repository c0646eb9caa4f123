"""The images: pinned, not root, with what the wheel has; their pip lines install a program that answers.

No Docker daemon is needed: what `COPY` copies is laid out in a folder, and `RUN pip` lines run there in a new
environment, unless no registry answers. That is among the slow tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
import yaml

import dnalm

ROOT = Path(__file__).parents[2]
IMAGES = ("Dockerfile", "Dockerfile.cpu")


def instructions(image: str, name: str) -> list[str]:
    text = (ROOT / "docker" / image).read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_pinned_and_does_not_run_as_root(image: str) -> None:
    (base,) = instructions(image, "FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    pips = [run for run in instructions(image, "RUN") if run.startswith("pip ")]
    assert pips
    assert [run for run in pips if "--constraint constraints.txt" not in run] == []
    (user,) = instructions(image, "USER")
    assert user == "dnalm"
    text = (ROOT / "docker" / image).read_text()
    assert text.index("pip install") < text.index("\nUSER") < text.index("\nENTRYPOINT")


def test_both_images_hold_the_same_files_and_compose_builds_both() -> None:
    assert instructions("Dockerfile", "COPY") == instructions("Dockerfile.cpu", "COPY")
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    assert {service["build"]["dockerfile"] for service in services.values()} == {
        f"docker/{image}" for image in IMAGES
    }
    assert all(
        (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT for service in services.values()
    )


def lay_out(image: str, folder: Path) -> None:
    """What an image's COPY lines put into its working folder."""
    for line in instructions(image, "COPY"):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, folder / target, ignore=skipped)
            else:
                shutil.copy(ROOT / source, folder / target)


@pytest.mark.parametrize("image", IMAGES)
def test_the_pip_lines_of_an_image_install_a_program_that_answers(image: str, tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "environment"
    source.mkdir()
    lay_out(image, source)
    venv.create(environment, with_pip=True, symlinks=True)
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    words = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for line in instructions(image, "RUN"):
        if line.startswith("pip "):
            done = subprocess.run(
                line, shell=True, cwd=source, env={**words, "PATH": path}, capture_output=True, text=True
            )
            if re.search("No matching distribution|Connection|Name or service|Max retries", done.stderr):
                pytest.skip(f"no registry answers: {done.stderr.splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
    program = environment / "bin/dnalm"
    shutil.rmtree(source)  # the program stands by itself

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(program), *arguments], cwd=tmp_path, env=words, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run("--version") == f"{dnalm.__version__}\n"
    assert yaml.safe_load(run("pretrain", "size=tiny", "--cfg"))["steps"] == 3000
