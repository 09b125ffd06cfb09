"""C files as text: names, comments, paths, wrong input; no compiler is needed here."""

import json
import os
import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp as bp
from fastbp.export.c_source import CFile, checked_name, literal, paths_of, quoted

NET = bp.Network([2, 3, 1], "tanh", dtype="float32", seed=0)


def error(kind, call, *arguments, **keywords):
    """The message of the error of a call."""
    with pytest.raises(kind) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


# ---- What a user names -----------------------------------------------------------------------------------------------


@given(st.text())
def test_a_quoted_text_is_one_harmless_line(text):
    line = quoted(text)
    assert line.isascii()
    assert line.isprintable()
    assert not re.search(r"\*/|/\*|\?\?|\\$", line)
    assert (line[0], line[-1]) == ('"', '"')
    # what was escaped beyond JSON is only the second of two signs
    assert json.loads(re.sub(r"(?<=\*)\\(?=/)|(?<=/)\\(?=\*)|(?<=\?)\\(?=\?)", "", line)) == text


@given(st.lists(st.sampled_from(["*", "/", "?", "\\", "\n", "a", "\u00f6", '"', "=", "/", "*"])).map("".join))
def test_a_quoted_text_of_the_signs_that_matter_too(text):
    line = quoted(text)
    assert not re.search(r"\*/|/\*|\?\?|\n", line)


@given(st.text() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,60}", fullmatch=True))
def test_a_name_is_refused_or_an_identifier(name):
    try:
        assert checked_name(name, "x.c") == name
    except ValueError:
        assert not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,39}", name)
    else:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII)
        assert "__" not in name
        assert len(name) < 41


RULE = "must be an identifier of C, which has letters, digits and underscores and begins with a letter; got"
UNDERSCORES = "must have no underscore at its end and no two in a row, which are the compiler's; got"
FILE = "The file's name, which all names in C begin with,"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2net", f"`name` {RULE} '2net'."),
        ("n\u00e9t", f"`name` {RULE} 'n\u00e9t'."),
        ("net\n", f"`name` {RULE} 'net\\n'."),
        ("", f"`name` {RULE} ''."),
        ("my net", f"`name` {RULE} 'my net'."),
        ("_net", f"`name` {RULE} '_net'."),
        ("net_", f"`name` {UNDERSCORES} 'net_'."),
        ("my__net", f"`name` {UNDERSCORES} 'my__net'."),
        ("a" * 41, "`name` must have at most 40 characters; got 41."),
    ],
)
def test_names_that_c_cannot_have(name, message, tmp_path):
    assert error(ValueError, NET.to_c, tmp_path / "net.c", name) == message
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("my-net.c", f"{FILE} {RULE} 'my-net'. Give another as name=."),
        ("a__b.c", f"{FILE} {UNDERSCORES} 'a__b'. Give another as name=."),
    ],
)
def test_file_names_that_give_no_name(file, message, tmp_path):
    assert error(ValueError, NET.to_c, tmp_path / file) == message
    assert not os.listdir(tmp_path)
    NET.to_c(tmp_path / file, "net")
    text = (tmp_path / file).read_text()
    assert f'#include "{file[:-2]}.h"' in text
    assert "void net_predict(" in text


def test_the_name_begins_all_names(tmp_path):
    bp.Network([2, 9, 9], ["gelu"], "softmax", seed=0).to_c(tmp_path / "a.c", "Motor2", test_vectors=2)
    text = (tmp_path / "a.c").read_text()
    assert "cc -std=c99 -O2 -c a.c," in text
    assert "-DMOTOR2_TEST a.c -lm" in text
    code = re.sub(r'/\*.*?\*/|"[^"\n]*"', "", text, flags=re.DOTALL)
    assert not re.search(r"\b(?:Motor2|MOTOR2)\b", code)  # so that it may be a word or a function of C
    defined = re.findall(r"^(?:static )?(?:const )?\w+ (\w+)[(\[]|^#define (\w+)", code, re.MULTILINE)
    names = {a or b for a, b in defined} - {"main"}
    assert {"Motor2_predict", "Motor2_dense", "Motor2_W1", "Motor2_test", "MOTOR2_FLASH"} <= names
    assert all(name.startswith(("Motor2_", "MOTOR2_")) for name in names)


# ---- Paths -----------------------------------------------------------------------------------------------------------


def test_paths_that_cannot_be(tmp_path):
    assert error(ValueError, paths_of, "net.cpp") == (
        "`path` must be the name of a C file, which ends in '.c'; got 'net.cpp'."
    )
    assert error(ValueError, paths_of, ".c") == "`path` must be the name of a C file, which ends in '.c'; got '.c'."
    assert error(ValueError, paths_of, 'a"b.c') == (
        "`path` must have a file name of letters, digits, spaces and _ . + - because the C file includes its header by "
        "it; got 'a\"b.c'."
    )
    assert error(TypeError, NET.to_c, 3) == ("`path` must be the name of a file, a str or os.PathLike[str]; got int.")
    (tmp_path / "net.h").mkdir()
    assert "`path` must be the name of a file, not of a folder" in error(
        IsADirectoryError, NET.to_c, tmp_path / "net.c"
    )
    assert os.listdir(tmp_path) == ["net.h"]
    assert "must lie in a folder that exists" in error(FileNotFoundError, NET.to_c, tmp_path / "no" / "net.c")


@pytest.mark.parametrize("link", ["net.c", "net.h"])
def test_a_file_that_is_its_own_header_is_refused(link, tmp_path):
    target = tmp_path / ("net.h" if link == "net.c" else "net.c")
    target.write_text("mine")
    try:
        (tmp_path / link).symlink_to(target)
    except OSError:
        pytest.skip("there are no links here")
    assert error(ValueError, NET.to_c, tmp_path / "net.c") == (
        f"`path` must not be a link to its own header, or the header one to it; got {str(tmp_path / 'net.c')!r}."
    )
    assert target.read_text() == "mine"


@pytest.mark.parametrize("broken", ["net.c", "net.h"])
def test_both_files_or_none(broken, tmp_path, monkeypatch):
    from fastbp.system import whole_files

    NET.to_c(tmp_path / "net.c")
    before = {name: (tmp_path / name).read_bytes() for name in ("net.c", "net.h")}
    assert list(before) == sorted(os.listdir(tmp_path))
    flush, writes = os.fsync, []

    def full_disk(handle):
        writes.append(handle)
        # the header is written within the writing of the C file, and first of both
        if len(writes) == (1 if broken == "net.h" else 3):
            raise OSError(28, "No space left on device")
        return flush(handle)

    monkeypatch.setattr(whole_files.os, "fsync", full_disk)
    other = bp.Network([2, 3, 1], "tanh", dtype="float32", seed=1)
    error(OSError, other.to_c, tmp_path / "net.c")
    monkeypatch.undo()
    after = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert after["net.c"] == before["net.c"]
    assert set(after) == set(before)
    if broken == "net.h":
        assert after == before


def test_an_error_names_the_file_that_could_not_be_written(tmp_path):
    link = tmp_path / "net.h"
    try:
        link.symlink_to(tmp_path / "no" / "net.h")
    except OSError:
        pytest.skip("there are no links here")
    with pytest.raises(FileNotFoundError, match="must lie in a folder that exists") as caught:
        NET.to_c(tmp_path / "net.c")
    assert caught.value.filename == str(link)
    assert os.listdir(tmp_path) == ["net.h"]


def test_no_name_is_longer_than_c_promises(tmp_path):
    net = bp.Network([2, 9, 9], ["gelu"], "softmax", dtype="float32", seed=0)
    for number, keywords in enumerate(({}, {"format": "q15", "input_range": (0, 1)})):
        net.to_c(tmp_path / f"{number}.c", "n" * 40, test_vectors=2, **keywords)
        for end in "ch":
            words = re.findall(r"\w+", (tmp_path / f"{number}.{end}").read_text())
            assert 40 < max(map(len, words)) < 64


def number(text):
    """What a C compiler reads."""
    return float.fromhex(text) if "0x" in text else float(text)


def test_numbers_are_exact():
    assert [literal(value, "float") for value in (np.inf, -np.inf, np.nan)] == ["INFINITY", "-INFINITY", "NAN"]
    for value in (0.1, -1 / 3, 1e300, 5e-324, 0.0, -0.0, 1.5, 999.5, 123456789.0, 2.0**-30):
        assert np.float64(number(literal(value, "double"))).tobytes() == np.float64(value).tobytes()
    for value in np.array([0.1, -1 / 3, 1e38, 1e-45, -0.0, 1.5, 3e-39], np.float32):
        text = literal(value, "float")
        assert text.endswith("f")
        assert np.float32(number(text[:-1])).tobytes() == value.tobytes()
    assert literal(np.int16(-32768), "int16_t") == "-32768"


# ---- Wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"name": 3}, TypeError, "`name` must be a str, which all names in C begin with; got int."),
        ({"exact": 1}, TypeError, "`exact` must be True or False; got int."),
        ({"test_vectors": -1}, ValueError, "`test_vectors` must be at least 0; got -1."),
        ({"test_vectors": True}, TypeError, "`test_vectors` must be an integer of at least 0; got True."),
        (
            {"test_vectors": [[1.0]]},
            ValueError,
            "`test_vectors` must have shape (n_samples, 2) to fit the first layer; got (1, 1).",
        ),
    ],
)
def test_wrong_arguments(keywords, kind, message, tmp_path):
    assert error(kind, NET.to_c, tmp_path / "net.c", **keywords) == message
    assert not os.listdir(tmp_path)


def test_networks_that_c_cannot_have(tmp_path):
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    assert error(ValueError, bp.Network([2, 1], output=cube).to_c, tmp_path / "net.c") == (
        "`net` must have built-in activations only to become C; it has 'cube'."
    )
    bad = bp.Network([2, 1], seed=0)
    bad.weights[0][0, 0] = np.nan
    assert error(ValueError, bad.to_c, tmp_path / "net.c") == (
        "`net.params` must be finite for a C file, because NaN and infinity would predict nothing."
    )
    assert not os.listdir(tmp_path)


# ---- What stands in the files ----------------------------------------------------------------------------------------


def test_names_of_features_stand_in_the_head(tmp_path):
    pandas = pytest.importorskip("pandas")
    names = ["height */ int x;", "gr\u00f6\u00dfe??/"]
    net = bp.Network([2, 1], seed=0)
    net.fit(pandas.DataFrame(np.zeros((4, 2)), columns=names), np.zeros((4, 1)), epochs=1)
    net.to_c(tmp_path / "net.c")
    head = (tmp_path / "net.c").read_text().split("*/")[0]
    assert 'x[0] is "height *\\/ int x;"' in head
    assert 'x[1] is "gr\\u00f6\\u00dfe?\\?/"' in head


def test_rows_for_the_test_have_the_columns_of_fit(tmp_path):
    pandas = pytest.importorskip("pandas")
    net, frame = bp.Network([2, 1], seed=0), pandas.DataFrame(np.eye(2), columns=["a", "b"])
    net.fit(frame, np.zeros((2, 1)), epochs=1)
    for keywords in ({}, {"format": "q15", "input_range": (0, 1)}):
        message = error(ValueError, net.to_c, tmp_path / "net.c", test_vectors=frame[["b", "a"]], **keywords)
        assert message.startswith("`test_vectors` must have its columns in the order of `fit`")
    assert not os.listdir(tmp_path)


def test_the_report_counts_bytes(tmp_path):
    report = bp.Network([5, 7, 3, 9, 4], "tanh", dtype="float32", seed=0).to_c(tmp_path / "net.c")
    assert report == (str(tmp_path / "net.c"), str(tmp_path / "net.h"), 4 * (42 + 24 + 36 + 40), 4 * (9 + 3))
    head = (tmp_path / "net.c").read_text().split("*/")[0]
    assert "Memory: 568 bytes of constants, in flash where there is one; arrays of 48\n * bytes on" in head
    assert "a feed-forward network of 142 parameters in float" in head
    assert "5 inputs; 7 tanh; 3 tanh; 9 tanh; 4 identity." in head
    assert bp.Network([5, 3], seed=0).to_c(tmp_path / "net.c").buffer_bytes == 0


def test_files_are_the_same_each_time(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        NET.to_c(tmp_path / folder / "net.c", test_vectors=3)
    for name in ("net.c", "net.h"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes().isascii()


def test_a_function_stands_in_a_file_once():
    file = CFile("net")
    for _ in range(2):
        file.add("static int net_one(void);")
    assert file.parts == ["static int net_one(void);"]
