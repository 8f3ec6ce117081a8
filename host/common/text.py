"""Text of models and files made harmless: for terminals, spreadsheets and names of files.

Names of models, operators, tensors and files are whatever their author wrote. A terminal obeys
escape sequences in them, bidirectional controls show them in another order, and a spreadsheet
computes cells that begin like a formula.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

#: What stands for a character that is not shown.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

#: Controls but tab and line feed; marks, embeddings, overrides and isolates of direction;
#: characters without width; separators of lines and paragraphs; lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

#: Beginnings that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    """Return a text without what a terminal would obey or not show; lines and tabs stay.

    >>> printable("a" + chr(27) + "[31mred" + chr(0x202E) + chr(10) + "b")
    'a�[31mred�\\nb'
    """
    return _UNSAFE.sub(_REPLACEMENT, text)


def csv_cell(value: object) -> object:
    """Return a cell of a CSV file: text that would be a formula gets an apostrophe before it.

    >>> csv_cell("=1+1"), csv_cell("bert"), csv_cell(-3.5)
    ("'=1+1", 'bert', -3.5)
    """
    if not isinstance(value, str):
        return value
    # Spreadsheets also take wide forms of the same characters, and skip leading blanks.
    start = unicodedata.normalize("NFKC", value).lstrip(" ")
    return f"'{printable(value)}" if start.startswith(_FORMULA) else printable(value)


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV below their columns' names; each cell as `csv_cell`, objects as `pairs`.

    >>> csv_table(["a", "b"], [{"a": "=1", "b": {"x": 1, "y": 2}}])
    "a,b\\n'=1,x=1;y=2\\n"
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: pairs(c) if isinstance(c, Mapping) else c for name, c in row.items()}
        writer.writerow({name: csv_cell(cell) for name, cell in cells.items()})
    return text.getvalue()


def pairs(values: Mapping[str, object]) -> str:
    """Return values by key as `key=value` with semicolons between.

    >>> pairs({"pim.lanes": "8", "past": 16})
    'pim.lanes=8;past=16'
    """
    return ";".join(f"{key}={value}" for key, value in values.items())


def file_name(text: str) -> str:
    """Return a text as part of a file's name that needs no quotes in a shell.

    >>> file_name("my model (2)"), file_name("htg-z920 (device.lanes=16)")
    ('my_model_2', 'htg-z920_device.lanes_16')
    """
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_") or "_"
