"""Run the notebooks beside this file, and write down what their cells print.

    python docs/notebooks/run.py                 # every notebook, in a folder that is thrown away
    python docs/notebooks/run.py own_task.ipynb  # one of them

No Jupyter is needed: cells are run in order in one namespace, lines that begin with `!` by a shell's rules
with `dnalm` of this source, and the last expression of a cell is shown as Jupyter shows it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NOTEBOOKS = ("quickstart.ipynb", "variants.ipynb", "own_task.ipynb")


def run(notebook: Path, folder: Path) -> dict[str, Any]:
    """The notebook with its outputs as they are now; it works in `folder`, as others may have before it.

    Raises:
        Exception: whatever a cell raises.
    """
    content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": "__main__", "_command": _command}
    with contextlib.chdir(folder):
        number = 0
        for cell in content["cells"]:
            if cell["cell_type"] != "code":
                continue
            number += 1
            cell["execution_count"], cell["outputs"] = (
                number,
                _outputs("".join(cell["source"]), names, number),
            )
    return content


def _outputs(source: str, names: dict[str, object], number: int) -> list[dict[str, Any]]:
    lines = [f"_command({line[1:]!r})" if line.startswith("!") else line for line in source.splitlines()]
    tree, printed, value = ast.parse("\n".join(lines)), io.StringIO(), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append(
            {"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}}
        )
    return outputs


def _command(line: str) -> None:
    """Run a line of a shell, whose only program is dnalm, and print what it prints."""
    program, *words = shlex.split(line)
    assert program == "dnalm", f"{program}: notebooks run dnalm alone"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "dnalm", *words], capture_output=True, text=True, env=environment, check=False
    )
    assert not done.returncode, done.stderr
    print(done.stdout, end="")


def main() -> None:
    """Run all, or those that are named, and write their outputs."""
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or NOTEBOOKS:
            content = run(HERE / name, Path(folder))
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
