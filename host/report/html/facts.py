"""Pairs of a name and a text: how costs were profiled, and what it takes to repeat a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pimloop.host.report.format.model import Profile
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.labels import format_us, format_value
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: Phases that took less are not named, seconds.
_PHASE_SHOWN_S = 0.05


@dataclass(frozen=True)
class Fact:
    """A name and what is said of it."""

    title: str
    text: str
    quiet: str = ""  # said after it, less loudly
    code: str = ""  # said before it, as code


@dataclass(frozen=True)
class ProfileRun:
    """A profile run."""

    name: str
    executed: str


@dataclass(frozen=True)
class ProfileFacts:
    """How the costs were measured."""

    facts: tuple[Fact, ...]
    runs: tuple[ProfileRun, ...]


def profile_facts(profile: Profile | None) -> ProfileFacts | None:
    """Return what the page says of the profile; None where costs came from elsewhere."""
    if profile is None:
        return None
    return ProfileFacts(
        tuple(_profile(profile)),
        tuple(
            ProfileRun(
                run["name"], "–" if run["executed_us"] is None else format_us(run["executed_us"])
            )
            for run in profile["matrix"]
        ),
    )


def _profile(profile: Profile) -> Iterator[Fact]:
    needed = f"{profile['runs']} (at least {profile['runs_lower_bound']} are needed)"
    yield Fact("Runs", needed, quiet=profile.get("certificate") or "")
    if profile["from_cost_store"]:
        yield Fact("Costs", "reused from earlier runs on this machine")
    yield Fact("Operator costs measured", f"{profile['nodes_covered']} of {profile['nodes']}")
    covered = f"{profile['transfers_covered']} of {profile['transfers']}"
    yield Fact("Transfer costs measured", covered)
    parts = parts_text(profile)
    if parts:
        yield Fact("Times of shares on the CPU", parts, quiet=profile["parts"]["certificate"])
    if profile.get("disturbed"):
        yield Fact("CPU times", "not trusted: other work disturbed the measurement")


def parts_text(profile: Profile | None) -> str:
    """Return how the CPU's times of shares were measured and tested, "" where none was.

    A line through two shares of an operator says what each share takes; the whole operator, which
    was measured too, is its test.
    """
    parts = None if profile is None else profile.get("parts")
    if parts is None:
        return ""
    runs = quantity(parts["runs"], "further run")
    text = f"{runs} (lower bound {parts['runs_lower_bound']})"
    errors = {
        name: abs(fit["error"])
        for name, fit in parts["operators"].items()
        if fit["error"] is not None
    }
    if parts["median_error"] is not None and errors:
        worst = max(errors, key=lambda name: errors[name])
        text += (
            "; the lines through them miss whole operators by"
            f" {percent(parts['median_error'])} in the median, {percent(errors[worst])} at most"
            f" ({worst})"
        )
    return text


def repeat_facts(report: Report) -> tuple[Fact, ...]:
    """Return where times come from, what simulated, and the versions behind a run."""
    return tuple(_repeat(report))


def _repeat(report: Report) -> Iterator[Fact]:
    source = report.get("cpu_time_source")
    if source is not None:
        yield Fact("CPU times", source, quiet=report.get("cpu_time_method") or "")
    simulated = "cycles of the simulated RTL over the platform's clock"
    no_clock = "none: the functional model has no clock"
    yield Fact("PIM times", simulated if report.get("device") == "sim" else no_clock)
    if report.get("simulation"):
        yield Fact("Simulation", _simulation(report))
    machine = report.get("machine")
    if machine:
        cores = machine.get("cores")
        yield Fact("Machine", machine["cpu"] + (f", {quantity(cores, 'core')}" if cores else ""))
    phases = [
        f"{phase['name']} {phase['wall_s']:.1f} s"
        for phase in report.get("phases") or ()
        if phase["wall_s"] >= _PHASE_SHOWN_S
    ]
    if phases:
        yield Fact("Time of this run", ", ".join(phases))
    if "created" in report:
        yield Fact("Made", report["created"])
    checkout = report.get("source")
    if checkout:
        changed = " and changes that are in no commit" if checkout["modified"] else ""
        yield Fact("Commit of the code", changed, code=checkout["commit"])
    elif report.get("rtl_sha256"):
        yield Fact("Commit of the code", "none: it did not run from a git checkout")
    if "rtl_sha256" in report:
        yield Fact("RTL, SHA-256", "", code=report["rtl_sha256"])
    for name, version in (report.get("versions") or {}).items():
        yield Fact(name.replace("_", " "), version)


def _simulation(report: Report) -> str:
    simulation = report["simulation"]
    text = quantity(simulation["cycles"], "DRAM clock", form=",")
    if simulation["wall_s"]:
        speed = simulation["cycles_per_s"] / 1e6
        text += f" in {simulation['wall_s']:.1f} s: {speed:.2f} million a second"
    if simulation["cycles_cached"]:
        text += f"; {simulation['cycles_cached']:,} more from the cache"
    if simulation["flavour"]:
        text += f"; lanes: {simulation.get('lanes') or simulation['flavour']}"
    if simulation["jobs"]:
        text += f"; {quantity(simulation['jobs'], 'simulator')} at a time"
    return text


@dataclass(frozen=True)
class PlatformRow:
    """A value of the platform."""

    key: str
    value: str
    unit: str
    source: str
    file_value: str  # that of the file, where the run had another one; "" where not
    changed: bool


def platform_rows(report: Report) -> tuple[PlatformRow, ...]:
    """Return every value of the platform."""
    return tuple(
        PlatformRow(
            value["key"],
            format_value(value["value"]),
            value["unit"],
            value["source"],
            format_value(value["file_value"]) if "file_value" in value else "",
            "file_value" in value,
        )
        for value in report.get("platform_values") or ()
    )
