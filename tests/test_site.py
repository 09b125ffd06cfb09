"""The documentation site: every public name has its page, links lead to files, programs become pages and notebooks.

The built site itself is tested where ``FASTBP_SITE`` names its folder: it is opened in a browser, as a reader would.
"""

import ast
import contextlib
import functools
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PUBLIC = ("fastbp", "fastbp.neural_network", "fastbp.plotting", "fastbp.dask", "fastbp.nielsen")
SITE = os.environ.get("FASTBP_SITE")
built = pytest.mark.skipif(not SITE, reason="FASTBP_SITE names no folder with the built site")


def names_of_reference():
    """Return the names of each module that the API reference lists."""
    names, module = {}, None
    for line in (DOCS / "api" / "index.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            names.setdefault(module, []).append(line.strip())
    return names


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_every_public_name_once_and_no_other(module):
    if module == "fastbp.dask":
        pytest.importorskip("distributed")
    public = set(importlib.import_module(module).__all__) - {"__version__"}
    found = names_of_reference()[module]
    assert sorted(found) == sorted(public)


def test_the_reference_has_no_other_modules():
    assert sorted(names_of_reference()) == sorted(PUBLIC)


@functools.cache
def part(name):
    """Return a module of `docs/site_parts`, which is no package of ours."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(f"site_parts.{name}")
    finally:
        sys.path.remove(str(DOCS))


# ---- The page of the command line ------------------------------------------------------------------------------------


def test_the_page_of_the_command_line_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    datasets = pytest.importorskip("sklearn.datasets")
    from fastbp.command_line.main import main

    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    shown = page.split("$ fastbp train iris.csv\n")[1].split("\n$ fastbp predict")[0]
    iris = datasets.load_iris(as_frame=True)
    frame: pandas.DataFrame = iris.data.assign(species=iris.target_names[iris.target])
    frame.to_csv(tmp_path / "iris.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "iris.csv"]) == 0
    printed = capsys.readouterr().out
    without_times = [re.sub(r" in [\d.]+ m?s$", "", line) for line in (shown + "\n" + printed).splitlines() if line]
    half = len(without_times) // 2
    assert without_times[:half] == without_times[half:]
    assert main(["predict", "model.fastbp", "iris.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["prediction", "setosa", "setosa"]


# ---- Names -----------------------------------------------------------------------------------------------------------


def test_arguments_that_are_private_are_not_shown():
    import inspect

    import fastbp

    shown = part("members").signature_to_show
    for cls, is_shown in ((fastbp.History, False), (fastbp.Network, True), (fastbp.Adam, True)):
        signature = str(inspect.signature(cls))
        changed = shown(None, "class", cls.__name__, cls, {}, signature, None)
        assert changed == (None if is_shown else ("", "")), cls


def test_names_that_stand_in_two_modules_have_headings_of_their_own():
    headings = [
        part("members").shown_name(module, name) for module, names in names_of_reference().items() for name in names
    ]
    assert len(headings) == len(set(headings))
    assert {"Network", "nielsen.Network", "dask.fit", "MLPClassifier"} <= set(headings)


# ---- Links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(path.stem for path in DOCS.glob("*.md")))
def test_each_link_of_a_page_leads_to_a_file(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (DOCS / target).exists(), target


def test_links_that_leave_the_folder():
    rewrite = part("links").Rewriter(ROOT, "https://forge/fastbp")
    text = (
        "[a](../examples/05_half_moons.py) [b](../bench/README.md#x) [c](../examples/README.md) [d](trust.md) "
        "[e](../tests) ![f](../bench/results/dask-model.png) [g](../nothing.md) "
        "[h](guides/05_textbook.py) [i](guides/README.rst)"
    )
    source = [text]
    rewrite(None, "dask", source)
    assert source[0] == (
        "[a](auto_examples/05_half_moons.rst) [b](https://forge/fastbp/blob/main/bench/README.md#x) "
        "[c](auto_examples/index.rst) [d](trust.md) [e](https://forge/fastbp/tree/main/tests) "
        "![f](../bench/results/dask-model.png) [g](../nothing.md) "
        "[h](auto_guides/05_textbook.rst) [i](auto_guides/index.rst)"
    )
    source = [text]
    rewrite(None, "auto_examples/05_half_moons", source)  # which is no page in Markdown
    assert source == [text]


@pytest.mark.parametrize("page", ["contributing", "changelog"])
def test_files_of_the_repository_become_pages_whose_links_lead_somewhere(page):
    source = [(DOCS / f"{page}.md").read_text(encoding="utf-8")]
    part("links").Rewriter(ROOT, "https://forge/fastbp")(None, page, source)
    assert source[0].startswith("# ")
    assert "{include}" not in source[0]
    for target in re.findall(r"\]\(([^)#\s]+)", source[0]):
        assert target.startswith("https://") or (DOCS / target).suffix == ".md", target
        assert target.startswith("https://") or (DOCS / target).resolve().parent == DOCS, target
    if page == "contributing":
        assert "[SECURITY.md](https://forge/fastbp/blob/main/SECURITY.md)" in source[0]


def test_no_page_has_two_headings_that_are_the_same():
    for path in DOCS.glob("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        headings = re.findall(r"^#+ .*", text, flags=re.MULTILINE)
        assert len(headings) == len(set(headings)), path.name


def test_other_projects_names_are_known_without_their_sites(tmp_path):
    inventories = part("inventories")
    for project, (address, (remote, path)) in inventories.mapping(tmp_path).items():
        assert address.startswith("https://")
        assert remote is None  # the site's own list comes first
        head, body = Path(path).read_bytes().split(b"zlib.\n")
        assert head.startswith(f"# Sphinx inventory version 2\n# Project: {project}\n".encode())
        for line in zlib.decompress(body).decode().splitlines():
            assert re.fullmatch(r"\S+ (py:\w+ 1|std:\w+ -1) \S+ (-|\w[\w ]*)", line), line


# ---- Programs --------------------------------------------------------------------------------------------------------


def test_examples_are_pages_with_a_heading_and_the_same_program(tmp_path):
    pytest.importorskip("sphinx_gallery")
    programs = part("programs")
    programs.copy_examples(ROOT / "examples", tmp_path / "pages")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pages").iterdir()}
    (tmp_path / "pages" / "99_gone.py").write_text("")
    programs.copy_examples(ROOT / "examples", tmp_path / "pages")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pages").iterdir()} == before
    for path in (ROOT / "examples").glob("[0-9]*.py"):
        copy = ast.parse((tmp_path / "pages" / path.name).read_text(encoding="utf-8"))
        program = ast.parse(path.read_text(encoding="utf-8"))
        title, line, *_ = ast.get_docstring(copy).splitlines()
        assert title.startswith(f"{path.name[:2]} {ast.get_docstring(program).splitlines()[0].rstrip('.')}")
        assert line == "=" * len(title)
        assert list(map(ast.dump, copy.body[1:])) == list(map(ast.dump, program.body[1:]))


# ---- The built site --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder):
    """Serve a folder on this machine, and give its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("there is no Chromium with its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1300,1000",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.implicitly_wait(20)
    yield opened
    opened.quit()


@built
def test_a_reader_searches_for_a_name_and_follows_the_result(browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    with served(SITE) as address:
        browser.get(f"{address}/search.html?q=value_and_grad")
        WebDriverWait(browser, 30).until(lambda _: browser.find_elements(By.LINK_TEXT, "fastbp.Network.value_and_grad"))
        browser.find_element(By.LINK_TEXT, "fastbp.Network.value_and_grad").click()
        WebDriverWait(browser, 30).until(lambda _: "Network.value_and_grad" in browser.title)
        definition = browser.find_element(By.CSS_SELECTOR, 'dt[id="fastbp.Network.value_and_grad"]')
        assert definition.text.startswith("Network.value_and_grad(X, Y")
        assert "gradient" in browser.find_element(By.CSS_SELECTOR, "article dd").text
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not [entry for entry in errors if address in entry["message"]]


@built
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_can_be_read_in_both_themes(browser, theme):
    """The text's colour and its background differ, and nothing is wider than the window."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    # As a reader's system asks for it: what only the page is told, its scripts may take back while it begins.
    wish = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    shown = "return document.readyState == 'complete' && document.documentElement.dataset.theme"
    with served(SITE) as address:
        for page in ("index.html", "api/generated/fastbp.Network.fit.html", "auto_examples/05_half_moons.html"):
            browser.get(f"{address}/{page}")
            WebDriverWait(browser, 30).until(lambda _: browser.execute_script(shown) == theme)
            paragraph = browser.find_element(By.CSS_SELECTOR, "article p")
            colours = browser.execute_script(
                "return [getComputedStyle(arguments[0]).color, getComputedStyle(document.body).backgroundColor]",
                paragraph,
            )
            lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
            assert abs(lightness[0] - lightness[1]) > 300, (page, colours)
            assert (lightness[1] > 600) == (theme == "light")
            width = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert width <= 0, page


@built
def test_an_example_has_its_picture_links_and_notebook(browser):
    from selenium.webdriver.common.by import By

    with served(SITE) as address:
        browser.get(f"{address}/auto_examples/05_half_moons.html")
        pictures = browser.find_elements(By.CSS_SELECTOR, "article img.sphx-glr-single-img")
        assert len(pictures) == 3
        assert all(picture.get_property("naturalWidth") > 500 for picture in pictures)
        targets = {link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "article pre a")}
        assert f"{address}/api/generated/fastbp.Network.html#fastbp.Network" in targets
        notebooks = browser.find_elements(By.CSS_SELECTOR, 'a[href$=".ipynb"]')
        assert notebooks
        browser.get(f"{address}/api/generated/fastbp.WeightHistory.html")
        assert browser.find_elements(By.CSS_SELECTOR, 'article a[href*="auto_examples/05_half_moons.html"]')


@built
@pytest.mark.parametrize("page", ["auto_examples/01_two_neurons", "auto_guides/05_textbook"])
def test_a_notebook_runs(page, tmp_path):
    """Its cells one after the other, as in a notebook: without a file, and with arguments of another program."""
    [path] = Path(SITE).rglob(f"_downloads/*/{Path(page).name}.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code = code.replace("%matplotlib inline", "import matplotlib; matplotlib.use('agg')")
    found = subprocess.run(
        [sys.executable, "-c", code, "-f", "kernel.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    if "examples" in page:
        assert {picture.name for picture in tmp_path.glob("pictures/*.png")} == {
            "01_two_neurons.png",
            "01_many_steps.png",
        }
        assert found.stdout.count("IPython.core.display.Image object") == 2


@built
def test_each_public_name_has_a_page_and_fit_has_its_whole_text():
    import html

    for module, names in names_of_reference().items():
        for name in names:
            assert (Path(SITE) / "api" / "generated" / f"{module}.{name}.html").exists(), name
    import fastbp

    text = (Path(SITE) / "api" / "generated" / "fastbp.Network.fit.html").read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
    for line in fastbp.Network.fit.__doc__.splitlines():
        words = " ".join(re.sub(r"[`*]+", "", line).split())
        if re.fullmatch(r"[\w ,.;']{20,}", words):
            assert words.replace("'", "\u2019") in text or words in text, words
