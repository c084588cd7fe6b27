"""The hash of a callable's code: what changes it, what does not, and what has none."""

import importlib
import shutil
import sys
import sysconfig
import types

import pytest

from dataprune import callables
from dataprune.callables import check_target, code_of, dotted_paths, read_code
from dataprune.code_text import stripped
from dataprune.errors import ConfigError
from tests.conftest import ROOT


class Folder:
    """A folder on sys.path in which a test writes its modules."""

    def __init__(self, path) -> None:
        self.path = path

    def write(self, **files):
        """Write `pkg__mod="..."` into pkg/mod.py, `pkg__INIT` into pkg/__init__.py; str or bytes."""
        for name, text in files.items():
            path = self.path / (name.replace("__", "/").replace("INIT", "__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        importlib.invalidate_caches()

    def code(self, target="mine.f"):
        return read_code(target)

    def changes(self, target="mine.f", **files):
        """Whether these files, in place of those that are there, change the code of the target."""
        before = self.code(target)
        assert before is not None
        self.write(**files)
        return self.code(target) != before


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (callables.parameters, callables.code_of, callables._file_of, callables._names_of):
        cached.cache_clear()  # other tests' modules have the same names
    return Folder(tmp_path)


# what the text of a module says

PLAIN = """import json

CONSTANT = 3


def f(x, k=2):
    y = [x, k]
    return y


class A:
    size = "big"
"""
SAME = {
    "comments": PLAIN.replace("k]", "k]  # why").replace("import", "# first\nimport"),
    "docstrings": '"""A module."""\n'
    + PLAIN.replace("    y =", '    """Return it.\n\n    # 3\n    """\n    y =').replace(
        "    size", '    "a class"\n    size'
    ),
    "a string that nobody uses": PLAIN.replace("    return", "    'no'\n    return"),
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "white space at the end": PLAIN + "\n   \n\t",
    "no line end at the end": PLAIN.rstrip("\n"),
    "a comment at the end": PLAIN + "# bye",
    "white space at the end without a line end": PLAIN + "    ",
    "layout": PLAIN.replace("[x, k]", "[\n        x,\n          k]").replace("(x, k=2)", "( x,k = 2 )"),
    "a continued line": PLAIN.replace("y = [", "y = \\\n        ["),
    "tabs": PLAIN.replace("    ", "\t"),
    "form feeds": PLAIN.replace("\n\n\n", "\n\f\n\n"),
    "line ends of Windows": PLAIN.replace("\n", "\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "an encoding": b"# -*- coding: latin-1 -*-\n# \xe9\n" + PLAIN.encode("latin-1"),
}
OTHER = {
    "a constant": PLAIN.replace("= 3", "= 4"),
    "a default": PLAIN.replace("k=2", "k=3"),
    "a word": PLAIN.replace("[x, k]", "[k, x]"),
    "a string": PLAIN.replace("big", "small"),
    "an argument's string": PLAIN.replace("[x, k]", "['x', k]"),
    "a statement more": PLAIN.replace("    return", "    y.sort()\n    return"),
    "a statement elsewhere": PLAIN.replace("\n    return y", "\n    for x in y:\n        pass\n    return y"),
    "an f-string that nobody uses": PLAIN.replace("    return", "    f'{y.sort()}'\n    return"),
    "another indent": "if 1:\n    a = 1\n    b = 2\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_what_does_nothing_changes_nothing(folder, text):
    folder.write(mine=PLAIN)
    assert not folder.changes(mine=text)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_what_does_something_changes_it(folder, text):
    folder.write(mine=PLAIN)
    assert folder.changes(mine=text)


def test_nesting_counts(folder):
    folder.write(mine="if x:\n    a()\n    b()\n")
    assert folder.changes(mine="if x:\n    a()\nb()\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('a = """x\n\ny"""\n', 'a = """x\ny"""\n'),
        ('a = """x\n  y"""\n', 'a = """x\ny"""\n'),
        ('a = """x # 1\n"""\n', 'a = """x # 2\n"""\n'),
        ('a = f"{x} 1"\n', 'a = f"{x} 2"\n'),
        ('a = f"{x}"\n', 'a = f"{y}"\n'),
        ('a = f"{x:>3}"\n', 'a = f"{x:>4}"\n'),
        ("a = f\"{f'{x}1'}\"\n", "a = f\"{f'{x}2'}\"\n"),
        ('a = f"""\n\n{x}"""\n', 'a = f"""\n{x}"""\n'),
        ('a = "x" "y"\n', 'a = "x" "z"\n'),
        ('a = "\u2028", f"{x}\u20281"\n', 'a = "\u2028", f"{x}\u20282"\n'),
        ('a = "\\t"\n', 'a = "\t"\n'),
    ],
)
def test_every_character_of_a_string_counts(folder, before, after):
    folder.write(mine=before)
    assert folder.changes(mine=after)


def test_line_ends_inside_strings_are_read_as_python_reads_them(folder):
    folder.write(mine='a = """x\ny"""\nb = f"""{x}\n"""\n')
    assert not folder.changes(mine='a = """x\r\ny"""\r\nb = f"""{x}\r\n"""\r\n')


def test_strings_do_not_run_into_the_words_after_them():
    assert stripped(b"a = 'x'\nb\n") != stripped(b"a = 'x\\nNEWLINE\\n.b'\n")


# what a module imports

HELPED = {
    "relatively": "from .helper import g\n",
    "from the folder": "from . import helper\n",
    "absolutely": "import pack.helper\n",
    "by another name": "from pack import helper as h\n",
    "everything": "from .helper import *\n",
    "inside a function": "def f():\n    from .helper import g\n    return g\n",
    "on a condition": "try:\n    import fast\nexcept ImportError:\n    from .helper import g\n",
    "for types only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .helper import g\n",
    "by name": "import importlib\nh = importlib.import_module('pack.helper')\n",
    "by a relative name": "from importlib import import_module\nh = import_module('.helper', __package__)\n",
    "by a name of a package": "from importlib import import_module\nh = import_module('.helper', package='pack')\n",
    "by a keyword": "import importlib\nh = importlib.import_module(name='pack.helper')\n",
    "by the builtin": "h = __import__('pack.helper')\n",
}


@pytest.mark.parametrize("text", HELPED.values(), ids=HELPED)
def test_an_imported_module_counts(folder, text):
    folder.write(pack__INIT="", pack__mine=text, pack__helper="def g(): return 1\n", pack__other="a = 1\n")
    assert not folder.changes("pack.mine.f", pack__other="a = 2\n"), "nobody imports it"
    assert not folder.changes("pack.mine.f", pack__helper="def g(): return 1  # one\n")
    assert folder.changes("pack.mine.f", pack__helper="def g(): return 2\n")


def test_what_an_imported_module_imports_counts(folder):
    folder.write(mine="import second\n", second="from third import g\n", third="g = 1\n", fourth="g = 1\n")
    assert folder.changes(third="g = 2\n")
    assert not folder.changes(fourth="g = 2\n")


def test_modules_that_import_one_another_count_once_each(folder):
    folder.write(mine="import second\n", second="import mine\na = 1\n")
    assert folder.changes(second="import mine\na = 2\n")


def test_names_that_a_package_hands_on_are_followed(folder):
    folder.write(mine="from pack import g\n", pack__INIT="from .deep.helper import g\n")
    folder.write(pack__deep__INIT="", pack__deep__helper="def g(): return 1\n", pack__deep__other="")
    assert folder.changes(pack__deep__helper="def g(): return 2\n")
    assert not folder.changes(pack__deep__other="a = 1\n")
    assert read_code("pack.g") is not None, "a function of the package itself"


def test_packages_above_a_module_run_before_it(folder):
    folder.write(up__INIT="a = 1\n", up__low__INIT="", up__low__mine="def f(): pass\n")
    assert folder.changes("up.low.mine.f", up__INIT="a = 2\n")


def test_relative_imports_go_up(folder):
    folder.write(up__INIT="", up__helper="a = 1\n", up__low__INIT="", up__low__mine="from ..helper import a\n")
    assert folder.changes("up.low.mine.f", up__helper="a = 2\n")


def test_a_star_import_brings_the_modules_that_a_package_lists(folder):
    folder.write(mine="from pack import *\n", pack__INIT="__all__ = ['helper']\n", pack__helper="a = 1\n")
    assert folder.changes(pack__helper="a = 2\n")


def test_folders_without_an_init_are_packages_too(folder):
    folder.write(one__two__mine="from one.two.helper import a\ndef f(x, k=1): pass\n", one__two__helper="a = 1\n")
    assert callables.parameters("one.two.mine.f").names == ("x", "k")
    assert folder.changes("one.two.mine.f", one__two__helper="a = 2\n")


def test_a_name_in_a_module_is_not_a_module_beside_it(folder):
    """`from second import helper`, where `second` is a file: helper.py in the same folder is another thing."""
    folder.write(mine="from second import helper\n", second="helper = 1\n", helper="a = 1\n")
    assert not folder.changes(helper="a = 2\n")
    folder.write(numpy_like="class json:\n    def dumps(): pass\n")
    assert read_code("numpy_like.json.dumps") == read_code("numpy_like.f")


def test_a_compiled_module_counts_by_its_bytes(folder):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    folder.write(mine="import fast\n")
    without = folder.code()
    for content in (b"\x7fELF 1", b"\x7fELF 2"):
        (folder.path / f"fast{suffix}").write_bytes(content)
        importlib.invalidate_caches()
        assert folder.code() != without
        without = folder.code()


def test_the_first_folder_on_the_path_is_the_one_that_counts(folder, tmp_path, monkeypatch):
    folder.write(mine="import helper\n", helper="a = 1\n")
    before = folder.code()
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "helper.py").write_text("a = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    assert folder.code() != before


# what the hash stands for


def test_functions_of_one_module_share_a_hash_and_modules_do_not(folder):
    folder.write(mine="def f(): pass\ndef g(): pass\nclass A: pass\n", yours="def f(): pass\ndef g(): pass\n")
    assert folder.code("mine.f") == folder.code("mine.g") == folder.code("mine.A") == folder.code("mine.A.method")
    assert folder.code("mine.f") != folder.code("yours.f")


def test_a_copied_folder_gives_the_same_hash(folder, tmp_path, monkeypatch):
    folder.write(pack__INIT="", pack__mine="from . import helper\n", pack__helper="a = 1\n")
    before = folder.code("pack.mine.f")
    shutil.copytree(tmp_path / "pack", tmp_path / "elsewhere" / "pack")
    shutil.rmtree(tmp_path / "pack")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    assert folder.code("pack.mine.f") == before


def test_the_hash_of_one_process_is_read_once(folder):
    folder.write(only_once="a = 1\n")
    before = code_of("only_once.f")
    assert folder.changes("only_once.f", only_once="a = 2\n")
    assert code_of("only_once.f") == before


# libraries and this package


@pytest.mark.parametrize("target", ["numpy.sort", "torch.optim.SGD", "json.dumps", "builtins.sorted", "sys.exit"])
def test_installed_distributions_and_python_are_libraries(target):
    assert read_code(target) is None


def test_a_distribution_in_a_site_packages_folder_is_a_library(tmp_path, monkeypatch):
    site = tmp_path / "env" / "lib" / "site-packages"
    (site / "made_dist").mkdir(parents=True)
    (site / "made_dist" / "__init__.py").write_text("def f(): pass\n")
    monkeypatch.syspath_prepend(str(site))
    assert read_code("made_dist.f") is None
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("import made_dist, numpy\n")
    importlib.invalidate_caches()
    before = read_code("mine.f")
    (site / "made_dist" / "__init__.py").write_text("def f(): return 1\n")
    assert read_code("mine.f") == before, "its version stands in the manifest"


SCORE = "dataprune.scores.dynamics.forgetting"


def test_this_package_counts_where_it_is_asked_for(folder):
    assert read_code(SCORE) is None
    assert read_code(SCORE, ours=True) == read_code("dataprune.scores.dynamics.el2n", ours=True)
    folder.write(mine="from dataprune.scores.dynamics import el2n\n")
    assert read_code("mine.f") != read_code("mine.f", ours=True), "also as what a user's function calls"


def test_this_package_counts_where_it_is_installed(monkeypatch):
    """From a wheel it lies in site-packages, as libraries do."""
    before = read_code(SCORE, ours=True)
    assert before is not None
    monkeypatch.setattr(callables, "_is_library", lambda origin: True)
    assert read_code(SCORE, ours=True) == before


def test_a_stage_of_ours_rests_on_what_it_imports(monkeypatch):
    seen = []
    real = callables.stripped
    monkeypatch.setattr(callables, "stripped", lambda content: seen.append(content) or real(content))
    read_code("dataprune.stages.select.run", ours=True)
    files = {path for path in (ROOT / "dataprune").rglob("*.py") if path.read_bytes() in seen}
    names = {path.relative_to(ROOT / "dataprune").as_posix() for path in files}
    assert {"stages/select.py", "config.py", "streams.py", "errors.py", "selectors/classes.py"} <= names
    assert not any(name.startswith(("report/", "pipeline")) for name in names)


# functions without code


def refused(target, key="method.score"):
    with pytest.raises(ConfigError) as caught:
        check_target({"_target_": target}, key)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{key}._target_='{target}': expected a function ")
    return str(caught.value)


def test_a_function_of_the_main_program_has_no_file_of_its_own(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "f", lambda: None, raising=False)
    with pytest.raises(LookupError, match="put the function into a module"):
        read_code("__main__.f")
    assert "put the function into a module" in refused("__main__.f")


def test_a_module_made_at_run_time_has_no_source(monkeypatch):
    made = types.ModuleType("made_at_run_time")
    made.f = lambda: None
    monkeypatch.setitem(sys.modules, "made_at_run_time", made)
    with pytest.raises(LookupError, match="no module named made_at_run_time, or it has no source file"):
        read_code("made_at_run_time.f")
    assert "no source file" in refused("made_at_run_time.f")


@pytest.mark.parametrize("target", ["f", ".f", "mine..f", "", "no_such_module.f"])
def test_what_is_no_dotted_path_has_no_code(target):
    with pytest.raises(LookupError):
        read_code(target)
    if target:
        refused(target)


BROKEN = {
    "syntax": (b"def f(:\n", "line 1: invalid syntax"),
    "indent": (b"def f():\n  a\n b\n", "line 3: unindent"),
    "tabs": (b"if 1:\n\tif 1:\n        a = 1\n", "line 3: inconsistent use of tabs"),
    "text": (b"a = '\xff'\n", "line 1: "),
    "encoding": (b"# coding: no-such\ndef f(): pass\n", "unknown encoding"),
    "nul": (b"a = 1\0\n", "null bytes"),
}


@pytest.mark.parametrize(("content", "text"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_python_answers_in_one_line(folder, content, text):
    folder.write(mine=content)
    message = refused("mine.f")
    assert text in message
    assert "mine.py" in message


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfdef f(x=1): pass\n",
        b"# coding: latin-1\nA = '\xe9'\ndef f(x=1): pass\n",
        b"def f(x=1):\r\n\tpass\r\n",
    ],
    ids=["byte order mark", "latin-1", "Windows"],
)
def test_what_python_reads_is_read(folder, content):
    folder.write(mine=content)
    assert check_target({"_target_": "mine.f"}, "m").names == ("x",)


def test_a_helper_that_is_no_python_answers_in_one_line(folder):
    folder.write(mine="from helper import g\ndef f(x=1): pass\n", helper="def g(:\n")
    assert "helper.py, line 1: invalid syntax" in refused("mine.f")


def test_a_constant_that_names_a_function_is_checked_like_the_function(folder):
    folder.write(mine="def f(inner=None): pass\n")
    spec = {"_target_": "mine.f", "inner": {"_target_": "hydra.utils.get_method", "path": "no_such_module.f"}}
    assert dotted_paths(spec) == ["hydra.utils.get_method", "mine.f", "no_such_module.f"]
    with pytest.raises(ConfigError, match=r"m\._target_='no_such_module\.f': expected a function whose code can be"):
        check_target(spec, "m")
