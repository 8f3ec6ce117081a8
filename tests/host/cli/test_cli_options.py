"""What options take: every number, name and path of every command, and of `pimloop`'s functions.

A value that nothing can use is one error with exit code 2 before any work; so is an option that
would do nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.tiny_checkpoints import write_checkpoint

import pimloop
from pimloop.host.cli import build_parser, main
from pimloop.host.cli.arguments import (
    Several,
    parse_axis,
    parse_count,
    parse_lengths_of_axis,
    parse_name,
    parse_path,
    parse_seed,
    parse_setting,
    parse_shape,
    parse_weights,
    positive_seconds,
    whole_number,
)
from pimloop.host.cli.options import OPTIONS
from pimloop.host.common.numbers import LARGEST

#: Texts that are no whole number of decimal digits.
NO_NUMBERS = [
    "-1",
    "+1",
    "1_000",
    "1.0",
    "1e3",
    "nan",
    "inf",
    "1e400",
    "",
    " ",
    " 1",
    "٣",
    "²",
    "x",
]
TOO_LARGE = [str(10**30), str(LARGEST + 1), "9" * 5000]

NUMBERS = {whole_number: 0, parse_seed: 0, parse_count: 1}
#: Parsers of text with a form of its own.
OTHER_FORMS = {parse_shape, parse_axis, parse_setting, parse_lengths_of_axis, parse_weights}


def options(flags=False):
    """Return (command, its option or operand) of every command; flags take no value."""
    waiting, actions = [("pimloop", build_parser())], []
    while waiting:
        name, parser = waiting.pop()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += [(f"{name} {word}", p) for word, p in action.choices.items()]
            elif flags or action.nargs != 0:
                actions.append((name, action))
    return actions


def test_every_option_has_a_parser_that_refuses_what_it_cannot_use():
    numeric = 0
    for command, action in options():
        where = f"{command} {'/'.join(action.option_strings) or action.dest}"
        if action.choices is not None:
            continue
        parse = action.type.parse if isinstance(action.type, Several) else action.type
        if parse in OTHER_FORMS or parse in (parse_name, parse_path, positive_seconds):
            continue
        if where in UNPARSED:
            continue
        assert parse in NUMBERS, where
        numeric += 1
    assert numeric > 30


#: Of two commands that share their whole parser.
SHARED = {"--help", "--waves", "--command-trace", "--command-trace-format"}


def test_an_option_of_several_commands_is_written_once():
    """It has one parser, so that a value is refused by all of them in the same words."""
    commands: dict[str, list] = {}
    for command, action in options(flags=True):
        for name in action.option_strings:
            commands.setdefault(name, []).append((command, action))
    shared = {
        name for name, taken in commands.items() if len(taken) > 1 and name.startswith("--")
    } - SHARED - {"--flavour"}  # fmt: skip
    assert shared <= OPTIONS.keys()
    for name in shared:
        for command, action in commands[name]:
            if f"{command} {name}" in UNPARSED:
                continue
            parse = action.type.parse if isinstance(action.type, Several) else action.type
            alike = {parse_lengths_of_axis: parse_axis}.get(parse, parse)
            assert alike is OPTIONS[name].get("type"), (command, name)
            choices = OPTIONS[name].get("choices", ())
            assert set(choices) <= set(action.choices or ()), (command, name)  # some take more


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("--seq", "x"), ("--seq", "-1"), ("--axis", "past=x"), ("--axis", "=1"), ("--set", "lanes"),
        ("--shape", "x="), ("--batch", "0"), ("--seed", "-1"), ("--jobs", "0"), ("--platform", ""),
        ("--inputs", ""), ("--objective", "fast"),
    ],
    ids="=".join,
)  # fmt: skip
def test_a_sweep_refuses_a_value_in_the_words_of_one_run(option, wrong, capsys):
    reasons = [
        said(capsys, command, "m.onnx", f"{option}={wrong}")
        .splitlines()[-1]
        .partition("error: ")[2]
        for command in ("sim", "sweep")
    ]
    assert reasons[0].startswith(f"argument {option}: ")
    assert reasons[0] == reasons[1]


def test_several_values_are_each_parsed_as_one():
    assert Several(whole_number)("8,0") == [8, 0]
    assert parse_lengths_of_axis("past=8,16") == ("past", [8, 16])
    for text in ("8,", ",8", "8,,9", "8, 9"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number"):
            Several(whole_number)(text)
    for text in ("past=", "past=8,", "=8", "past=8,x", "past"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not of the form past_seq"):
            parse_lengths_of_axis(text)


#: Options whose words are read by the command itself, which is tested below.
UNPARSED = {
    "pimloop calibrate --costs",
    "pimloop partition --capacity-bytes",
    "pimloop validate-board --models",
    "pimloop validate-board --seq",
}


@pytest.mark.parametrize("text", NO_NUMBERS + TOO_LARGE)
def test_no_number_parser_takes_it(text):
    for parse in NUMBERS:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number"):
            parse(text)


@pytest.mark.parametrize("parse", NUMBERS, ids=lambda parse: parse.__name__)
def test_numbers_from_the_least_to_64_bits(parse):
    least = NUMBERS[parse]
    assert parse(str(least)) == least
    assert parse(str(LARGEST)) == LARGEST
    assert parse("007") == 7
    if least:
        with pytest.raises(argparse.ArgumentTypeError, match="of 1 or more"):
            parse("0")


@pytest.mark.parametrize(
    "text", ["0", "-1", "nan", "inf", "1e400", "1e300", "", "x", "1_0", "٣", "9" * 5000]
)
def test_no_time_out(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a positive number of seconds"):
        positive_seconds(text)


def test_time_outs():
    assert positive_seconds("0.5") == 0.5
    assert positive_seconds("1e9") == 1e9


@pytest.mark.parametrize("text", ["x=", "x=1,", "x=-1", "x=1_0", "x=٣", "=1", f"x={10**30}", "x=a"])
def test_no_shape_and_no_axis(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not of the form"):
        parse_shape(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is not of the form"):
        parse_axis(text)


def said(capsys, *arguments):
    """Run a command that must fail with exit code 2; return what it says."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert "Traceback" not in captured.err
    return captured.err


SEEDED = [
    ["sim", "bert-small"], ["run", "bert-small"], ["gemm", "1", "1", "1"],
    ["elementwise", "add", "1", "1"], ["profile", "bert-small", "-o", "x.json"],
    ["sweep", "bert-small"], ["models", "show", "bert-small"],
    ["waves", "bert-small", "--node", "x"],
]  # fmt: skip


@pytest.mark.parametrize("command", SEEDED, ids=lambda command: command[0])
@pytest.mark.parametrize("seed", ["-1", "1_000", str(10**30)])
def test_a_seed_is_a_whole_number_of_0_or_more(command, seed, capsys):
    assert f"argument --seed: '{seed}' is not a number" in said(capsys, *command, "--seed", seed)


def test_numbers_within_texts(capsys):
    for number in ("-1", "1_0", "٣", "9" * 5000, ""):
        err = said(capsys, "calibrate", "--costs", "bert", number, "c.json")
        assert "the sequence length must be at least 1" in err
        assert "give sequence lengths from 1 to 1024" in said(
            capsys, "validate-board", "--seq", f"8,{number or ' ,x'}"
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["sim", ""], ["run", " "], ["profile", "", "-o", "x"], ["models", "show", ""],
        ["sweep", "bert", ""], ["waves", "", "--node", "x"], ["waves", "bert", "--node", ""],
        ["sim", "bert", "--platform", ""], ["gemm", "1", "1", "1", "--platform", ""],
        ["sweep", "bert", "--platform", ""], ["sweep", "bert", "--scheduler", ""],
        ["models", "show", "bert", "--platform", ""], ["platforms", "show", ""],
        ["calibrate", "--platform", ""], ["validate-board", "--platform", ""],
        ["sim", "bert", "--policy", ""], ["run", "bert", "--policy", ""],
        ["partition", "--costs", "x", "--policy", ""], ["partition", "--costs", ""],
        ["sim", "bert", "--out", ""], ["sim", "bert", "--inputs", ""], ["report", ""],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_name_is_not_the_default(arguments, capsys):
    assert "the name is empty" in said(capsys, *arguments)


MODEL = ["--device", "model"]
NOTHING = [
    (["sim", "bert-small", *MODEL, "--lanes", "rtl"], "--lanes", "model device"),
    (["sim", "gpt2", "--generate", "2", *MODEL, "--lanes", "native"], "--lanes", "model device"),
    (["sim", "gpt2", "--generate", "2", *MODEL, "--im2col"], "--im2col", "--generate"),
    (["run", "bert-small", *MODEL, "--lanes", "rtl", "--no-cache"], "--lanes", "model"),
    (["run", "bert-small", *MODEL, "--other-shapes"], "--other-shapes", "--plan"),
    (["gemm", "1", "1", "1", *MODEL, "--lanes", "rtl"], "--lanes", "model device"),
    (["elementwise", "add", "1", "1", *MODEL, "--lanes", "rtl"], "--lanes", "model device"),
    (["sim", "bert-small", "--keep-fused"], "--keep-fused", ".onnx files"),
    (["models", "show", "bert-small", "--im2col"], "--im2col", ".onnx files"),
    (["models", "--seq", "4"], "--seq", "models show MODEL"),
    (["models", "list", "--platform", "aim", "--seed", "3"], "--seed, --platform", "models show"),
    (["calibrate", "--board", "--rounds", "3"], "--rounds", "nothing is measured"),
    (["sweep", "bert-small", "--scheduler", "tcp://x:1", "--jobs", "2"], "--jobs", "cluster"),
]


@pytest.mark.parametrize(("arguments", "option", "why"), NOTHING, ids=lambda value: str(value)[:40])
def test_an_option_that_would_do_nothing_is_an_error(arguments, option, why, capsys):
    err = said(capsys, *arguments)
    assert f"{option} would do nothing: " in err
    assert why in err


def test_a_length_without_an_axis_of_tokens_is_said_to_bind_nothing(tmp_path, capsys, caplog):
    path = tmp_path / "image.onnx"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["result"])], "g", [image], [result]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    assert main(["models", "show", str(path), "--seq", "1000000000"]) == 0
    assert f"{path} has no axis of tokens: --seq binds nothing" in caplog.text
    assert main(["models", "show", str(path), "--batch", "3"]) == 0


def test_lanes_and_lists_are_for_the_simulated_device(tmp_path, capsys):
    """What is refused for the model device is repeated in no report of it."""
    write_checkpoint(tmp_path / "tiny", "bert")
    arguments = ["run", str(tmp_path / "tiny"), "--seq", "4", *MODEL, "--json"]
    assert main(arguments) == 0
    command = json.loads(capsys.readouterr().out)["command"]
    assert "--flavour" not in command
    assert main([*command[1:], "--quiet"]) == 0


CALLS = [
    (lambda: pimloop.load_model("bert-small", seed=-1), "seed is -1; it must be a whole number"),
    (lambda: pimloop.load_model("bert-small", seed=1.5), "seed is 1.5; it must be a whole number"),
    (lambda: pimloop.load_model("bert-small", seed=True), "seed is True"),
    (lambda: pimloop.load_model("bert-small", tokens=0), "tokens is 0; it must be"),
    (lambda: pimloop.load_model("bert-small", tokens="8"), "tokens is '8'"),
    (lambda: pimloop.load_model("bert-small", batch=-1), "batch is -1"),
    (lambda: pimloop.load_model("bert-small", batch=float("nan")), "batch is nan"),
    (lambda: pimloop.load_model(""), "source is empty"),
    (lambda: pimloop.platform(""), "name is empty"),
    (lambda: pimloop.profile("bert-small", jobs=0), "jobs is 0"),
    (lambda: pimloop.simulate("bert-small", jobs=-1), "jobs is -1"),
    (lambda: pimloop.simulate("bert-small", tokens=0), "tokens is 0"),
    (lambda: pimloop.simulate("bert-small", ""), "name is empty"),
    (lambda: pimloop.simulate("bert-small", folder=""), "folder is empty"),
    (lambda: pimloop.simulate("bert-small", objective="fast"), "objective is 'fast'; it must be"),
    (lambda: pimloop.simulate("bert-small", device="gpu"), "device is 'gpu'; it must be one of"),
    (lambda: pimloop.execute("bert-small", {}, device=None), "device is None"),
    (lambda: pimloop.Device("aim", backend="gpu"), "backend is 'gpu'"),
    (lambda: pimloop.partition("c.json", objective=""), "objective is ''"),
    (lambda: pimloop.partition("c.json", time_limit_s=float("nan")), "time_limit_s is nan"),
    (lambda: pimloop.partition("c.json", time_limit_s=float("inf")), "time_limit_s is inf"),
    (lambda: pimloop.partition("c.json", time_limit_s=0), "time_limit_s is 0"),
    (lambda: pimloop.LoadOptions(seed=-1), "the seed is -1"),
    (lambda: pimloop.LoadOptions(seed=1.5), "the seed is 1.5; it must be a whole number of 0"),
    (lambda: pimloop.LoadOptions(seed=True), "the seed is True; it must be a whole number of 0"),
    (lambda: pimloop.LoadOptions(seed=10**30), f"it must be a whole number from 0 to {LARGEST}"),
    (lambda: pimloop.load_model("bert-small", seed=10**30), "it must be a whole number from 0 to"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_the_functions_refuse_the_same_values(call, message):
    with pytest.raises(pimloop.PimloopError) as caught:
        call()
    assert message in str(caught.value)


def test_a_seed_of_numpy_is_a_whole_number():
    assert (
        pimloop.load_model("bert-small", tokens=np.int64(4), seed=np.uint8(3)).graph.sequence_length
        == 4
    )


def test_paths_are_paths():
    assert parse_path("a/b") == Path("a/b")
