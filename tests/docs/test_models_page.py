"""docs/models.md names the architectures that there are, with their heads and built-in models."""

from __future__ import annotations

from pathlib import Path

from pimloop.host.models.architectures.base import Architecture
from pimloop.host.models.architectures.registry import architectures

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def row(architecture: Architecture) -> str:
    """Return the line of an architecture in the page's table."""
    kinds = {head: end for end, head in architecture.head_classes.items()}
    heads = [kinds[head].removeprefix("For") if head != "none" else "none"
             for head in architecture.heads]  # fmt: skip
    models = [f"`{model.config.name}` ({model.source})" for model in architecture.built_in]
    cells = (architecture.model_type, ", ".join(heads), ", ".join(models))
    return " ".join(("|", " | ".join(cell for cell in cells).rstrip(), "|")).replace("|  |", "| |")


def test_the_table_of_architectures_is_the_registry() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [row(architecture) for architecture in architectures().values()]
    title = "| `model_type` | heads of a folder | built in |\n|---|---|---|\n"
    assert title + "\n".join(rows) + "\n\n" in text, "\n".join(rows)


def test_the_names_of_built_in_models_are_the_registrys() -> None:
    models = [model for known in architectures().values() for model in known.built_in]
    names = ", ".join(f"`{model.config.name}`" for model in models)
    assert f"| built in | {names} |" in PAGE.read_text(encoding="utf-8")
