"""Token-by-token runs: `pimloop sim MODEL --generate N`, their tables and their report."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pimloop.errors import PimloopError
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.output import console, emit_json
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from pimloop.host.execution.options import Options
    from pimloop.host.execution.runner import Event
    from pimloop.host.models.generator import Generator
    from pimloop.host.models.graph import Array, Graph
    from pimloop.host.pipeline.generation import Generation, Phase, Planner
    from pimloop.host.pipeline.growth import Growth
    from pimloop.host.platforms.platform import Platform
    from pimloop.host.report.format.report import Report
    from pimloop.host.report.generation.numbers import PlannedPhase

FORMAT = "pimloop-generation/1"
FILE_NAME = "generation.json"

#: The schedule that both phases are executed under.
OPTIMAL = "optimal"

_TOKEN_ROWS = 16


def run_generate(args: argparse.Namespace) -> int:
    """Generate `args.generate` tokens; return 1 when the verification failed.

    Both phases get the plan of `--policy` (default: the fastest, with operators split where they
    can be), from costs profiled for each. The model device has no clock: only the policies without
    costs place there (default: pim_first).

    Parameters
    ----------
    args
        What `pimloop sim` parsed.
    """
    from pimloop.host.cli.parsed import choose_lanes, pipeline_options, repeat_command
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.common.files import write_json
    from pimloop.host.common.folders import make_folder
    from pimloop.host.common.text import file_name
    from pimloop.host.models.generator import load_generator
    from pimloop.host.models.loader import LoadOptions
    from pimloop.host.pipeline.growth import growth
    from pimloop.host.platforms.platform import DEFAULT_PLATFORM, load_platform

    choose_lanes(args)
    platform = load_platform(args.platform or DEFAULT_PLATFORM, dict(args.set))
    for option in ("shape", "axis", "inputs"):
        if getattr(args, option):
            raise PimloopError(
                f"--generate takes the prompt's length from --seq, not from --{option}"
            )
    wanted = LoadOptions(args.seq, args.seed, batch=args.batch, quantize=args.quantize)
    progress = ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json)
    progress.note(f"reading or drawing the weights of {args.model} ...")
    generator = load_generator(args.model, args.generate, wanted)
    name, length = generator.config.name, generator.prompt_length
    policy = _policy(args)
    batch = () if generator.batch == 1 else ("batch", str(generator.batch))
    parts = (
        name,
        *filter(None, [args.quantize]),
        str(length),
        *batch,
        "generate",
        str(args.generate),
        platform.name,
    )
    folder = args.out or Path("out") / "-".join(file_name(part) for part in parts)
    make_folder(folder)
    options = pipeline_options(args)
    with progress:
        generation = generate_random(generator, args.seed, platform, policy, options, progress)
        longer = growth(generation, progress)
    report = generation_report(generation, platform, options, repeat_command(args), longer)
    path = folder / FILE_NAME
    write_json(path, report)
    write_pages(generation, report, folder, plots=not args.no_plots)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_generation(console(), report)
        console().print(f"report: {path}", soft_wrap=True)
    return 0 if generation.passed else CHECK_FAILED


def generate_random(
    generator: Generator,
    seed: int,
    platform: Platform,
    policy: str | None,
    options: Options,
    progress: Callable[[Event], None],
) -> Generation:
    """Generate behind random prompts, each phase with the plan of `planner`.

    Parameters
    ----------
    seed
        Of the prompts.
    policy
        As `planner` takes it.

    Raises
    ------
    PimloopError, SimError
        As `pimloop.host.pipeline.generate.generate`.
    """
    from pimloop.host.execution.runner import Event
    from pimloop.host.models.inputs import random_inputs
    from pimloop.host.pipeline.generate import generate

    return generate(
        generator,
        random_inputs(generator.prefill, seed)["input_ids"],
        platform,
        planner(platform, policy, options, progress),
        options,
        lambda step: progress(Event("generate", step)),
    )


def _policy(args: argparse.Namespace) -> str | None:
    """Return the policy of both phases; None: the fastest plan.

    Raises
    ------
    PimloopError
        When there are several, it is unknown, or it needs a clock that the device does not have.
    """
    from pimloop.host.planning.policies import find_policies, refuse_without_clock

    if len(args.policy) > 1:
        raise PimloopError(
            f"--generate executes one policy, not {len(args.policy)} ({', '.join(args.policy)}):"
            " run it once for each"
        )
    if not args.policy:
        return "pim_first" if args.device == "model" else None
    (policy,) = args.policy
    find_policies([policy])
    refuse_without_clock(policy, args.device)
    return str(policy)


def planner(
    platform: Platform, policy: str | None, options: Options, progress: Callable[[Event], None]
) -> Planner:
    """Return what plans a phase: from profiled costs, or without on `model`.

    Parameters
    ----------
    policy
        None: co-execution where it is possible, else the optimum of whole operators.
    """
    from pimloop.host.execution.runner import Event
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.pipeline.generation import Placed
    from pimloop.host.pipeline.pipeline import Pipeline
    from pimloop.host.planning.energy_costs import require_energies
    from pimloop.host.planning.policies import POLICIES, find_policies
    from pimloop.host.planning.schedules import make_plans
    from pimloop.partitioner.place.solve import COEXEC
    from pimloop.partitioner.plan_file import ENERGY_OBJECTIVES

    if options.objective in ENERGY_OBJECTIVES:
        require_energies(platform)
    # Shares of the PIM are simulated only for the policy that uses them.
    shares = options.shares if policy in (None, COEXEC) else 1
    further = () if policy is None else (policy,)
    profiled = replace(options, policies=further, shares=shares)

    def place(
        graph: Graph,
        feeds: Mapping[str, Array],
        before: Sequence[Graph],
        filled: Sequence[int] = (),
    ) -> Placed:
        if options.backend == "model":
            assert policy is not None  # `_policy` has one for a device without a clock
            assignment = POLICIES[policy](graph, platform.capabilities)
            return Placed(pim_fit(graph, platform).within(graph, assignment), policy)

        def show(event: Event) -> None:
            progress(Event(f"{graph.name} {event.job}", event.progress))

        pipeline = Pipeline(graph, feeds, platform, profiled, show, before, filled, counted=True)
        if policy == COEXEC and pipeline.why_no_splits:
            raise PimloopError(
                f"{graph.name}: no plan of policy '{policy}': {pipeline.why_no_splits}; use"
                f" --policy {OPTIMAL}, which splits nothing"
            )
        with pipeline:
            costs = pipeline.profile()
        name = policy or (COEXEC if COEXEC in pipeline.policies else OPTIMAL)
        functions = {name: find_policies([name])[name]}
        if options.objective != "makespan":  # the others' plans are a matter of milliseconds
            functions = pipeline.policies | functions
        plans, failed = make_plans(costs, functions, options.objective, options.time_limit_s)
        if name in failed:
            raise PimloopError(f"{graph.name}: no plan of policy '{name}': {failed[name]}")
        plan, outcome = plans[name], pipeline.outcome
        return Placed(
            plan.assignment, name, plan, costs, outcome.reused, outcome.cpu_profile_disturbed,
            outcome.left_out, plans, outcome,
        )  # fmt: skip

    return place


def write_pages(
    generation: Generation, report: Mapping[str, Any], folder: Path, *, plots: bool = True
) -> None:
    """Write report.html, and for each phase with costs a folder with what `pimloop sim` writes.

    `plots`: whether they are drawn too.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    from pimloop.host.common.folders import make_folder
    from pimloop.host.report.build import build_report
    from pimloop.host.report.generation.page import write_page
    from pimloop.host.report.publish import PAGE, publish

    pages: dict[str, str] = {}
    for phase in generation.phases:
        outcome = phase.profiled()
        if outcome is not None:
            make_folder(folder / phase.name)
            whole = build_report(outcome) | {"command": list(report["command"])}
            publish(cast("Report", whole), phase.graph, folder / phase.name, plots=plots)
            pages[phase.name] = f"{phase.name}/{PAGE}"
    write_page(report, pages, folder / PAGE)


def _planned(phase: Phase) -> PlannedPhase | None:
    """Return a phase with the plans of all policies; None without costs or a clock."""
    from pimloop.host.report.generation.energies import phase_energy
    from pimloop.host.report.generation.numbers import PlannedPhase

    times, total, placed = phase.times(), phase.total_us(), phase.placed
    if placed.costs is None or times is None or total is None:
        return None
    spent = phase.energy()
    return PlannedPhase(
        phase.name, phase.graph, placed.costs, placed.plans, placed.policy, phase.assignment,
        times, total, spent and phase_energy(*spent),
        None if placed.outcome is None else placed.outcome.energies,
    )  # fmt: skip


def generation_report(
    generation: Generation,
    platform: Platform,
    options: Options,
    command: Sequence[str],
    longer: Growth,
) -> dict[str, Any]:
    """Return what a generation did as one JSON object, with what a step with longer caches takes.

    Without a clock (the model device under a phase with PIM operators) times and clocks are null.
    """
    from pimloop.host.execution.times import cpu_time_method, cpu_time_source
    from pimloop.host.report.energies import model_text
    from pimloop.host.report.generation.numbers import schedule_times
    from pimloop.sim.device.lanes import lanes_text

    phases = generation.phases
    rows = [_phase(phase, platform) for phase in phases]
    planned = [entry for phase in phases if (entry := _planned(phase)) is not None]
    complete = len(planned) == len(phases)
    judged = [token for token in generation.tokens if token.judged]
    simulated = generation.options.backend == "sim"
    return {
        "format": FORMAT,
        "model": generation.generator.config.name,
        "platform": platform.name,
        "device": generation.options.backend,
        "policy": ", ".join(dict.fromkeys(phase.placed.policy for phase in phases)),
        "objective": options.objective,
        "lanes": lanes_text(generation.options.flavour) if simulated else None,
        "cpu_time_source": cpu_time_source(platform),
        "cpu_time_method": cpu_time_method(platform),
        "pim_time_source": _pim_time_source(platform) if simulated else "",
        "cpu_times_disturbed": longer.disturbed or any(phase.disturbed for phase in phases),
        "batch": generation.generator.batch,
        "prompt": generation.prompt,
        "tokens": [
            {
                "token": token.token,
                "float32": token.reference,
                "margin": token.margin,
                "tolerance": token.tolerance,
                "judged": token.judged,
                "passed": token.passed,
            }
            for token in generation.tokens
        ],
        "phases": rows,
        "energy_model": model_text(
            platform,
            timed=any(phase.times() is not None for phase in phases),
            counted=any(row["energy_j"] is not None for row in rows),
        ),
        "schedules": schedule_times(planned, generation.generator.batch) if complete else [],
        "growth": list(longer.rows),
        "growth_left_out": longer.left_out,
        "verification": {
            "passed": generation.passed,
            "tokens": len(generation.tokens),
            "tokens_judged": len(judged),
            "tokens_equal": sum(token.token == token.reference for token in generation.tokens),
            "pim_bit_exact": all(p.result and p.result.pim_bit_exact for p in phases),
            "pim_results_checked": sum(p.result.checked for p in phases if p.result),
            "non_finite": list(dict.fromkeys(str(f) for p in phases for f in p.non_finite)),
            "cpu_results_wrong": [f"{p.name}: {text}" for p in phases for text in p.wrong_segments],
            "steps_wrong": generation.wrong_steps(),
            "predictions_missed": [f"{p.name}: {text}" for p in phases for text in p.missed()],
        },
        "simulation": {
            "cycles": generation.device_totals.cycles if simulated else None,
            "wall_s": generation.device_seconds,
            "weights_cycles": generation.weights.cycles if simulated else None,
        },
        "command": list(command),
    }


def _pim_time_source(platform: Platform) -> str:
    """Return what times of the simulated PIM, and of transfers, are."""
    transfers = "modelled"
    if platform.driver.conversion == "measured":
        transfers = "copies simulated, conversions measured on this machine, the rest modelled"
    return f"simulated clocks, the driver's calls modelled; transfers: {transfers}"


def _phase(phase: Phase, platform: Platform) -> dict[str, Any]:
    from pimloop.host.devices.kinds import device_parts
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.report.generation.energies import phase_energy
    from pimloop.host.report.generation.numbers import executed_parts, kind_rows

    times, plan, spent = phase.times(), phase.plan, phase.energy()
    fit = pim_fit(phase.graph, platform)
    on_pim = [node for node, d in phase.assignment.items() if "pim" in device_parts(d)]
    return {
        "name": phase.name,
        "schedule": phase.placed.policy,
        "optimal": bool(plan and plan.optimal),
        "method": plan and plan.method,
        "predicted_us": plan and plan.total_us,
        "from_cost_store": phase.placed.reused,
        "lower_bound_us": plan and plan.lower_bound_us,
        "nodes": len(phase.graph.nodes),
        "pim_nodes": len(on_pim),
        "split_nodes": sum(len(device_parts(d)) > 1 for d in phase.assignment.values()),
        "assignment": dict(phase.assignment),
        "left_out_policies": dict(phase.placed.left_out),
        "kept_on_cpu": dict(fit.kept_on_cpu),
        "states": len(phase.graph.states),
        "states_without_room": fit.states_without_room(phase.graph, on_pim),
        "executions": len(phase.executions),
        "us_per_execution": phase.total_us(),
        "energy_j": spent and phase_energy(*spent),
        "pim_us": times and times.pim_us,
        "cpu_us": times and times.cpu_us,
        "transfer_us": times and times.transfer_us,
        "cycles_per_execution": phase.cycles(),
        "transfers": len(phase.executions[-1].transfers),
        "operator_kinds": []
        if times is None
        else kind_rows(phase.graph, executed_parts(phase.assignment, times)),
        "logits": [comparison.to_json() for comparison in phase.comparisons],
    }


def _placement(phase: dict[str, Any], objective: str) -> str:
    """Return what placed a phase, and how sure it is that nothing is faster."""
    from pimloop.host.report.html.labels import best_found
    from pimloop.partitioner.place.solve import COEXEC

    text = f"placed by {phase['schedule']}"
    if phase["predicted_us"] is not None:
        text += f", objective {objective}"
    if phase["schedule"] == COEXEC:
        text += f", {quantity(phase['split_nodes'], 'operator')} split between CPU and PIM"
    if phase["from_cost_store"]:
        text += ", costs reused from earlier runs"
    if phase["schedule"] in (OPTIMAL, COEXEC) and not phase["optimal"]:
        text += f": {best_found(phase)}"
    return text


def _time(phase: Mapping[str, Any], batch: int) -> str:
    """Return what one execution of a phase takes, and how many tokens a second that is."""
    decodes = phase["name"] == "decode"
    kind = "token" if decodes else "prompt"
    each = f"a {kind}" if batch == 1 else f"for {batch} {kind}s at once"
    text = f"{phase['us_per_execution'] / 1000:,.2f} ms {each}"
    return f"{text} ({batch * 1e6 / phase['us_per_execution']:,.1f} tokens/s)" if decodes else text


def overlap(phase: Mapping[str, Any]) -> str:
    """Return how far the times of a phase's devices overlap, "" where no operator is split."""
    times = [phase[key] for key in ("pim_us", "cpu_us", "transfer_us")]
    if not phase["split_nodes"] or phase["us_per_execution"] is None or None in times:
        return ""
    ms = (sum(times) - phase["us_per_execution"]) / 1000
    return (
        f"{phase['name']}: both sides of a split work at the same time: PIM, CPU and transfers add"
        f" up to {ms:,.2f} ms more than it takes"
    )


def _line(out: Console, text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _print_phases(out: Console, report: dict[str, Any]) -> None:
    """Print what an execution of each phase takes, and what placed its operators."""
    from pimloop.host.cli.tables import numbers, print_table, texts
    from pimloop.host.report.generation.page import caches_without_room
    from pimloop.host.report.html.headline import ASSUMED

    title = f"{report['model']}, {report['platform']}"
    timed = any(phase["us_per_execution"] is not None for phase in report["phases"])
    if report["objective"] == "makespan" and timed:
        title += "; the times of PIM, CPU and transfers overlap"
    columns = [
        *texts("phase"),
        *numbers("runs", "on the PIM", "PIM ms", "CPU ms", "transfer ms", "clocks"),
    ]
    rows = []
    for phase in report["phases"]:
        times = [phase[key] for key in ("pim_us", "cpu_us", "transfer_us")]
        rows.append(
            (
                phase["name"],
                str(phase["executions"]),
                f"{phase['pim_nodes']} of {phase['nodes']}",
                *("-" if us is None else f"{us / 1000:,.2f}" for us in times),
                # The model device has no clock.
                "-"
                if phase["cycles_per_execution"] is None
                else f"{max(phase['cycles_per_execution']):,}",
            )
        )
    print_table(out, columns, rows, title)
    for phase in report["phases"]:
        us = phase["us_per_execution"]
        if us is None:
            _line(out, f"{phase['name']}: no time, the model device has no clock")
        else:
            time = _time(phase, report.get("batch", 1))
            _line(out, f"{phase['name']}: {time}, {_placement(phase, report['objective'])}")
            if text := overlap(phase):
                _line(out, text)
        for name, reason in phase.get("left_out_policies", {}).items():
            _line(out, f"{phase['name']}: {name} left out: {reason}")
        if text := caches_without_room(phase):
            _line(out, f"{phase['name']}: {text}")
    if any(phase["split_nodes"] for phase in report["phases"]) and timed:
        _line(out, ASSUMED)


def print_generation(out: Console, report: dict[str, Any]) -> None:
    """Print the tables that end a generation."""
    from pimloop.host.cli.generation_tables import (
        print_energies,
        print_growth,
        print_kinds,
        print_schedules,
    )
    from pimloop.host.cli.summary import NOT_TRUSTED, print_kept_on_cpu, print_missed
    from pimloop.host.cli.tables import numbers, plain_micro, print_table, prose
    from pimloop.host.report.generation.energies import energy_words

    _print_phases(out, report)
    print_schedules(out, report)
    print_energies(out, report)
    _line(out, f"energy: {plain_micro(energy_words(report))}")
    print_kinds(out, report)
    print_growth(out, report)
    phases = report["phases"]  # equal names in two of them are different operators
    kept = {f"{p['name']} {k}": v for p in phases for k, v in p["kept_on_cpu"].items()}
    print_kept_on_cpu(out, kept)
    out.print(f"CPU time: {report['cpu_time_source']}", style="dim", soft_wrap=True)
    if text := report.get("pim_time_source"):
        out.print(f"PIM time: {text}", style="dim", soft_wrap=True)
    if report["cpu_times_disturbed"]:
        out.print(NOT_TRUSTED, style="yellow", soft_wrap=True)
    rows = []
    for row in report["tokens"][:_TOKEN_ROWS]:
        verdict = "equal" if row["token"] == row["float32"] else "differs"
        if not row["judged"]:
            verdict += ", margin too small to say"
        shown = [f"{row[key]:.3g}" for key in ("margin", "tolerance")]
        rows.append((str(row["token"]), str(row["float32"]), *shown, verdict))
    print_table(
        out, [*numbers("token", "float32", "margin", "tolerance"), *prose("")], rows, "tokens"
    )
    checks = report["verification"]
    if report["lanes"] is not None:
        _line(out, f"lanes: {report['lanes']}")
    _line(
        out,
        f"{checks['tokens_equal']} of {quantity(checks['tokens'], 'token')} equal float32's,"
        f" {checks['tokens_judged']} had to; PIM bit exact:"
        f" {'yes' if checks['pim_bit_exact'] else 'NO'}"
        f" ({quantity(checks['pim_results_checked'], 'result')})",
    )
    for text in checks["non_finite"]:
        out.print(f"not finite: {text}", style="red", markup=False, soft_wrap=True)
    for text in checks.get("cpu_results_wrong", []):
        out.print(f"CPU segment wrong: {text}", style="red", markup=False, soft_wrap=True)
    for text in checks["steps_wrong"]:
        out.print(f"NOT AS FLOAT32: {text}", style="red", markup=False, soft_wrap=True)
    print_missed(out, checks["predictions_missed"])
    passed = checks["passed"]
    out.print(
        f"verification: {'passed' if passed else 'FAILED'}", style="green" if passed else "bold red"
    )
