"""Every public name has a docstring as numpydoc describes it, with an example; the examples run as doctests."""

import importlib
import inspect
import re

import pytest

import fastbp as bp

# The sections of numpydoc, in their order.
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "See Also", "Notes", "References",
            "Examples")  # fmt: skip
# Called by other modules of the package and by nobody else.
INTERNAL = {
    "Activation.addresses",
    "History.append",
    "History.extend",
    "Loss.addresses",
    "Optimizer.kernel_constants",
}
# The class's example shows them.
SCIKIT_LEARNS = {"fit", "partial_fit", "predict", "predict_log_proba", "predict_proba", "score"}
PUBLIC_MODULES = ("neural_network", "nielsen", "nielsen2")  # and `plotting`, whose tests look at its documentation


def is_documented_here(value):
    """Whether it is a class or function, and fastbp's."""
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("fastbp")


def members(name, cls):
    """The methods of a class, inherited ones among them, with their names."""
    for key in dir(cls):
        member = inspect.getattr_static(cls, key)
        function = getattr(member, "__func__", member)
        if key.startswith("_") or not inspect.isfunction(function) or not function.__module__.startswith("fastbp"):
            continue
        names = {f"{owner.__name__}.{key}" for owner in cls.__mro__}
        if not names & INTERNAL and not (key in SCIKIT_LEARNS and "neural_network" in cls.__module__):
            yield f"{name}.{key}", function


def public_names():
    """Every public class, function and method: of `fastbp`, and of the modules that have a list of public names."""
    found = {name: getattr(bp, name) for name in bp.__all__}
    for module in PUBLIC_MODULES:
        content = importlib.import_module(f"fastbp.{module}")
        found |= {f"{module}.{name}": getattr(content, name) for name in content.__all__ if name not in bp.__all__}
    found = {name: value for name, value in found.items() if is_documented_here(value)}
    for name, value in list(found.items()):
        if inspect.isclass(value):
            found |= dict(members(name, value))
    return found


PUBLIC = public_names()
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
every_name = pytest.mark.parametrize("name", PUBLIC)


def sections(value):
    """The text of each section of a docstring; the summary has the name ''."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


def test_there_are_names():
    assert {"Network", "Network.fit", "Network.save", "load", "History.plot"} <= set(PUBLIC)


@every_name
def test_sections_are_those_of_numpydoc_in_their_order(name):
    found = [section for section in sections(PUBLIC[name]) if section]
    assert set(found) <= set(SECTIONS)
    assert found == sorted(found, key=SECTIONS.index)


@every_name
def test_the_summary_is_one_sentence_on_one_line(name):
    summary = sections(PUBLIC[name])[""].split("\n\n")[0]
    assert "\n" not in summary
    assert summary.endswith((".", ":"))


@every_name
def test_there_is_an_example(name):
    """Pytest runs it, since `testpaths` has the package and `addopts` the doctests."""
    assert ">>> " in sections(PUBLIC[name]).get("Examples", "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_described(name):
    function = FUNCTIONS[name]
    result = inspect.signature(function).return_annotation
    assert result is not inspect.Signature.empty
    if result not in ("None", None) and "see `fastbp." not in sections(function)[""].split("\n\n")[0]:
        assert "Returns" in sections(function) or "Return" in sections(function)[""], name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_annotated(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    missing = [p.name for p in parameters if p.annotation is p.empty and p.name not in ("self", "cls")]
    assert missing == []


@every_name
def test_arguments_are_described(name):
    value, text = PUBLIC[name], inspect.getdoc(PUBLIC[name])
    if inspect.isclass(value) and issubclass(value, BaseException):
        return  # raised by fastbp, not made by its users
    if getattr(value, "_is_protocol", False):
        return  # a type for annotations, which nobody makes
    if "see `fastbp." in sections(value)[""].split("\n\n")[0]:
        return  # described where the work is done
    for argument in inspect.signature(value).parameters:
        row = rf"^[`]*(\w+, )*{argument}(, \w+)*[`]*( : |$)"
        if argument not in ("self", "cls") and not argument.startswith("_"):
            assert re.search(row, text, re.MULTILINE) or f"`{argument}`" in sections(value)[""], argument
