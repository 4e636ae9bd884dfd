"""The parts of an examination, each by what must be true of it."""

import io
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from doctor.planters import image, mask, picture, turn, write, write_clean
from seglit.build import built
from seglit.check import check
from seglit.config import compose
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.folder import FolderDataset
from seglit.data.pairs import Pair
from seglit.doctor import survey as surveying
from seglit.doctor.advice import advice, multiple
from seglit.doctor.duplicate_rules import duplicate_findings
from seglit.doctor.examination import examine
from seglit.doctor.file_rules import file_findings
from seglit.doctor.headers import Header
from seglit.doctor.image_facts import ImageFacts, image_facts
from seglit.doctor.mask_facts import MaskFacts, in_bins, mask_facts
from seglit.doctor.numbers import Numbers, typical
from seglit.doctor.report import about, percent
from seglit.doctor.store import Store, from_text
from seglit.doctor.survey import Item, Survey
from tiny_layouts import READY, write_layout


@pytest.fixture
def data(tmp_path: Path) -> SegmentationDataModule:
    return SegmentationDataModule(write_clean(tmp_path / "set"), 3)


def test_counts_are_those_of_what_training_reads(data: SegmentationDataModule) -> None:
    numbers = examine(data, show=False).numbers
    assert numbers is not None
    statistics = data.label_statistics()
    assert numbers.pixels["train"].tolist() == statistics.pixels.tolist()
    samples: FolderDataset = data.samples("train")
    void = [float((sample.labels == 255).mean()) for sample in (samples[place] for place in range(len(samples)))]
    np.testing.assert_allclose(numbers.void["train"], void)
    pixels = np.concatenate([samples[place].image.reshape(-1, 3) for place in range(len(samples))])
    np.testing.assert_allclose(numbers.mean, pixels.mean(0), atol=0.01)
    np.testing.assert_allclose(numbers.std, pixels.std(0), atol=0.01)


def test_a_second_run_measures_nothing_and_says_the_same(
    data: SegmentationDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = examine(data, show=False).as_data()
    calls: list[Path] = []

    def counted(path: Path, content: bytes) -> ImageFacts:
        calls.append(path)
        return image_facts(path, content)

    monkeypatch.setattr(surveying, "image_facts", counted)
    assert examine(data, show=False).as_data() == first
    assert calls == []
    # By content: another time of change is none, another pixel is.
    image(data.root).touch()
    write(image(data.root, "val"), picture(80)[0])
    examine(data, show=False)
    assert calls == [image(data.root, "val")]


def test_other_rules_of_reading_are_other_facts(data: SegmentationDataModule) -> None:
    assert examine(data, show=False).findings == []
    other = SegmentationDataModule(data.root, 2, label_map={0: 0, 1: 1, 2: 1})
    numbers = examine(other, show=False).numbers
    assert numbers is not None
    assert numbers.pixels["train"].tolist() == other.label_statistics().pixels.tolist()


def test_a_cache_that_cannot_be_used_is_done_without(data: SegmentationDataModule, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_text("no data base, but long enough to be taken for one" * 100)
    with pytest.warns(UserWarning, match=r"broken\.sqlite: what is found cannot be kept there"):
        report = examine(data, cache=broken, show=False)
    assert report.findings == []


def test_facts_come_back_as_they_were(data: SegmentationDataModule, tmp_path: Path) -> None:
    picture_path, mask_path = image(data.root), mask(data.root)
    known = {
        "image": image_facts(picture_path, picture_path.read_bytes()),
        "mask": mask_facts(mask_path, mask_path.read_bytes(), data.read_mask),
    }
    with Store(tmp_path / "facts.sqlite") as store:
        for key, facts in known.items():
            store.put(key, facts)
    with Store(tmp_path / "facts.sqlite") as store:
        assert {key: store.get(key) for key in known} == known
        assert store.get("another") is None
    with sqlite3.connect(tmp_path / "facts.sqlite") as file:
        texts = [text for (text,) in file.execute("select facts from facts")]
    file.close()
    assert {type(from_text(text)) for text in texts} == {ImageFacts, MaskFacts}


def test_parts_of_one_split_are_read_once(data: SegmentationDataModule) -> None:
    same = SegmentationDataModule(data.root, 3, test_split="val")
    report = examine(same, show=False)
    assert report.findings == []
    assert report.numbers is not None
    assert list(report.numbers.pixels) == ["train", "val"]
    with pytest.raises(ValueError, match="parts: choose from train, val, test"):
        examine(data, ("trian",))


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(source: Image.Image) -> Image.Image:
        content = cv2.imencode(".jpg", np.asarray(source), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return Image.fromarray(cv2.imdecode(content, cv2.IMREAD_COLOR))

    return change


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda source: source.resize((round(source.width * factor), round(source.height * factor)))


def other_object(source: Image.Image) -> Image.Image:
    pixels = np.array(source)
    pixels[20:40, 30:50] = 255 - pixels[20:40, 30:50]
    return Image.fromarray(pixels)


def moved(source: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(source), 6, axis=1))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        *[(change, True) for change in (jpeg(40), jpeg(75), scaled(0.5), scaled(0.75), scaled(2.0))],
        *[(change, False) for change in (other_object, moved)],
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_picture_is_known_again_and_another_is_not(
    seed: int, change: Callable[[Image.Image], Image.Image], found: bool, tmp_path: Path
) -> None:
    source = Image.fromarray(picture(seed, 240, 160)[0])
    items = {}
    for part, pixels in (("train", source), ("val", change(source))):
        path = tmp_path / f"{part}.png"
        write(path, pixels)
        facts = MaskFacts("", Header(), error="not looked at")
        items[part] = [Item(Pair(part, path, path), image_facts(path, path.read_bytes()), facts)]
    kinds = [one.kind for one in duplicate_findings(Survey(SegmentationDataModule("seglit:bluemarble", 7), items))]
    assert kinds == (["leakage"] if found else [])


def test_what_is_cut_short_but_read_is_a_fault(data: SegmentationDataModule) -> None:
    header = Header("JPEG", "RGB", 8, 8, damage="image file is truncated (5 bytes not processed)")
    facts = ImageFacts("x", header, None, 8, 8, "x", 1, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    item = Item(Pair("a", Path("a.jpg"), Path("a.png")), facts, MaskFacts("", Header(), error="not looked at"))
    (found,) = file_findings(Survey(data, {"train": [item]}))
    assert (found.kind, found.fault) == ("image-damaged", True)


def test_a_mask_of_an_image_as_it_is_shown_is_no_fault(data: SegmentationDataModule) -> None:
    for orientation in (3, 6):
        shown = turn(data.root, orientation)
        pixels = np.array(Image.open(shown))
        # Turn the stored pixels so that readers turn them back to what the mask is of.
        stored = np.rot90(pixels, 2 if orientation == 3 else 1)
        exif = Image.Exif()
        exif[0x0112] = orientation
        write(shown, Image.fromarray(stored.copy()), exif=exif, quality=95)
        assert examine(data, show=False).findings == []
        write(image(data.root), pixels)
        shown.unlink()


def numbers_like(**changed: object) -> Numbers:
    plain = {
        "classes": ["a", "b", "c"],
        "pixels": {"train": np.array([500, 300, 200])},
        "images": {"train": np.array([9, 9, 9])},
        "void": {"train": np.zeros(9)},
        "sizes": {"train": np.full((9, 2), 512)},
        "areas": [{4: 2}, {4: 2}, {4: 2}],
        "sides": [{3: 2}, {3: 2}, {3: 2}],
        "borders": 0.2,
        "mean": np.array([120.0, 120.0, 120.0]),
        "std": np.array([60.0, 60.0, 60.0]),
    }
    return Numbers(**plain | changed)  # type: ignore[arg-type]


CROP = {"crop": {"_target_": "seglit.data.transforms.RandomCrop", "height": 256, "width": 256}}
ORDINARY = ((120.0, 120.0, 120.0), (60.0, 60.0, 60.0))


@pytest.mark.parametrize(
    ("changed", "overrides"),
    [
        ({}, []),
        ({"pixels": {"train": np.array([900, 90, 10])}}, ["+tricks=[class_weight]"]),
        ({"pixels": {"train": np.array([900, 0, 100])}}, ["+tricks=[ce_dice]"]),
        ({"borders": 0.03}, ["+tricks=[ohem]"]),
        ({"void": {"train": np.linspace(0, 0.3, 9)}}, ["+tricks=[avg_non_ignore]"]),
        ({"sizes": {"train": np.full((9, 2), 150)}}, ["data.train_transforms.crop.height=128"]),
        ({"sizes": {"train": np.full((9, 2), 900)}, "sides": [{}, {8: 9}, {8: 9}]},
         ["data.train_transforms.crop.height=512"]),
        ({"mean": np.array([10.0, 10.0, 10.0]), "std": np.array([5.0, 5.0, 5.0])},
         ["data.mean=[10.0,10.0,10.0] data.std=[5.0,5.0,5.0]"]),
    ],
)  # fmt: skip
def test_advice_follows_the_numbers(changed: dict[str, object], overrides: list[str]) -> None:
    found = advice(numbers_like(**changed), {}, CROP, ORDINARY)
    assert [one.overrides for one in found] == overrides
    for one in found:
        assert one.reason
        cfg = compose(
            ["name=x", "output_dir=x", "data=folder", "data.root=x", "data.num_classes=3", *one.overrides.split()]
        )
        check(cfg)


def test_what_is_on_is_not_advised() -> None:
    uneven = numbers_like(pixels={"train": np.array([9000, 900, 1])}, borders=0.03, void={"train": np.full(9, 0.2)})
    assert len(advice(uneven, {}, None)) == 3
    criterion = {
        "losses": {"loss_ce": {"_target_": "x.CrossEntropyLoss", "class_weight": "auto", "avg_non_ignore": True}},
        "sampler": {"_target_": "seglit.losses.OHEMPixelSampler"},
    }
    assert advice(uneven, {"criterion": {"decode": criterion}}, None) == []
    two = numbers_like(pixels={"train": np.array([950, 50, 0])})
    dice = {"losses": {"loss_dice": {"_target_": "seglit.losses.DiceLoss"}}}
    assert [len(advice(two, {"criterion": {"decode": node}}, None)) for node in ({}, dice)] == [1, 0]


def test_sizes_in_powers_of_two() -> None:
    assert in_bins(np.array([1, 2, 3, 4, 100])) == {0: 1, 1: 2, 2: 1, 6: 1}
    # A thousand specks have fewer pixels than one object of 4096.
    assert typical({0: 1000, 12: 1}) == pytest.approx(2**12.5)
    assert typical({0: 3}) == 1.0
    assert np.isnan(typical({}))
    assert [multiple(size) for size in (1.0, 63.9, 64.0)] == [32, 32, 64]
    assert [percent(share) for share in (0.1234, 0.00001, 0.0)] == ["12.34 %", "0.001 %", "-"]
    assert [about(size) for size in (1.0, 2**14.5, float("nan"))] == ["~ 1", "~ 20000", "-"]


@pytest.mark.parametrize(
    ("weights", "kinds"),
    [
        ([1.0, 1.0, 1.0, 0.0], []),
        ([1.0, 0.0, 1.0, 0.0], ["weight-of-zero"]),
        ([1.0, 1.0, 1.0, 5.0], ["weight-of-absent-class"]),
        ("auto", []),
    ],
)
def test_class_weights_by_hand_are_compared_with_the_classes(
    weights: object, kinds: list[str], data: SegmentationDataModule
) -> None:
    four = SegmentationDataModule(data.root, 4)
    losses = {"loss_ce": {"_target_": "seglit.losses.CrossEntropyLoss", "class_weight": weights}}
    report = examine(four, model={"criterion": {"decode": {"losses": losses}}}, show=False)
    assert sorted(one.kind for one in report.findings) == sorted([*kinds, "class-absent"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(("PNG", "JPEG", "TIFF", "BMP")),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255))),
)
def test_facts_are_found_of_whatever_is_in_a_file(
    kind: str, changes: list[tuple[float, int]], data: SegmentationDataModule
) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture(0, 40, 40)[1]).save(stream, kind)
    content = bytearray(stream.getvalue())
    for place, value in changes:
        # Most of them in the header.
        content[int(place**3 * len(content))] = value
    path = data.root / f"odd.{kind.lower()}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        facts = image_facts(path, bytes(content)), mask_facts(path, bytes(content), data.read_mask)
    assert all((fact.error is None) == (fact.width * fact.height > 0) for fact in facts)


@pytest.mark.parametrize("name", sorted(READY))
def test_the_layout_of_every_shipped_set_is_read(name: str, tmp_path: Path) -> None:
    cfg = compose(["name=x", "output_dir=x", f"data={name}", *write_layout(name, tmp_path)])
    report = examine(built(cfg.data, "data"), ("train", "val"), show=False)
    # Noise has few of the classes.
    assert {one.kind for one in report.findings} <= {"class-absent", "class-not-validated", "mask-for-several"}
    assert report.numbers is not None
    assert all(pixels.any() for pixels in report.numbers.pixels.values())


@pytest.mark.slow
def test_looks_of_many_images_are_compared_in_seconds() -> None:
    from seglit.doctor.duplicate_rules import Shown, same_pictures

    random = np.random.default_rng(0)
    facts = [
        ImageFacts("", Header(), None, 8, 8, "", int(look), tuple(map(float, mean)), (9.0,) * 3)
        for look, mean in zip(random.integers(0, 1 << 63, 10_000), random.uniform(0, 255, (10_000, 3)), strict=True)
    ]
    nothing = MaskFacts("", Header(), error="not looked at")
    shown = [Shown("train", Item(Pair("a", Path("a"), Path("a")), fact, nothing)) for fact in facts]
    start = time.perf_counter()
    assert list(same_pictures(shown, show=False)) == []
    assert time.perf_counter() - start < 120
