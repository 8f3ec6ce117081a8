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

`output full` marks a command that takes more than a few seconds: `make test-full` checks it,
`make test` does not. The command runs in an empty folder with empty caches, and its standard
output goes into the page as a pipe gets it. What differs from run to run (wall time, what the
caches held) is not compared: `VOLATILE`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
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
    r"^<!-- output(?P<full> full)?: (?P<command>.+?) -->\n```\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A command of a page and the text that the page shows of it."""

    page: Path
    command: str
    full: bool  # takes more than a few seconds
    text: str  # between the fences

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
        Block(page, found["command"], bool(found["full"]), found["text"])
        for found in _BLOCK.finditer(text)
    ]


def produce(command: str) -> str:
    """Run a command of `pimloop`; return the text of its block.

    Raises
    ------
    RuntimeError
        When the command fails; the message has what it wrote to standard error.
    """
    words = shlex.split(command)
    if words[0] != "pimloop":
        raise RuntimeError(f"{command}: only `pimloop` commands are run")
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        environment = kept | {
            "COLUMNS": "80",  # the narrowest that readers have; unset, a pipe has no width
            "PYTHONPATH": str(REPOSITORY),
            "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
            "PIMLOOP_CACHE_DIR": str(Path(folder) / "cache"),
        }
        Path(environment["PIMLOOP_CACHE_DIR"]).mkdir(mode=0o700)
        work = Path(folder) / "work"
        work.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "host.cli", *words[1:]],
            cwd=work, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join([f"$ {command}", *lines]) + "\n"


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

    def block(found: re.Match[str]) -> str:
        text = made.get(found["command"])
        if text is None or comparable(text) == comparable(found["text"]):
            return found[0]
        return found[0].replace(f"```\n{found['text']}```", f"```\n{text}```")

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
            made[block.command] = produce(block.command)
            if args.check and comparable(made[block.command]) != comparable(block.text):
                sys.stderr.write("  differs: run `python docs/outputs.py` and read the change\n")
                wrong += 1
        if not args.check and rewrite(page, made):
            sys.stderr.write(f"{page}: written\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
