"""The types of what a Jinja2 template names, found without rendering it.

`problems` walks a template with the types of its variables and says which attributes are on no
type, which names are not defined and what is looked up by a key. Macros, also those of another
template, are walked at each call with the types of its arguments; the branches of a condition are
all walked.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from jinja2 import Environment, nodes

#: What a `for` loop knows of itself, as far as templates here ask.
_LOOP = {"first": bool, "last": bool, "index": int}


class _Loop:
    """Stands for the variable `loop`."""


def problems(
    source: str,
    variables: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]],
    others: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what is wrong with the names of a template, a line each.

    Parameters
    ----------
    source
        The template.
    variables
        Type of each variable that it is rendered with.
    filters
        Those of the environment besides Jinja2's own, with annotated results.
    others
        Templates that it takes macros from, by name.
    """
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(filters)
    walk = _Walk(filters, environment, others or {})
    walk.block(environment.parse(source).body, dict(variables))
    return walk.faults


class _Walk:
    """One walk through a template."""

    def __init__(
        self,
        filters: Mapping[str, Callable[..., Any]],
        environment: Environment,
        others: Mapping[str, str],
    ) -> None:
        self.faults: list[str] = []
        self._filters = filters
        self._environment = environment
        self._others = others
        self._macros: dict[str, nodes.Macro] = {}
        self._active: list[str] = []

    def block(self, body: list[nodes.Node], env: dict[str, Any]) -> None:
        """Walk statements, which may set variables."""
        for node in body:
            self._statement(node, env)

    def _statement(self, node: nodes.Node, env: dict[str, Any]) -> None:
        match node:
            case nodes.Output():
                for part in node.nodes:
                    self.type_of(part, env)
            case nodes.Macro():
                self._macros[node.name] = node
            case nodes.FromImport():
                self._import(node)
            case nodes.Assign():
                assert isinstance(node.target, nodes.Name)
                env[node.target.name] = self.type_of(node.node, env)
            case nodes.If():
                self.type_of(node.test, env)
                for body in (node.body, node.else_):
                    self.block(body, env)
                for other in node.elif_:
                    self._statement(other, env)
            case nodes.For():
                inner = {**env, "loop": _Loop}
                self._bind(node.target, self._item(self.type_of(node.iter, env), node), inner)
                if node.test is not None:
                    self.type_of(node.test, inner)
                self.block(node.body, inner)
            case nodes.TemplateData():
                pass
            case _:
                self._say(node, f"{type(node).__name__} is not known to this check")

    def _import(self, node: nodes.FromImport) -> None:
        """Know all macros of the other template, which call each other; it sees no variables."""
        assert isinstance(node.template, nodes.Const)
        other = self._environment.parse(self._others[node.template.value])
        macros = {each.name: each for each in other.find_all(nodes.Macro)}
        for name in node.names:
            if name not in macros:
                self._say(node, f"{node.template.value} has no macro {name}")
        self._macros |= macros

    def type_of(self, node: nodes.Expr | nodes.Node, env: Mapping[str, Any]) -> Any:
        """Return the type of an expression; `Any` where it has none that matters."""
        match node:
            case nodes.Name():
                if node.name in env or node.name in self._macros:
                    return env.get(node.name, Any)
                self._say(node, f"{node.name} is not defined")
            case nodes.Getattr():
                return self._attribute(self.type_of(node.node, env), node.attr, node)
            case nodes.Getitem():
                self.type_of(node.node, env)
                self._say(node, "a look-up by key or index has no type")
            case nodes.Call():
                return self._call(node, env)
            case nodes.Filter():
                for part in (node.node, *node.args):
                    if part is not None:
                        self.type_of(part, env)
                if node.name in self._filters:
                    return get_type_hints(self._filters[node.name])["return"]
            case nodes.Const() | nodes.TemplateData():
                pass
            case _:
                for part in node.iter_child_nodes():
                    self.type_of(part, env)
        return Any

    def _call(self, node: nodes.Call, env: Mapping[str, Any]) -> Any:
        arguments = [self.type_of(argument, env) for argument in node.args]
        given = {pair.key: self.type_of(pair.value, env) for pair in node.kwargs}
        macro = self._macros.get(getattr(node.node, "name", ""))
        if macro is None:
            self._say(node, "only macros may be called: give the type an attribute")
            return Any
        if macro.name in self._active:
            return Any
        self._active.append(macro.name)
        names = [argument.name for argument in macro.args]
        bound = dict.fromkeys(names, Any) | dict(zip(names, arguments, strict=False)) | given
        self.block(macro.body, {**env, **bound})
        self._active.pop()
        return str

    def _attribute(self, owner: Any, name: str, node: nodes.Node) -> Any:
        wanted = []
        for kind in _members(owner):
            if kind is _Loop and name in _LOOP:
                wanted.append(_LOOP[name])
                continue
            attribute = _attribute_type(kind, name)
            if attribute is None:
                shown = getattr(kind, "__name__", str(kind))
                self._say(node, f"{shown} has no attribute {name}")
            wanted.append(Any if attribute is None else attribute)
        return wanted[0] if len(set(wanted)) == 1 else Any

    def _item(self, kind: Any, node: nodes.Node) -> Any:
        """Return the type of what a loop runs over."""
        (kind,) = _members(kind)
        arguments = get_args(kind)
        one_kind = len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis)
        if get_origin(kind) in (tuple, list) and one_kind:
            return arguments[0]
        self._say(node, f"a loop over {kind}: neither tuple[X, ...] nor list[X]")
        return Any

    def _bind(self, target: nodes.Node, kind: Any, env: dict[str, Any]) -> None:
        if isinstance(target, nodes.Name):
            env[target.name] = kind
        else:
            self._say(target, "a loop over several variables: give the item a type with names")

    def _say(self, node: nodes.Node, text: str) -> None:
        line = f"line {node.lineno}: {text}"
        if line not in self.faults:
            self.faults.append(line)


def _members(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, None left out: conditions keep that away."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        yield from (member for member in get_args(kind) if member is not type(None))
    else:
        yield kind


def _attribute_type(kind: Any, name: str) -> Any:
    """Return the type of a field or property of a class with annotated fields; None: none."""
    if not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return None
    hints = get_type_hints(kind)
    if name in hints:
        return hints[name]
    member = getattr(kind, name, None)
    if isinstance(member, property) and member.fget is not None:
        return get_type_hints(member.fget)["return"]
    return None
