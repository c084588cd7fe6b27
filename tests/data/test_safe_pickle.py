"""Pickles are read as data: tensors, arrays and containers come back, and nothing that a file names is run."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from dataprune.data.safe_pickle import load
from dataprune.errors import ConfigError

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


class Malicious:
    """Runs a command of the shell while it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def dumped(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_come_back_as_arrays(tmp_path, protocol):
    there = {
        "half": torch.randn(5, 3).half(),
        "ids": torch.arange(4),
        "flags": torch.tensor([True, False]),
        "view": torch.arange(12.0).reshape(3, 4)[1:, ::2].T,
        "scalar": torch.tensor(2.5),
    }
    found = load(dumped(tmp_path / "x.pickle", there, protocol), "dynamics")
    for name, tensor in there.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_numbers_of_numpy_come_back(tmp_path, protocol):
    there = [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.asfortranarray(np.random.default_rng(0).random((3, 2))),
        np.array([1.5, 2.5], ">f4"),
        np.array(["ab", "c"]),
        np.array([True, False]),
        np.empty((0, 3)),
        np.float32(0.5),
        np.int64(7),
        np.bool_(True),
    ]
    for value, back in zip(there, load(dumped(tmp_path / "x", there, protocol), "path"), strict=True):
        np.testing.assert_array_equal(back, value)
        assert np.asarray(back).shape == np.asarray(value).shape


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_containers_come_back(tmp_path, protocol):
    there = {"a": [1, (2.5, None)], 3: {"x", "y"}, "o": collections.OrderedDict(b=b"bytes"), "c": 1j}
    assert load(dumped(tmp_path / "x", there, protocol), "path") == there


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saved_is_read_in_its_new_and_its_old_form(tmp_path, new):
    there = {"scores": torch.arange(3.0), "rest": [1, "x"], "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(there, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    found = load(tmp_path / "x.pt", "path")
    assert found["scores"].tolist() == [0, 1, 2]
    assert found["b"].dtype == np.float32
    assert found["rest"] == [1, "x"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_by_name_and_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    path = dumped(tmp_path / "x.pickle", {"scores": Malicious(f"touch {trace}")}, protocol)
    with pytest.raises(ConfigError, match=r"only tensors and plain containers; it wants (posix|nt)\.system$"):
        load(path, "dynamics")
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the file does run when it is loaded as usual"


@pytest.mark.parametrize("new", [True, False])
def test_a_malicious_file_of_torch_is_refused_by_name_and_not_run(tmp_path, new):
    trace = tmp_path / "trace"
    torch.save({"scores": Malicious(f"touch {trace}")}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(ConfigError, match=r"only tensors and plain containers; it wants (posix|nt)\.system$"):
        load(tmp_path / "x.pt", "path")
    assert not trace.exists()


def test_code_inside_a_tensors_storage_is_not_run(tmp_path):
    """The bytes of a storage are a file of torch.save inside the pickle."""
    trace, inner = tmp_path / "trace", io.BytesIO()
    torch.save(Malicious(f"touch {trace}"), inner, _use_new_zipfile_serialization=False)

    class Storage:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    with pytest.raises(ConfigError, match=r"it wants (posix|nt)\.system$"):
        load(dumped(tmp_path / "x", [Storage()]), "path")
    assert not trace.exists()


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (np.array([{}], object), "dtype"),
        (np.zeros(2, [("a", "i4"), ("b", "f8")]), "dtype"),
        (np.array(["2020-01-01"], "M8[D]"), "dtype"),
        (torch.nn.Parameter(torch.ones(2)), r"torch\._utils\._rebuild_parameter"),
        (Calls(eval, "1"), r"builtins\.eval"),
        (Calls(getattr, "a", "b"), r"builtins\.getattr"),
        (collections.Counter("ab"), r"collections\.Counter"),
        (torch.float16, r"torch\.float16"),
        ({"f": np.dtype}, "a function or class itself"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_whatever_is_neither_is_refused(tmp_path, content, named):
    with pytest.raises(ConfigError, match=rf"it wants .*{named}"):
        load(dumped(tmp_path / "x", content), "path")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    storage = torch.arange(3.0)._typed_storage()
    forged = Calls(torch._utils._rebuild_tensor_v2, storage, 0, (1000,), (1,), False, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(dumped(tmp_path / "x", forged), "path")


def test_a_pickle_cannot_change_what_later_ones_are_read_with(tmp_path):
    # GLOBAL, then BUILD with the slot state {"flat": None}: an attribute of what the name stands for
    forged = b"\x80\x02ctorch.storage\n_load_from_bytes\nN}X\x04\x00\x00\x00flatNs\x86b."
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(ConfigError):
        load(tmp_path / "forged", "path")
    assert load(dumped(tmp_path / "x", torch.arange(3)), "path").tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK no zip", pickle.dumps([1, 2])[:-3]])
def test_a_damaged_file_is_an_error_with_its_path(tmp_path, content):
    (tmp_path / "x.pickle").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^dynamics='.*x\.pickle': expected a pickle with only tensors"):
        load(tmp_path / "x.pickle", "dynamics")


def test_a_zip_archive_of_other_content_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("a/b.txt", "hello")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "x.pt", "path")
