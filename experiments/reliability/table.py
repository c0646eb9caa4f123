"""Makes the table of README.md here from figures.jsonl, which `make test-reliability` writes."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
_OTHER = {"test", "claim", "outcome", "seconds", "date", "machine", "versions"}


def table(lines: list[dict[str, object]]) -> str:
    """A row for each time that a test ran."""
    rows = ["| test | outcome | figures | seconds |", "|---|---|---|---|"]
    for line in lines:
        name = str(line["test"])
        figures = ", ".join(f"{key} {value}" for key, value in line.items() if key not in _OTHER)
        rows.append(f"| {name.replace('|', ' ')} | {line['outcome']} | {figures} | {line['seconds']} |")
    passed = sum(line["outcome"] == "passed" for line in lines)
    any_line = lines[0]
    head = (
        f"{passed} of {len(lines)} passed; {any_line['machine']}, {any_line['date']}, {any_line['versions']}."
    )
    return "\n".join([head, "", *rows, ""])


def main() -> None:
    """Write the table below the text of README.md."""
    lines = [json.loads(text) for text in (HERE / "figures.jsonl").read_text().splitlines()]
    readme = HERE / "README.md"
    text, mark, _ = readme.read_text().partition("<!-- figures -->\n")
    readme.write_text(text + mark + "\n" + table(lines))


if __name__ == "__main__":
    main()
