"""What a `_target_` takes is read from its text; a wrong one is answered before anything heavy is imported."""

import subprocess
import sys

import pytest

from dataprune.callables import Parameters, check_exists, check_target, parameters
from dataprune.errors import ConfigError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a name of its own; `package(file, text)` writes one of its modules and returns the name."""
    name = f"made_by_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(file, text):
        path = tmp_path / name / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return name

    return write


def test_torch_is_read_and_not_imported():
    program = (
        "import sys; from dataprune.callables import parameters; takes = parameters('torch.optim.SGD');"
        "assert 'torch' not in sys.modules; print(*takes.names); print(*takes.required)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    names, required = out.splitlines()
    assert names.split()[:3] == ["params", "lr", "momentum"]
    assert "self" not in names.split()
    assert required.split() == ["params"]


def test_positional_keyword_and_open_parameters(package):
    name = package("m.py", "def f(a, /, b, c=1, *rest, d, e=2, **more): pass\ndef g(): pass\n")
    assert parameters(f"{name}.m.f") == Parameters(("a", "b", "c", "d", "e"), frozenset("abd"), open=True)
    assert parameters(f"{name}.m.g") == Parameters((), frozenset(), open=False)


def test_a_class_takes_what_its_init_takes(package):
    name = package("m.py", "class A:\n    def __init__(self, x, y=1): pass\nclass B(A): pass\n")
    assert parameters(f"{name}.m.A") == Parameters(("x", "y"), frozenset("x"), open=False)
    assert parameters(f"{name}.m.B") == parameters(f"{name}.m.A"), "inherited: the class itself is asked"


def test_reexports_and_relative_imports_are_followed(package):
    package("deep/inner.py", "raise ImportError('not to be imported')\ndef f(x, k=1): pass\n")
    package("deep/__init__.py", "from .inner import f as renamed\n")
    package("side.py", "from .deep import renamed\nif True:\n    from .deep.inner import f\n")
    name = package("__init__.py", "from .side import renamed as top\n")
    expected = Parameters(("x", "k"), frozenset("x"), open=False)
    for target in ("top", "side.renamed", "side.f", "deep.renamed", "deep.inner.f"):
        assert parameters(f"{name}.{target}") == expected, target


def test_imports_upwards_are_followed(package):
    package("base.py", "raise ImportError('not to be imported')\ndef f(x): pass\n")
    name = package("deep/inner.py", "from ..base import f\n")
    package("deep/__init__.py", "")
    assert parameters(f"{name}.deep.inner.f").names == ("x",)


def test_what_the_text_does_not_tell_is_imported_and_asked(package):
    text = (
        "import functools\n"
        "def outer(f):\n    return lambda p, q=0: f(p)\n"
        "@outer\ndef decorated(hidden): pass\n"
        "made = functools.partial(lambda a, b: a, b=1)\n"
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass D:\n    x: int\n    y: int = 1\n"
    )
    name = package("m.py", text)
    assert parameters(f"{name}.m.decorated") == Parameters(("p", "q"), frozenset("p"), open=False)
    assert parameters(f"{name}.m.made") == Parameters(("a", "b"), frozenset("a"), open=False)
    assert parameters(f"{name}.m.D") == Parameters(("x", "y"), frozenset("x"), open=False)


def test_a_compiled_function_that_tells_nothing_takes_anything():
    assert parameters("builtins.dict") == Parameters((), frozenset(), open=True)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("f", "'f' is not a dotted path"),
        ("no_such_package.f", "no module named no_such_package"),
        ("dataprune.no_such.f", "no module named dataprune.no_such"),
        ("dataprune.errors.nothing", "module dataprune.errors has no nothing"),
        ("dataprune.progress.SILENT_S", "dataprune.progress.SILENT_S is not callable"),
        # a module that a module has imported is no place to look in: Hydra would not find it either
        ("dataprune.subset.json.dumps", "no module named dataprune.subset.json"),
    ],
)
def test_what_is_not_there_is_a_lookup_error(target, text):
    with pytest.raises(LookupError) as caught:
        parameters(target)
    assert caught.value.args[0].startswith(text)


def test_a_module_that_fails_on_a_missing_one_names_the_missing_one(package):
    name = package("m.py", "import no_such_dependency\nmade = print\n")
    with pytest.raises(LookupError, match="no module named no_such_dependency"):
        parameters(f"{name}.m.made")


# check_target

SCORE = "dataprune.scores.dynamics.forgetting"


def test_a_good_spec_gives_the_parameters():
    takes = check_target({"_target_": SCORE, "never_learned": "max"}, "score", frozenset({"correct"}))
    assert takes.names == ("correct", "never_learned")
    assert check_target({"_target_": SCORE, "_partial_": True}, "score", frozenset({"correct"})) == takes


def test_an_unknown_constant_is_named_with_those_there_are():
    expected = rf"score\.never=1: expected one of the constants of {SCORE}: correct, never_learned"
    with pytest.raises(ConfigError, match=expected):
        check_target({"_target_": SCORE, "never": 1}, "score", frozenset({"correct"}))


def test_a_missing_value_is_named():
    with pytest.raises(ConfigError, match=rf"score\.correct=None: expected a value: {SCORE} has no default for it"):
        check_target({"_target_": SCORE}, "score")


def test_open_keywords_take_any_constant():
    check_target({"_target_": "dataprune.models.networks.timm", "name": "x", "drop_rate": 0.1, "in_channels": 3}, "m")


@pytest.mark.parametrize("target", [None, 3])
def test_a_spec_without_a_path_is_refused(target):
    with pytest.raises(ConfigError, match=rf"m\._target_={target}: expected the dotted path of a function"):
        check_exists({"_target_": target}, "m")


def test_a_function_that_is_not_there_is_refused_with_the_reason():
    expected = r"m\._target_='dataprune\.errors\.nothing': expected a function that exists \(module .* has no nothing\)"
    with pytest.raises(ConfigError, match=expected):
        check_exists({"_target_": "dataprune.errors.nothing"}, "m")
