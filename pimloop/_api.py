"""The functions of `pimloop`; see there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pimloop._checks import check_choice, check_name, check_seconds
from pimloop._results import Costs, Execution, Model, Plan, Run
from pimloop.errors import PimloopError
from pimloop.host.common.folders import make_folder
from pimloop.host.common.idle import Idle, refuse_idle
from pimloop.host.common.machine import cores
from pimloop.host.common.numbers import whole
from pimloop.host.execution.idle import PIPELINE_ON_MODEL, on_model
from pimloop.host.execution.options import Objective, Options
from pimloop.host.execution.runner import Event, execute_model
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.idle import LOADING
from pimloop.host.models.inputs import model_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim.device.open import PipelineBackend
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.idle import PARTITION, SHARES, executed_anyway
from pimloop.host.planning.policies import find_policies, make_plan
from pimloop.host.platforms.platform import (
    DEFAULT_PLATFORM,
    Platform,
    load_platform,
    platform_names,
)
from pimloop.host.plugins.registry import load_model as load_any_model
from pimloop.host.report.build import build_report
from pimloop.partitioner.costs import CostGraph, load_costs

#: Called with what a run does, from any of its threads.
Progress = Callable[[Event], None]

#: What does nothing in `simulate`, or cannot be done.
_SIMULATE = (
    *PIPELINE_ON_MODEL,
    *SHARES,
    Idle(
        {"fresh": False},
        "the model device measures nothing, and without a folder nothing is taken up",
        lambda values: on_model(values) and values["folder"] is None,
    ),
    Idle(
        {"policies": []},
        "they are coexec and policies of plug-ins; every run executes the others",
        lambda values: executed_anyway(values, values["policies"]),
    ),
)


def load_model(
    source: str | Path,
    *,
    tokens: int | None = None,
    batch: int | None = None,
    inputs: Mapping[str, Array] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    axes: Mapping[str, int] | None = None,
    seed: int = 0,
    keep_fused: bool = False,
    im2col: bool = False,
    quantize: str | None = None,
) -> Model:
    """Return a model with values for its inputs.

    Parameters
    ----------
    source
        A built-in model or one of a plug-in by its name (`pimloop models`), a Hugging Face folder,
        an .onnx file.
    tokens
        Length of the sequence; default 16, of an .onnx file without that axis none.
    batch
        Sequences at once; default 1.
    inputs
        Values by the names of the inputs, whose shapes then decide; default: seeded random ones.
    shapes, axes
        Of an .onnx file: shapes of inputs, lengths of named axes.
    seed
        Of random weights and inputs.
    keep_fused, im2col, quantize
        As the options of `pimloop sim`.

    Raises
    ------
    PimloopError
        When there is no such model, its files are damaged, or the inputs do not fit.
    """
    check_name("source", source)
    options = LoadOptions(
        sequence_length=whole("tokens", tokens, 1),
        seed=seed,
        shapes=shapes or {},
        axes=axes or {},
        given=inputs or {},
        batch=whole("batch", batch, 1),
        decompose=Choice(keep_fused=keep_fused, im2col=im2col),
        quantize=quantize,
    )
    refuse_idle({"model": str(source), "inputs": inputs, "seed": options.seed}, LOADING)
    graph = load_any_model(str(source), options)
    return Model(graph, model_inputs(graph, inputs, options.seed, "inputs"))


def model_config(name: str) -> ModelConfig:
    """Return the configuration of a built-in model, to be changed by `dataclasses.replace`.

    Raises
    ------
    PimloopError
        When there is no such model.
    """
    if name not in BUILT_IN:
        raise PimloopError(f"no built-in model '{name}'; there are {', '.join(BUILT_IN)}")
    return BUILT_IN[name]


def build_model(config: ModelConfig, options: LoadOptions | None = None) -> Graph:
    """Return the graph of a configuration with seeded random weights: what a plug-in returns.

    Raises
    ------
    PimloopError
        When the sequence length is outside 1..the configuration's limit.
    """
    options = options or LoadOptions()
    return build_graph(config, RandomWeights(config, options.seed), options)


def platforms() -> list[str]:
    """Return the names of all platforms, those of plug-ins included."""
    return platform_names()


def platform(
    name: str | Path = DEFAULT_PLATFORM, settings: Mapping[str, Any] | None = None
) -> Platform:
    """Return a platform: its device, its CPU, and what lies between them.

    Parameters
    ----------
    name
        Of a platform, or the path of a .toml file.
    settings
        Values to change, by `section.key` as `{"pim.lanes": 16}`.

    Raises
    ------
    PimloopError
        When there is no such platform, or a value breaks its schema.
    """
    check_name("name", name)
    return load_platform(str(name), {key: _text(value) for key, value in (settings or {}).items()})


def profile(
    model: Model | str | Path,
    on: Platform | str = DEFAULT_PLATFORM,
    *,
    shares: int | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Costs:
    """Measure every operator on every device in the fewest runs, and every transfer.

    Costs that are known from before (`docs/cache.md`) are not measured again.

    Parameters
    ----------
    model, on
        The model and the platform, or their names.
    shares
        Steps in which a product's columns are shared between CPU and PIM (docs/partitioner.md); 1:
        no product is split. Default: 16, on platforms that model their times.
    jobs
        Simulators side by side; default: one a core.
    fresh
        Measure everything again.
    progress
        Called with what is being done, from any thread.

    Raises
    ------
    PimloopError
        When the model does not fit this machine, or the simulator fails.
    """
    jobs, shares = whole("jobs", jobs, 1), whole("shares", shares, 1)
    options = Options(jobs=jobs or cores(), fresh=fresh, shares=shares)
    with _pipeline(model, on, options, progress) as pipeline:
        return Costs(pipeline.profile())


def partition(
    costs: Costs | CostGraph | str | Path,
    policy: str = "optimal",
    *,
    objective: Objective = "sequential",
    time_limit_s: float = 60.0,
) -> Plan:
    """Return the plan of a policy.

    Parameters
    ----------
    costs
        Of `profile`, or the path of a `pimloop-costs` file.
    policy
        `optimal`, a baseline or a policy of a plug-in (`pimloop policies`).
    objective
        `sequential`: the sum of all times; `makespan`: the end of a schedule in which devices and
        transfers overlap; `energy`, `edp`: energy, energy times time, of costs with energies
        (`pimloop profile --energies`).
    time_limit_s
        Bound on integer programming and on the search of `edp`; a plan that it stops is not called
        optimal.

    Raises
    ------
    PimloopError
        For an unknown policy, a damaged file, or where there is no plan.
    """
    check_choice("objective", objective, get_args(Objective))
    check_seconds("time_limit_s", time_limit_s)
    asked = {"policy": policy, "objective": objective, "time_limit_s": time_limit_s}
    refuse_idle(asked, PARTITION)
    if isinstance(costs, str | Path):
        check_name("costs", costs)
        costs = load_costs(costs)
    graph = costs.graph if isinstance(costs, Costs) else costs
    return Plan.of(
        make_plan(graph, policy, find_policies([policy])[policy], objective, time_limit_s)
    )


def execute(
    model: Model | str | Path,
    plan: Plan | Mapping[str, str],
    on: Platform | str = DEFAULT_PLATFORM,
    *,
    device: PipelineBackend = "sim",
) -> Execution:
    """Execute a model where a plan puts its operators, and check every result.

    Parameters
    ----------
    model, on
        The model and the platform, or their names.
    plan
        Of `partition`, or a device for each operator.
    device
        `sim`: the simulated RTL; `model`: the functional model, which has the same bits and no
        clock.

    Raises
    ------
    PimloopError
        When the plan does not fit the model, or the device fails.
    """
    check_choice("device", device, get_args(PipelineBackend))
    model, on = _loaded(model), _platform(on)
    assignment = plan.assignment if isinstance(plan, Plan) else plan
    options = Options(backend=device, jobs=1, cache=False)
    return Execution.of(execute_model(model.graph, model.inputs, assignment, on, options))


def simulate(
    model: Model | str | Path,
    on: Platform | str = DEFAULT_PLATFORM,
    *,
    tokens: int | None = None,
    objective: Objective = "sequential",
    policies: Sequence[str] = (),
    shares: int | None = None,
    device: PipelineBackend = "sim",
    jobs: int | None = None,
    fresh: bool = False,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Take a model the whole way: profile, partition, execute every schedule, check every bit.

    Parameters
    ----------
    model, on
        The model and the platform, or their names.
    tokens
        Length of the sequence, where a name is given.
    objective
        As for `partition`.
    policies
        Further policies: of plug-ins, `coexec` where it is not executed anyway.
    device
        As for `execute`.
    shares, jobs, fresh, progress
        As for `profile`.
    folder
        Where costs, plans, report, page and plots are left, and where a run that was interrupted
        is taken up; default: nowhere. `Run.save` writes them later.

    Raises
    ------
    PimloopError
        When the model does not fit this machine, or the simulator fails.
    """
    check_choice("objective", objective, get_args(Objective))
    check_choice("device", device, get_args(PipelineBackend))
    jobs, shares = whole("jobs", jobs, 1), whole("shares", shares, 1)
    if folder is not None:
        check_name("folder", folder)
    asked = {
        "device": device, "objective": objective, "fresh": fresh, "folder": folder,
        "policies": list(policies), "shares": shares,
    }  # fmt: skip
    refuse_idle(asked, _SIMULATE)
    model = _loaded(model, tokens)
    place = None if folder is None else Path(folder)
    if place is not None:
        make_folder(place)
    options = Options(
        objective=objective,
        backend=device,
        jobs=jobs or cores(),
        fresh=fresh,
        policies=tuple(policies),
        shares=shares,
        folder=place,
    )
    with _pipeline(model, on, options, progress) as pipeline:
        run = Run(build_report(pipeline.run()), model.graph)
    if place is not None:
        run.save(place)
    return run


def _pipeline(
    model: Model | str | Path, on: Platform | str, options: Options, progress: Progress | None
) -> Pipeline:
    model = _loaded(model)
    return Pipeline(model.graph, model.inputs, _platform(on), options, progress)


def _loaded(model: Model | str | Path, tokens: int | None = None) -> Model:
    if isinstance(model, Model):
        if tokens is not None:
            raise PimloopError(f"model {model.name} is loaded: give its tokens to load_model")
        return model
    return load_model(model, tokens=tokens)


def _platform(on: Platform | str) -> Platform:
    return platform(on) if isinstance(on, str) else on


def _text(value: object) -> str:
    """Return a value as a platform file writes it.

    >>> _text(True), _text(16), _text("per_bank")
    ('true', '16', 'per_bank')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)
