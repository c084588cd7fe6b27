"""Pickles are read as data: tensors, arrays and containers come back, and nothing that a file names is run."""

import collections
import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.formats.pickles import load

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


def spent(path):
    """Peak of the memory that reading the file takes, in bytes; it must be refused."""
    load_small(path)  # imports and tables are not the file's
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="only tensors and plain containers"):
            load(path, "path")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def load_small(beside):
    load(dumped(beside.with_name("small"), [1, torch.ones(1)]), "path")


def shared_lists(depth):
    inner = [0.5]
    for _ in range(depth):
        inner = [inner] * 10
    return inner


def memo(place):
    """An empty list that is put at this place of the memo."""
    return b"\x80\x02]r" + place.to_bytes(4, "little") + b"."


def text_to_bytes(times, letters):
    """A text that is turned into bytes again and again, each kept in a list."""
    text = b"X" + letters.to_bytes(4, "little") + b"x" * letters
    head = b"\x80\x02c_codecs\nencode\nq\x01" + text + b"q\x020X\x06\x00\x00\x00latin1q\x0300"
    return head + b"](" + b"h\x01h\x02h\x03\x86R" * times + b"e."


BOMBS = {
    "a number of zeros": b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x20\x85R.",
    "bytes of a number": b"\x80\x02c__builtin__\nbytes\nJ\x00\x00\x00\x20\x85R.",
    "a place far out in the memo": memo(2**26),
    "shared lists": pickle.dumps(shared_lists(12), 2),
    "shared lists as keys of nothing": pickle.dumps({"a": (shared_lists(9), shared_lists(9))}, 4),
    "one text as bytes a thousand times": text_to_bytes(3000, 40_000),
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a long text that is not there": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"x.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_fill_the_memory(tmp_path, name):
    (tmp_path / "bomb").write_bytes(BOMBS[name])
    assert spent(tmp_path / "bomb") < 64e6


def test_a_repeated_number_is_not_a_large_tensor(tmp_path):
    """A view with stride 0 takes no memory until somebody copies it, as every reader of scores does."""
    assert spent(dumped(tmp_path / "x", torch.ones(1).expand(10**9), 4)) < 64e6
    torch.save(torch.ones(1).expand(10**9), tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="more memory than a file of this size may"):
        load(tmp_path / "x.pt", "path")
    torch.save(torch.ones(1).expand(1000), tmp_path / "y.pt")
    assert load(tmp_path / "y.pt", "path").tolist() == [1.0] * 1000


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_torch_makes_no_bytes_by_their_number(tmp_path, new):
    zeros = Calls(bytearray, 2**29)
    torch.save({"scores": zeros}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    assert spent(tmp_path / "x.pt") < 64e6


def test_a_packed_archive_is_refused(tmp_path):
    torch.save(torch.zeros(10**6), tmp_path / "x.pt")
    there, packed = zipfile.ZipFile(tmp_path / "x.pt"), zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED)
    with there, packed:
        for entry in there.infolist():
            packed.writestr(entry.filename, there.read(entry))
    assert (tmp_path / "y.pt").stat().st_size < 20_000
    with pytest.raises(ConfigError, match="a packed archive"):
        load(tmp_path / "y.pt", "path")


def test_an_old_file_of_128_numbers_is_read(tmp_path):
    """The numbers begin with their count, whose first byte could be that of another pickle."""
    torch.save(torch.arange(128.0), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "x.pt", "path").tolist() == list(range(128))


def test_shared_parts_stay_shared_and_are_read_once(tmp_path):
    array = np.arange(1000.0)
    found = load(dumped(tmp_path / "x", [array, array, {"again": array}]), "path")
    assert found[0] is found[1] is found[2]["again"]


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


def test_archives_of_torch_with_arrays_of_numpy_are_read_and_run_nothing(tmp_path):
    half = torch.arange(6, dtype=torch.float16).reshape(2, 3).t()
    kinds = [torch.ones(2, dtype=kind) for kind in (torch.float64, torch.bfloat16, torch.int32, torch.bool)]
    whole = {"mask": np.eye(3, dtype=np.int32), "half": half, "kinds": kinds, "acc": np.float32(1.5), "empty": half[:0]}
    torch.save(whole | {"texts": ["a", ("b", 2)]}, tmp_path / "f.pt")
    found = load(tmp_path / "f.pt", "path")
    np.testing.assert_array_equal(found["mask"], np.eye(3))
    np.testing.assert_array_equal(found["half"], half.numpy())
    assert [kind.dtype.name for kind in found["kinds"]] == ["float64", "float32", "int32", "bool"]
    assert (found["acc"], found["texts"], found["empty"].size) == (1.5, ["a", ("b", 2)], 0)

    class Trap:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({"mask": np.ones(2), "trap": Trap()}, tmp_path / "g.pt")
    with pytest.raises(ConfigError, match="only tensors and plain containers"):
        load(tmp_path / "g.pt", "path")
    assert not (tmp_path / "ran").exists()
