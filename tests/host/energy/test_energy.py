"""Energies of counted work: by hand, summed without remainder, and moved as physics moves them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pimloop.host.energy.constants import Constants, Spread
from pimloop.host.energy.forms import (
    CAUSE_TEXT,
    CAUSES,
    Activity,
    Energy,
    Joules,
    energy,
    standing,
    total,
)
from pimloop.host.platforms.platform import (
    Platform,
    PlatformError,
    load_platform,
    platform_names,
    platform_path,
)

PLATFORMS = ("aim", "aim-a53", "htg-z920", "native")
COUNTS = [f.name for f in dataclasses.fields(Activity) if f.name not in ("us", "core_us")]


def known(name: str, **settings: str) -> Constants:
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    constants = load_platform(name, changed).energy_constants()
    assert constants is not None
    return constants


def activity(seed: int = 0, **changes: object) -> Activity:
    """Return work that a device could have done: more clocks than its commands need."""
    rng = np.random.default_rng(seed)
    counts = {name: int(rng.integers(1, 10_000)) for name in COUNTS}
    counts["open_clocks"] = int(rng.integers(1, 10**7))
    counts["list_clocks"] = counts["open_clocks"] + 10**8
    times = {"us": Fraction(10**6), "core_us": Fraction(float(rng.random() * 10**6))}
    return Activity(**{**counts, **times, **changes})  # type: ignore[arg-type]


# ---- by hand -----------------------------------------------------------------------------------


def test_the_worked_example_of_the_page() -> None:
    """docs/energy.md: one row of the board's DRAM is opened, 128 atoms are read, it is closed."""
    work = Activity(
        us=Fraction(10), core_us=Fraction(9), activations=1, reads=128, open_clocks=800,
        list_clocks=1200, multiply_adds=128 * 32,
    )  # fmt: skip
    parts = energy(work, known("htg-z920")).parts
    clock = 0.833333  # ns
    by_hand = {
        # 8 chips x 1.2 V x (48 mA x 56 - 43 mA x 39 - 34 mA x 17 = 433 mA) a clock
        "act_pre": 8 * 1.2 * 433 * clock,
        "rd": 128 * 8 * 1.2 * (135 - 43) * 4 * clock,
        "open": 8 * (1.2 * 43 + 2.5 * 3) * 800 * clock,
        "closed": 8 * (1.2 * 34 + 2.5 * 3) * 400 * clock,
        "self_refresh": 8 * (1.2 * 30 + 2.5 * 5) * (10_000 - 1200 * clock),
        "io": 128 * 512 * 5.5,
        "mac": 4096 * 2.1,
        "cpu_dynamic": 151.7 * 9_000,
        "cpu_static": 57 * 10_000,
    }
    for cause, pj in by_hand.items():
        assert parts[cause].nominal == pytest.approx(1000 * pj, abs=1)  # type: ignore[index]
    assert {cause for cause in CAUSES if parts[cause].nominal} == by_hand.keys()
    assert sum(by_hand.values()) / 1e6 == pytest.approx(6.6206, abs=1e-4)  # microjoules


def test_commands_of_the_board_against_drampower() -> None:
    """DRAMPower has ACT and PRE apart: VDD (IDD0 - IDD3N) tRAS and VDD (IDD0 - IDD2N) tRP."""
    constants, clock = known("htg-z920"), Fraction(833333, 10**6)
    act, pre = 8 * Fraction("1.2") * (48 - 43) * 39 * clock, 8 * Fraction("1.2") * 14 * 17 * clock
    assert constants.act_pj.nominal == act + pre
    # The other table of currents: 60.75, 44 and 38.25 mA; VPP 4.05 - 3 mA at 2.5 V.
    other = (
        Fraction("1.2") * (Fraction("60.75") * 56 - 44 * 39 - Fraction("38.25") * 17)
        + Fraction("2.5") * (Fraction("4.05") - 3) * 56
    )
    assert constants.act_pj.high == 8 * other * clock
    assert constants.rd_pj.nominal / 512 == pytest.approx(5.75, abs=1e-3)  # pJ a bit
    assert constants.wr_pj.nominal / 512 == pytest.approx(5.00, abs=1e-3)
    assert constants.ref_pj.nominal / 8000 == pytest.approx(86.94, abs=1e-2)  # nJ a chip
    assert constants.ref_pj.low == 8 * Fraction("1.2") * (118 - 44) * 420 * clock


def test_aim_takes_what_is_published_for_a_multiply_add() -> None:
    """5.13 pJ a multiply-add with the read of the array (CENT's power script, of AiM)."""
    parts = energy(Activity(all_bank_reads=1, multiply_adds=256), known("aim")).parts
    femtojoules = parts["rd"].nominal + parts["mac"].nominal
    assert femtojoules / 256 / 1000 == pytest.approx(5.13, rel=2e-3)
    constants = known("aim")
    assert constants.rd_pj.nominal / 256 == pytest.approx(2.14, abs=0.005)
    assert constants.wr_pj.nominal / 256 == pytest.approx(2.70, abs=0.005)


# ---- sums --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLATFORMS)
def test_sums_have_no_remainder(name: str) -> None:
    constants = known(name)
    parts = [energy(activity(seed), constants) for seed in range(50)]
    whole = total(parts)
    for kind in ("low", "nominal", "high"):
        by_cause = sum(getattr(joules, kind) for joules in whole.parts.values())
        by_work = sum(getattr(part.total, kind) for part in parts)
        assert by_cause == by_work == getattr(whole.total, kind)
        assert isinstance(by_cause, int)
    for joules in whole.parts.values():
        assert 0 <= joules.low <= joules.nominal <= joules.high


def test_a_cause_is_rounded_once_half_to_even() -> None:
    """Against Fractions, with amounts and picojoules of every kind that meet."""
    rng = np.random.default_rng(5)

    def fraction(least: int) -> Fraction:
        denominators = (1, 2, 3, 8, 1000, 2000, 2**20)
        return Fraction(int(rng.integers(least, 5000)), int(rng.choice(denominators)))

    halves = 0
    for _ in range(2000):
        pj = [Spread.of(fraction(0), (fraction(0), fraction(0))) for _ in range(2)]
        reads, writes = int(rng.integers(0, 5000)), int(rng.integers(0, 50))
        changed = dataclasses.replace(known("aim"), rd_pj=pj[0], all_bank_rd_pj=pj[1])
        rd = energy(Activity(reads=reads, all_bank_reads=writes), changed).parts["rd"]
        for name in ("low", "nominal", "high"):
            exact = 1000 * (reads * getattr(pj[0], name) + writes * getattr(pj[1], name))
            assert getattr(rd, name) == round(exact)
            halves += (2 * exact).denominator == 1 and exact.denominator == 2
    assert halves > 5  # the ties are met


def test_without_a_cpus_power_nothing_is_said_of_it() -> None:
    for name in ("aim", "native"):
        parts = energy(activity(), known(name)).parts
        assert not {"cpu_dynamic", "cpu_static"} & parts.keys()
        assert len(parts) == len(CAUSES) - 2
    assert energy(activity(), known("htg-z920")).parts.keys() == set(CAUSES) == CAUSE_TEXT.keys()


def test_what_stands_by_is_taken_away_where_steps_overlap() -> None:
    constants = known("htg-z920")
    slow = energy(Activity(us=Fraction(30)), constants)
    quick = slow + standing(Fraction(-20), constants)
    assert quick.total == energy(Activity(us=Fraction(10)), constants).total


def test_a_list_longer_than_its_work_leaves_no_self_refresh() -> None:
    parts = energy(activity(us=Fraction(1)), known("aim")).parts
    assert parts["self_refresh"] == Joules()
    assert Energy().total == Joules()


# ---- metamorphic -------------------------------------------------------------------------------

Change = Callable[[Activity], Activity]


def times(count: str, factor: int) -> Change:
    return lambda a: dataclasses.replace(a, **{count: factor * getattr(a, count)})


#: A change of the work, and the causes that grow by its factor; all others stay as they are.
CHANGES = {
    "activations": ("act_pre",), "multiply_adds": ("mac",), "link_bits": ("host_link",),
    "core_us": ("cpu_dynamic",),
}  # fmt: skip


@pytest.mark.parametrize("count", CHANGES)
@pytest.mark.parametrize("name", ["aim", "htg-z920"])
def test_twice_the_work_is_twice_its_cause(name: str, count: str) -> None:
    constants, before = known(name), activity()
    first = energy(before, constants).parts
    second = energy(times(count, 2)(before), constants).parts
    for cause in first:
        factor = 2 if cause in CHANGES[count] else 1
        assert second[cause].nominal == pytest.approx(factor * first[cause].nominal, abs=1)


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [("reads", "all_bank_reads", "rd"), ("writes", "all_bank_writes", "wr")],
)
def test_twice_the_accesses_are_twice_rd_or_wr_and_its_io(
    first: str, second: str, cause: str
) -> None:
    constants, before = known("aim"), activity(writes=0) if cause == "rd" else activity(reads=0)
    old = energy(before, constants).parts
    new = energy(times(first, 2)(times(second, 2)(before)), constants).parts
    changed = {cause, "io"}
    for name in old:
        factor = 2 if name in changed else 1
        assert new[name].nominal == pytest.approx(factor * old[name].nominal, abs=1), name


def test_a_longer_refresh_interval_is_less_refresh() -> None:
    """Half the refreshes: half their energy, and their clocks go from open to closed banks."""
    constants, before = known("htg-z920"), activity(refreshes=1000, us=Fraction(10**6))
    old = energy(before, constants).parts
    new = energy(dataclasses.replace(before, refreshes=500), constants).parts
    assert 2 * new["ref"].nominal == pytest.approx(old["ref"].nominal, abs=1)
    assert new["open"].nominal < old["open"].nominal
    assert new["closed"].nominal > old["closed"].nominal
    assert total([Energy(new)]).total.nominal < total([Energy(old)]).total.nominal


def test_a_clock_has_the_power_of_its_state() -> None:
    """A clock of a list more in a state is one less with banks closed; the sum of times stays."""
    constants, before = known("htg-z920"), activity()
    old = energy(before, constants).parts
    powers = {
        "open": constants.open_mw, "closed": constants.closed_mw,
        "self_refresh": constants.self_refresh_mw,
    }  # fmt: skip
    for count, state in (("open_clocks", "open"), ("asleep_clocks", "self_refresh")):
        more = dataclasses.replace(before, **{count: getattr(before, count) + 10**6})
        new = energy(more, constants).parts
        for cause in old:
            clocks = 10**6 * ((cause == state) - (cause == "closed"))
            pj = clocks * constants.tck_ns * powers[cause].nominal if clocks else 0
            assert new[cause].nominal - old[cause].nominal == pytest.approx(1000 * pj, abs=1), cause


@pytest.mark.parametrize("name", ["aim", "htg-z920"])
def test_a_faster_clock_is_less_background_for_the_same_commands(name: str) -> None:
    """The same lists in fewer nanoseconds, back to back."""
    slow, fast = (
        known(name),
        known(name, device__tck_fs=str(load_platform(name).device.tck_fs // 2)),
    )

    def background(constants: Constants) -> dict[str, int]:
        work = activity()
        lists = (work.list_clocks - work.asleep_clocks) * constants.tck_ns / 1000
        parts = energy(dataclasses.replace(work, us=lists), constants).parts
        assert parts["self_refresh"] == Joules()
        return {cause: parts[cause].nominal for cause in ("open", "closed")}

    before, after = background(slow), background(fast)
    for cause, femtojoules in before.items():
        assert 2 * after[cause] == pytest.approx(femtojoules, rel=1e-5)


def test_a_set_value_has_no_spread() -> None:
    constants = known("htg-z920", energy__mac_pj="3")
    assert constants.mac_pj == Spread(Fraction(3), Fraction(3), Fraction(3))
    assert known("htg-z920").mac_pj == Spread(Fraction("0.32"), Fraction("2.1"), Fraction("2.1"))


# ---- platforms ---------------------------------------------------------------------------------


def test_every_platform_says_what_it_takes() -> None:
    for name in platform_names():
        platform = load_platform(name)
        assert platform.energy_constants() is not None
        spread = {value.key for value in platform.values if value.others}
        assert any(key.startswith("energy") for key in spread)
        assert all(key.startswith("energy") for key in spread)


def without(text: str, *sections: str) -> str:
    """Return a platform file without its energy sections of these names."""
    kept, on = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            on = line.strip("[]\n").partition(".")[0] not in sections
        kept.append(line if on else "")
    return "".join(kept)


ALL = ("energy", "energy_idd", "energy_dram", "energy_all_bank", "energy_cpu")


def loaded(tmp_path: Path, text: str) -> Platform:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_platform(str(path))


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_without_energies_has_no_model(name: str, tmp_path: Path) -> None:
    text = platform_path(name).read_text(encoding="utf-8")
    platform = loaded(tmp_path, without(text, *ALL))
    assert platform.energy_sections is None
    assert platform.energy_constants() is None


@pytest.mark.parametrize(
    ("name", "sections", "message"),
    [
        ("htg-z920", ["energy"], r"the section \[energy_idd\] needs a section \[energy\]"),
        ("htg-z920", ["energy_idd"], "needs the energies of the DRAM, .*, not none"),
        ("aim", ["energy_dram"], "needs the energies of the DRAM, .*, not none"),
        ("aim", ["energy_all_bank"], r"the device needs a section \[energy_all_bank\]"),
        ("htg-z920", ["cpu"], r"\[energy_cpu\] needs a section \[cpu\]"),
    ],
)
def test_sections_that_do_not_fit_together(
    name: str, sections: list[str], message: str, tmp_path: Path
) -> None:
    text = platform_path(name).read_text(encoding="utf-8")
    with pytest.raises(PlatformError, match=f"mine.toml: .*{message}"):
        loaded(tmp_path, without(text, *sections))


def test_both_forms_of_the_dram_are_one_too_many(tmp_path: Path) -> None:
    board, aim = (platform_path(name).read_text(encoding="utf-8") for name in ("htg-z920", "aim"))
    dram = aim[aim.index("[energy_dram]") : aim.index("[energy_all_bank]")]
    every_bank = aim[aim.index("[energy_all_bank]") :]
    with pytest.raises(PlatformError, match="not both"):
        loaded(tmp_path, board + dram)
    with pytest.raises(PlatformError, match=r"is per_bank and has no use for \[energy_all_bank\]"):
        loaded(tmp_path, board + every_bank)


MAC = '[energy.mac_pj]\nvalue = 2.1\nothers = [0.499, 0.32]\nunit = "picojoules a multiply-add"\n'
IDD0 = "[energy_idd.idd0_ma]\nvalue = 48\nothers = [60.75]\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (MAC, MAC.replace("2.1", "-2.1"), "energy.mac_pj.value must be at least 0, not -2.1"),
        (MAC, MAC.replace("2.1", "nan"), "energy.mac_pj.value must be at least 0, not nan"),
        (MAC, MAC.replace("2.1", "inf"), "energy.mac_pj.value must be at least 0, not inf"),
        (MAC, MAC.replace("2.1", '"2.1"'), "energy.mac_pj.value must be a number, not '2.1'"),
        (MAC, MAC.replace("0.32", "-1"), "energy.mac_pj.others must be at least 0, not -1"),
        (MAC, MAC.replace("0.32", "true"), "energy.mac_pj.others must be a number, not True"),
        (MAC, MAC.replace("[0.499, 0.32]", "0.5"), "energy.mac_pj.others must be a list"),
        (MAC, MAC.partition("unit")[0], "the key energy.mac_pj.unit is missing"),
        (MAC, MAC.replace("picojoules a", "joules a"), "mac_pj.unit must be 'picojoules a m"),
        (IDD0, IDD0.replace("[60.75]", "[60, 61]"), "others has [12] values, another"),
        (IDD0, IDD0.replace("value = 48", "value = 38"), "idd0_ma is too low: an activation would"),
        ("[energy_idd.idd4r_ma]\nvalue = 135\n", "[energy_idd.idd4r_ma]\nvalue = 40\n",
         "energy_idd.idd4r_ma is below energy_idd.idd3n_ma: a command would give energy"),
    ],
)  # fmt: skip
def test_bad_constants_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = platform_path("htg-z920").read_text(encoding="utf-8")
    assert text.count(old) == 1
    with pytest.raises(PlatformError, match=f"mine.toml: .*(?:{message})"):
        loaded(tmp_path, text.replace(old, new))
