"""ImageFolder trees."""

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig
from dataprune.data.folder import read
from dataprune.errors import ConfigError


@pytest.fixture
def tree(tmp_path):
    """Make images: tree("train/cat/1.png", ...) returns the root as text. A name that ends in / is an empty folder."""

    def make(*names):
        for i, name in enumerate(names):
            path = tmp_path / "root" / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), i).save(path, "PNG")
        return str(tmp_path / "root")

    return make


def test_classes_and_files_are_sorted(tree):
    data = read(tree("train/dog/b.png", "train/dog/a.PNG", "train/cat/z.jpeg", "test/dog/1.png"))
    assert data.classes == ["cat", "dog"]
    assert data.splits["train"].names == ["train/cat/z.jpeg", "train/dog/a.PNG", "train/dog/b.png"]
    assert data.splits["train"].labels.tolist() == [0, 1, 1]
    assert data.splits["train"].labels.dtype == np.int64
    assert [p.name for p in data.splits["train"].examples] == ["z.jpeg", "a.PNG", "b.png"]
    assert data.splits["test"].labels.tolist() == [1], "a split has the classes of train"
    assert data.maximum == 255


def test_other_files_are_no_images(tree, tmp_path):
    path = tree("train/cat/1.png", "val/cat/1.png")
    for name in ("train/cat/Thumbs.db", "train/cat/1.txt", "train/README.md"):
        (tmp_path / "root" / name).write_text("x")
    assert read(path).splits["train"].names == ["train/cat/1.png"]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_is_the_test_split_where_there_is_no_test(tree, name):
    alone = read(tree("train/cat/1.png", f"{name}/cat/2.png"))
    assert {split: s.names for split, s in alone.splits.items()} == {
        "train": ["train/cat/1.png"],
        "test": [f"{name}/cat/2.png"],
    }


def test_validation_stays_one_beside_a_test(tree):
    both = read(tree("train/cat/1.png", "val/cat/2.png", "test/cat/3.png"))
    assert both.splits["validation"].names == ["val/cat/2.png"]
    assert both.splits["test"].names == ["test/cat/3.png"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cat/1.png", "dog/1.png"], r"a folder with train/<class>/ inside; it has cat, dog$"),
        (["train/cat/1.png", "other/"], r"a folder test/, val/ or valid/ beside train/; it has other, train$"),
        (["train/", "test/cat/1.png"], r"class folders below train/$"),
        (["train/cat/1.png", "test/bird/1.png", "test/ant/1.png"], r"only classes that train/ has; not ant, bird$"),
    ],
)
def test_a_tree_of_another_shape_is_refused_with_what_it_has(tree, names, text):
    with pytest.raises(ConfigError, match=rf"^path='.*root.*': expected {text}"):
        read(tree(*names))


def test_a_class_without_images_is_an_error(tree, tmp_path, dataset):
    path = tree("train/cat/1.png", "train/dog/", "test/cat/1.png")
    config = DataConfig("folder", {"_target_": "dataprune.data.folder.read"}, path)
    with pytest.raises(
        ConfigError, match=r"^source\.path=.* without train examples of dog: expected some of every class"
    ):
        dataset(config, tmp_path / "work")


@pytest.mark.parametrize("kept", [True, False])
def test_an_indexed_tree_gives_its_pictures_back(tree, tmp_path, dataset, kept):
    path = tree("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    config = DataConfig("folder", {"_target_": "dataprune.data.folder.read"}, path, size=2)
    data = dataset(config, tmp_path / "work", kept=kept)
    examples = data["train"]
    counts = {"classes": 2, "train": 2, "test": 1, "fingerprints": examples.header["fingerprints"]}
    assert data.facts == counts | {"input": {"kind": "image", "channels": 1, "height": 2, "width": 2}}
    if kept:
        assert examples.column("image")[:, 0, 0, 0].tolist() == [0, 1]
    else:
        assert examples.items[1] == (tmp_path / "root" / "train" / "dog" / "2.png").read_bytes()
        assert not list((tmp_path / "work").glob("**/encoded.bin")), "the images stay where they are"


def test_classes_and_files_are_torchvisions_at_any_depth(tree, tmp_path):
    from torchvision.datasets import ImageFolder

    names = [
        "train/b/images/2.JPEG",
        "train/b/images/1.jpg",
        "train/b/0.png",
        "train/b/deep/er/9.png",
        "train/a/x/1.png",
    ]
    path = tree(*names, "train/a/x.d/1.png", "train/a/x y/1.png", "val/a/1.png")
    (tmp_path / "root" / "train" / "b" / "again").symlink_to(tmp_path / "root" / "train" / "a" / "x")
    theirs, ours = ImageFolder(f"{path}/train"), read(path)
    assert ours.classes == theirs.classes
    assert [
        (str(p), int(c)) for p, c in zip(ours.splits["train"].examples, ours.splits["train"].labels, strict=True)
    ] == (theirs.samples)


def test_a_link_to_a_folder_above_is_not_followed_round_and_round(tree, tmp_path):
    path = tree("train/a/1.png", "val/a/1.png")
    (tmp_path / "root" / "train" / "a" / "up").symlink_to(tmp_path / "root")
    assert read(path).splits["train"].names == ["train/a/1.png"]


def test_raw_tiny_imagenet_is_read_as_it_lies_on_disk(tree, tmp_path):
    train = [f"train/{wnid}/images/{wnid}_{i}.JPEG" for wnid in ("n02", "n01") for i in range(2)]
    path = tree(*train, *[f"val/images/val_{i}.JPEG" for i in range(3)], "test/images/test_0.JPEG")
    boxes = "val_0.JPEG\tn02\t0\t32\t44\t62\nval_2.JPEG\tn01\t1\t2\t3\t4\nval_1.JPEG\tn02\t0\t0\t9\t9\n"
    (tmp_path / "root" / "val" / "val_annotations.txt").write_text(boxes)
    (tmp_path / "root" / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n")
    data = read(path)
    assert data.classes == ["n01", "n02"]
    assert data.splits["train"].names == sorted(train)
    assert data.splits.keys() == {"train", "test"}, "the test folder has no labels: validation is the test split"
    assert data.splits["test"].names == [f"val/images/val_{i}.JPEG" for i in range(3)]
    assert data.splits["test"].labels.tolist() == [1, 1, 0]


FLAT = ["train/n01/a.JPEG", "train/n02/b.JPEG", *[f"val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2, 3)]]
LISTS = {
    "LOC_val_solution.csv": "ImageId,PredictionString\n"
    "ILSVRC2012_val_00000003,n01 1 2 3 4 n01 5 6 7 8 \nILSVRC2012_val_00000001,n02 9 9 9 9 \n"
    "ILSVRC2012_val_00000002,n02 1 1 1 1 \n",
    "val.txt": "ILSVRC2012_val_00000001.JPEG 1\nILSVRC2012_val_00000002.JPEG 1\nILSVRC2012_val_00000003.JPEG 0\n",
    "val/val.txt": "val/ILSVRC2012_val_00000001.JPEG n02\nILSVRC2012_val_00000002.JPEG n02\n"
    "ILSVRC2012_val_00000003.JPEG n01\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_raw_imagenet_validation_gets_its_labels_from_the_list_beside_it(tree, tmp_path, name):
    path = tree(*FLAT)
    (tmp_path / "root" / name).write_text(LISTS[name])
    assert read(path).splits["test"].labels.tolist() == [1, 1, 0]


def test_the_development_kits_numbers_are_not_ranks(tree, tmp_path):
    from scipy.io import savemat

    path, kit = tree(*FLAT), tmp_path / "root" / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n1\n2\n")
    with pytest.raises(ConfigError, match=r"meta\.mat"):
        read(path)
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")]
    savemat(kit / "meta.mat", {"synsets": np.array([(1, "n02", 0), (2, "n01", 0), (3, "n00", 2)], kinds)})
    assert read(path).splits["test"].labels.tolist() == [1, 1, 0], "1 is n02 there"
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n1\n")
    with pytest.raises(ConfigError, match="2 lines for 3 images: expected a line for each"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ILSVRC2012_val_00000002.JPEG n01\n", r"without 2 of 3 images: .*00000001\.JPEG, .*00000003\.JPEG"),
        ("".join(f"ILSVRC2012_val_0000000{i}.JPEG 7\n" for i in (1, 2, 3)), r"with '7': expected classes .* 0 to 1"),
        (None, r"of images without labels: expected .*LOC_val_solution\.csv"),
    ],
)
def test_a_flat_folder_without_the_right_list_is_refused(tree, tmp_path, text, message):
    path = tree(*FLAT)
    if text is not None:
        (tmp_path / "root" / "val.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(path)


def test_the_list_and_the_folders_may_have_other_names(tree, tmp_path):
    path = tree("CLS-LOC/train/n01/a.JPEG", "CLS-LOC/train/n02/b.JPEG", "CLS-LOC/flat/x.JPEG", "other/y.png")
    (tmp_path / "root" / "truth.lst").write_text("x.JPEG n02\n")
    folders = {"train": "CLS-LOC/train", "test": "CLS-LOC/flat"}
    assert read(path, splits=folders, labels="truth.lst").splits["test"].labels.tolist() == [1]
    with pytest.raises(ConfigError, match="labels='gone'"):
        read(path, splits=folders, labels="gone")
    with pytest.raises(ConfigError, match=r"splits=.*expected folders that are there.*CLS-LOC, other"):
        read(path, splits=folders | {"test": "CLS-LOC/val"})


def test_a_flat_folder_has_its_classes_in_the_file_names(tree):
    path = tree("train/great_dane_12.jpg", "train/great_dane_3.jpg", "train/Abyssinian_1.jpg", "test/great_dane_9.jpg")
    data = read(path)
    assert data.classes == ["Abyssinian", "great_dane"]
    assert data.splits["train"].labels.tolist() == [0, 1, 1]
    assert data.splits["test"].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (["train/n01440764_tench.JPEG", "train/n01532829_house_finch.JPEG"], ["n01440764", "n01532829"], [0, 1]),
        (["train/house_finch/1.png", "train/house/1.png"], ["house", "house_finch"], [0, 1]),
    ],
)
def test_a_class_in_a_name_is_a_wordnet_id_or_the_longest_class_that_is_known(tree, names, classes, labels):
    data = read(tree(*names, f"val/{classes[1]}_a_b_7.JPEG"))
    assert data.classes == classes
    assert data.splits["train"].labels.tolist() == labels
    assert data.splits["test"].labels.tolist() == [1]


def test_only_folders_that_begin_so_are_classes_and_an_empty_one_may_keep_its_label(tree, tmp_path, dataset):
    path = tree(
        "train/n01/1.png", "train/n02/", "train/n03/1.png", "train/lists/1.png", "val/n03/2.png", "val/lists/1.png"
    )
    data = read(path, begins="n", allow_empty=True)
    assert data.classes == ["n01", "n02", "n03"]
    assert data.splits["train"].labels.tolist() == [0, 2]
    assert data.splits["test"].labels.tolist() == [2]
    reader = {"_target_": "dataprune.data.folder.read", "begins": "n", "allow_empty": True}
    assert dataset(DataConfig("folder", reader, path, size=2), tmp_path / "work").facts["classes"] == 3
