"""A Hugging Face model folder: config.json and model.safetensors, single or sharded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.models.architectures.base import Architecture
from pimloop.host.models.architectures.registry import architecture_of, from_hugging_face
from pimloop.host.models.config import TOKEN_HEADS, ModelConfig
from pimloop.host.models.graph import Array
from pimloop.host.models.parameters import Weights
from pimloop.host.models.safetensors import SafetensorsFile
from pimloop.partitioner.quantity import quantity

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: Largest JSON file read, bytes.
_MAX_JSON = 64 << 20

#: Names that a message lists.
_LISTED = 5

#: Digits of the longest whole number read as one: fewer than Python's own limit, 4300.
_MAX_DIGITS = 4000


def read_config(place: Path) -> ModelConfig:
    """Return the configuration of a model folder or of a .json file; its name is that of the place.

    A file that is called config.json has the name of its folder.

    Raises
    ------
    PimloopError
        When there is no readable config.json or it describes a model not supported.
    """
    path = place if is_configuration(place) else place / CONFIG
    data = _read_json(path)
    full = path.resolve()
    name = full.parent.name if full.name == CONFIG else full.stem
    return replace(from_hugging_face(data, str(path)), name=name)


def is_configuration(path: Path) -> bool:
    """Return whether a path is that of a configuration alone, not of a folder."""
    return path.suffix == ".json" and not path.is_dir()


def open_checkpoint(folder: Path) -> tuple[ModelConfig, CheckpointWeights]:
    """Return the configuration of a model folder, and its parameters.

    Raises
    ------
    PimloopError
        As `read_config` and `CheckpointWeights`.
    """
    config = read_config(folder)
    architecture = architecture_of(config)
    weights = CheckpointWeights(folder, architecture)
    return architecture.completed(config, weights.has), weights


class CheckpointWeights(Weights):
    """The parameters of a model folder, by their Hugging Face names.

    Parameters
    ----------
    folder
        Of the model.
    architecture
        Which other names parameters may have; None: the one that config.json names.

    Raises
    ------
    PimloopError
        When the folder has no safetensors file, or one of them is damaged.
    """

    def __init__(self, folder: Path, architecture: Architecture | None = None) -> None:
        self._folder = folder
        self._architecture = architecture or architecture_of(read_config(folder))
        self._files: dict[str, SafetensorsFile] = {}
        self._read: set[str] = set()
        if (folder / SINGLE).is_file():
            file = SafetensorsFile(folder / SINGLE)
            self._files = dict.fromkeys(file.names, file)
        elif (folder / INDEX).is_file():
            self._files = self._read_shards(folder / INDEX)
        else:
            raise PimloopError(
                f"{folder} has neither {SINGLE} nor {INDEX}; pickled weights"
                " (pytorch_model.bin) are never loaded: save the model with safe_serialization"
            )

    def has(self, name: str) -> bool:
        """Return whether the checkpoint has a parameter."""
        return any(candidate in self._files for candidate in self._candidates(name))

    def check_all_read(self, head: str) -> None:
        """Raise PimloopError when the checkpoint has parameters that nobody has asked for.

        Buffers, copies of tied parameters, and what a base checkpoint keeps of its pretraining
        (`Architecture.unread`, `copies`) may be there. With a head that reads the token table, one
        of `TOKEN_HEADS`, copies have the same values: else transformers does not tie them.
        """
        equal = head in TOKEN_HEADS
        unread = [name for name in self._files if name not in self._read]
        left = [name for name in unread if self._surplus(name, equal=equal)]
        if left:
            raise PimloopError(
                f"{self._folder}: {quantity(len(left), 'weight has', 'weights have')} no place in"
                f" the model that {CONFIG} names: {_listed(left)}; is the head of its"
                " architectures theirs?"
            )

    def _surplus(self, name: str, *, equal: bool) -> bool:
        """Return whether a parameter that nobody asked for must not be there.

        Raises
        ------
        PimloopError
            For a copy of another shape than what it is a copy of, or of other values where they
            must be `equal`.
        """
        architecture = self._architecture
        names = (name, architecture.base_prefix + name)
        for copy, original in architecture.copies.items():
            originals = [n for n in self._candidates(original) if n in self._files]
            if copy in names and originals:
                shape, wanted = (self._files[n].shape(n) for n in (name, originals[0]))
                if shape != wanted:
                    raise PimloopError(
                        f"{self._folder}: weight '{name}' has the shape {list(shape)}; as a copy"
                        f" of '{originals[0]}' it must have {list(wanted)}: take it out, or give"
                        f" the model that {CONFIG} names"
                    )
                if equal and not self._same(name, originals[0]):
                    raise PimloopError(
                        f"{self._folder}: weight '{name}' has other values than"
                        f" '{originals[0]}', which {CONFIG} ties it to; set tie_word_embeddings to"
                        " false there, or take the weight out"
                    )
                return False
        patterns = [re.escape(known).replace(r"\*", r"\d+") for known in architecture.unread]
        return not any(re.fullmatch(pattern, n) for pattern in patterns for n in names)

    def _same(self, name: str, other: str) -> bool:
        """Return whether two parameters of one shape have the same values."""
        bits = [self._files[n].bits(n) for n in (name, other)]
        if bits[0][0] == bits[1][0] and np.array_equal(bits[0][1], bits[1][1]):
            return True
        values, others = (self._files[n].get(n).astype(np.float32) for n in (name, other))
        return np.array_equal(values, others)

    def stored(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return one parameter in the type of the file, float64 as float32.

        Raises
        ------
        PimloopError
            When it is missing or has another shape.
        """
        for candidate in self._candidates(name):
            if candidate in self._files:
                self._read.add(candidate)
                array = self._files[candidate].get(candidate)
                if array.shape != shape:
                    raise PimloopError(
                        f"{self._folder}: weight '{candidate}' has the shape"
                        f" {list(array.shape)}, {CONFIG} asks for {list(shape)}"
                    )
                return array
        raise PimloopError(
            f"{self._folder}: weight '{name}' of shape {list(shape)} is missing; the checkpoint"
            f" has {quantity(len(self._files), 'other')}: is it of the architecture that {CONFIG}"
            " names?"
        )

    def _candidates(self, name: str) -> list[str]:
        """Return the names that a parameter may have in the checkpoint."""
        names = [name]
        if name.startswith(self._architecture.base_prefix):
            names.append(name.removeprefix(self._architecture.base_prefix))
        for new, old in self._architecture.old_names.items():
            names += [n.removesuffix(new) + old for n in list(names) if n.endswith(new)]
        return names

    def _read_shards(self, index: Path) -> dict[str, SafetensorsFile]:
        places = _read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
            raise PimloopError(f"{index}: weight_map must be a table of file names")
        opened: dict[str, SafetensorsFile] = {}
        shard_of = {}
        for name, place in places.items():
            if place not in opened:
                if Path(place).name != place or not place.endswith(".safetensors"):
                    raise PimloopError(
                        f"{index}: '{place}' is no .safetensors file inside the model's folder"
                    )
                if not (index.parent / place).is_file():
                    count = list(places.values()).count(place)
                    raise PimloopError(
                        f"{index} names the shard '{place}' for {quantity(count, 'weight')}, and"
                        " the folder has no such file: is the download complete?"
                    )
                opened[place] = SafetensorsFile(index.parent / place)
            if name not in opened[place]:
                raise PimloopError(f"{index.parent / place} lacks the weight '{name}' of the index")
            shard_of[name] = opened[place]
        surplus = [n for at, file in opened.items() for n in file.names if places.get(n) != at]
        if surplus:
            raise PimloopError(
                f"{index} does not list {quantity(len(surplus), 'weight')} of its shards:"
                f" {_listed(surplus)}; is it the index of this download?"
            )
        return shard_of


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise PimloopError(f"{path} is larger than {_MAX_JSON} bytes")
        data = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
    except OSError as error:
        raise PimloopError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PimloopError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise PimloopError(f"{path}: expected a table, found {type(data).__name__}")
    return data


def _listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - _LISTED
    return ", ".join(sorted(names)[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _whole(text: str) -> float:
    """Return a whole number; one beyond all bounds is infinite, which its reader refuses by key."""
    return int(text) if len(text) <= _MAX_DIGITS else float(text)
