"""Leaves as text in LLVM's language, which LLVM sees when a part is whole.

A name tells all of what it names: it holds a digest of the text, which has the names of all that it calls.  So whatever
was compiled in whatever order, in this process or in the one that wrote a file of the cache, one name is never two
things.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from fastbp.kernels.compiler.machine_code import Part

_DIGITS = 24  # of a digest


class Text(NamedTuple):
    """What a module says."""

    definitions: dict[str, str]  # by name
    declarations: dict[str, str]
    metadata: tuple[str, ...]


def text_of(codegen: Any, module: Any, name: str, new: str, exported: bool) -> tuple[Text, str, dict[Part, None]]:
    """Return what a module of `llvmlite.ir` says, its function's new name, and the parts of what is written by hand.

    Parameters
    ----------
    codegen : numba.core.codegen.JITCPUCodegen
        What knows the processor.
    module : llvmlite.ir.Module
        The module of one leaf.
    name, new : str
        The leaf's name and the beginning of its new one.
    exported : bool
        Whether other parts call it.
    """
    by_hand = {key: value for key, value in module.globals.items() if _is_by_hand(value)}
    others = {key: value for key, value in module.globals.items() if key != name and key not in by_hand}
    declarations = {key: str(value) for key, value in others.items()}
    metadata = tuple(map(str, module.metadata))
    definition, parts = str(module.globals[name]), dict[Part, None]()
    if by_hand:
        names, parts = _apart(codegen, by_hand, declarations, metadata)
        for key, value in by_hand.items():
            definition = definition.replace(f'@"{key}"', f'@"{names[key]}"')
            declarations[names[key]] = _declaration(value, names[key])
    own = {key for key, value in others.items() if _is_defined(value)}
    if own:  # tables of constants, whose names are the same in each leaf
        names = _names(own, [declarations[key] for key in own])
        declarations = {names.get(key, key): _renamed(text, names) for key, text in declarations.items()}
        definition = _renamed(definition, names)
    new = f"{new}.{_digest(definition, *metadata)}"
    definition = definition.replace(f'@"{name}"', f'@"{new}"')
    if exported:
        definition = _exported(definition)
    return Text({new: definition}, declarations, metadata), new, parts


def joined(codegen: Any, texts: Iterable[Text]) -> str:
    """Return the text of one module with all that the texts define."""
    definitions, declarations, nodes = dict[str, str](), dict[str, str](), list[str]()
    for text in texts:
        declarations |= text.declarations
        first = len(nodes)
        definitions |= {key: _renumbered(definition, first) for key, definition in text.definitions.items()}
        nodes += [_renumbered(node, first) for node in text.metadata]
    rest = [declaration for name, declaration in declarations.items() if name not in definitions]
    head = [f'target triple = "{llvm.get_process_triple()}"', f'target datalayout = "{codegen._data_layout}"']
    lines = "\n".join([*head, *rest, *definitions.values(), *nodes])
    return lines.encode().decode("latin1")  # as Numba has it, for names beyond ASCII


def _renumbered(text: str, first: int) -> str:
    """Have the nodes of metadata, which each text counts from 0, begin at `first`."""
    return re.sub(r"!(\d+)", lambda found: f"!{first + int(found[1])}", text) if first and "!" in text else text


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:_DIGITS]


def _names(old: Iterable[str], texts: Iterable[str]) -> dict[str, str]:
    """Return new names, which tell what the texts say."""
    digest = _digest(*sorted(texts))
    return {name: f"{name}.{digest}" for name in old}


def _renamed(text: str, names: dict[str, str]) -> str:
    """Put new names in the places of old ones."""
    pattern = "|".join(f'@"{re.escape(name)}"' for name in names)
    return re.sub(pattern, lambda found: f'@"{names[found[0][2:-1]]}"', text)


def _exported(definition: str) -> str:
    """Have other parts find what is defined."""
    return definition.replace("linkonce_odr ", "", 1)


# --- functions written by hand ----------------------------------------------------------------------------------------

_homes = dict[tuple[str, str], tuple[str, Part]]()  # by name and text: the name that is seen, and the part


def _is_by_hand(value: Any) -> bool:
    """Whether something is a function that is never inlined, or a table of such (see `vector_writer.new_function`)."""
    if value.linkage != "linkonce_odr":
        return False
    return "noinline" in value.attributes if isinstance(value, ir.Function) else value.initializer is not None


def _is_defined(value: Any) -> bool:
    """Whether something is a function with instructions, or a constant with a value."""
    return not value.is_declaration if isinstance(value, ir.Function) else value.initializer is not None


def _apart(
    codegen: Any, by_hand: dict[str, Any], declarations: dict[str, str], metadata: tuple[str, ...]
) -> tuple[dict[str, str], dict[Part, None]]:
    """Return the names and the parts of functions written by hand; it makes no difference that they are apart."""
    texts = {name: str(value) for name, value in by_hand.items()}
    if any((name, text) not in _homes for name, text in texts.items()):
        names = _names(texts, texts.values())
        definitions = {names[name]: _exported(_renamed(text, names)) for name, text in texts.items()}
        whole = "\n".join(texts.values())
        used = {key: text for key, text in declarations.items() if f'@"{key}"' in whole}
        part = Part(f"fastbp.{_digest(*texts.values())}", codegen, joined(codegen, [Text(definitions, used, metadata)]))
        part.begin()
        _homes.update({(name, text): (names[name], part) for name, text in texts.items()})
    homes = {name: _homes[name, text] for name, text in texts.items()}
    return {name: home[0] for name, home in homes.items()}, dict.fromkeys(home[1] for home in homes.values())


def _declaration(value: Any, name: str) -> str:
    """Declare what is defined in a part."""
    if isinstance(value, ir.Function):
        arguments = ", ".join(str(argument) for argument in value.function_type.args)
        return f'declare {value.function_type.return_type} @"{name}"({arguments})'
    return f'@"{name}" = external constant {value.value_type}'
