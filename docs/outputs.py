"""Write the outputs of commands that README.md and docs/*.md show, or check them.

    .venv/bin/python docs/outputs.py                      # run every command, write its output
    .venv/bin/python docs/outputs.py docs/models.md       # those of some pages
    .venv/bin/python docs/outputs.py --check              # write nothing; exit 1 when one differs

A block of a page is made from the command in the comment before it:

    <!-- output: pimloop models show bert-small --seq 8 -->
    ```
    $ pimloop models show bert-small --seq 8
    ...
    ```

Between `output` and the colon may stand

- `full`: the command takes more than a few seconds; `make test-full` checks it alone;
- `width=110`: columns, instead of 80;
- `from="A" to="B"`: the page shows the lines from the first that begins with A to the one before
  the next that begins with B.

The command runs in an empty folder with empty caches, and its standard output goes into the page
as a pipe gets it. What differs from run to run (wall time, what the caches held) is not compared:
`VOLATILE`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

#: Bound on one command, seconds.
TIMEOUT = 1800.0

#: What is not the same in two runs, and what stands for it in a comparison.
VOLATILE = (
    (r"[\d,.]+ DRAM clocks in [\d,]+ lists", "N DRAM clocks in N lists"),
    (r"[\d,.]+ in [\d,]+ lists", "N in N lists"),
    (r"[\d.]+ Mcycles/s", "N Mcycles/s"),
    (r"[\d.]+ (s|seconds)\b", r"N \1"),
)

_BLOCK = re.compile(
    r"^<!-- output(?P<options>(?: full| \w+=(?:\d+|\"[^\"]*\"))*): (?P<command>.+?) -->"
    r"\n```\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A command of a page and the text that the page shows of it."""

    page: Path
    command: str
    options: Mapping[str, str]  # as the module's text says; `full` has no value
    text: str  # between the fences

    @property
    def full(self) -> bool:
        """Whether the command takes more than a few seconds."""
        return "full" in self.options

    def __str__(self) -> str:
        """Return page and command."""
        return f"{self.page.relative_to(REPOSITORY)}: {self.command}"


def pages() -> list[Path]:
    """Return every page that may hold blocks."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, match["command"], _options(match["options"]), match["text"])
        for match in _BLOCK.finditer(text)
    ]


def _options(text: str) -> dict[str, str]:
    """Return the options of a block.

    >>> _options(' full width=110 from="held out"')
    {'full': '', 'width': '110', 'from': 'held out'}
    """
    return {name: value for name, _, value in (word.partition("=") for word in shlex.split(text))}


def produce(command: str, options: Mapping[str, str] | None = None) -> str:
    """Run a command of `pimloop`, or several joined by `&&`; return the text of its block.

    Parameters
    ----------
    options
        Those of the block; `full` does not matter here.

    Raises
    ------
    RuntimeError
        When the command fails; the message has what it wrote to standard error.
    """
    options = options or {}
    steps = [shlex.split(step) for step in command.split(" && ")]
    for words in steps:
        if words[0] != "pimloop" and words[:2] != ["python", "-m"]:
            raise RuntimeError(f"{command}: only `pimloop` and `python -m` are run")
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        environment = kept | {
            # 80: the narrowest that readers have; unset, a pipe has no width.
            "COLUMNS": options.get("width", "80"),
            "PYTHONPATH": str(REPOSITORY),
            "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
            "PIMLOOP_CACHE_DIR": str(Path(folder) / "cache"),
        }
        Path(environment["PIMLOOP_CACHE_DIR"]).mkdir(mode=0o700)
        work = Path(folder) / "work"
        work.mkdir()
        lines: list[str] = []
        for words in steps:
            module = words[1:] if words[0] == "python" else ["-m", "pimloop", *words[1:]]
            done = subprocess.run(
                [sys.executable, *module], cwd=work, env=environment, capture_output=True,
                text=True, timeout=TIMEOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stderr}")
            lines += [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join([f"$ {command}", *_part(lines, options)]) + "\n"


def _part(lines: list[str], options: Mapping[str, str]) -> list[str]:
    """Return the lines that a block shows.

    >>> _part(["a 1", "b 2", "c 3", "d 4"], {"from": "b", "to": "d"})
    ['b 2', 'c 3']
    """
    starts = [i for i, line in enumerate(lines) if line.startswith(options.get("from", ""))]
    if not starts:
        raise RuntimeError(f"no line begins with {options['from']!r}")
    shown = lines[starts[0] :]
    if "to" in options:
        ends = [i for i, line in enumerate(shown) if line.startswith(options["to"])]
        shown = shown[: ends[0]] if ends else shown
    return shown


def comparable(text: str) -> str:
    """Return a text without what differs from run to run.

    >>> comparable("simulated: 24,830 DRAM clocks in 179 lists, 2.39 Mcycles/s a simulator")
    'simulated: N DRAM clocks in N lists, N Mcycles/s a simulator'
    """
    for pattern, stands in VOLATILE:
        text = re.sub(pattern, stands, text)
    return text


def rewrite(page: Path, made: dict[str, str]) -> bool:
    """Put the texts of `made`, by command, into a page; return whether it changed."""
    old = page.read_text(encoding="utf-8")

    def block(match: re.Match[str]) -> str:
        text = made.get(match["command"])
        if text is None or comparable(text) == comparable(match["text"]):
            return match[0]
        return match[0].replace(f"```\n{match['text']}```", f"```\n{text}```")

    new = _BLOCK.sub(block, old)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


def main() -> int:
    """Write the blocks, or with --check name those that differ (exit 1)."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one differs")
    parser.add_argument("--quick", action="store_true", help="leave out those marked full")
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    args = parser.parse_args()
    wrong = 0
    for page in args.pages or pages():
        made: dict[str, str] = {}
        for block in blocks(page.resolve()):
            if block.full and args.quick:
                continue
            sys.stderr.write(f"{block}\n")
            made[block.command] = produce(block.command, block.options)
            if args.check and comparable(made[block.command]) != comparable(block.text):
                sys.stderr.write("  differs: run `python docs/outputs.py` and read the change\n")
                wrong += 1
        if not args.check and rewrite(page, made):
            sys.stderr.write(f"{page}: written\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
