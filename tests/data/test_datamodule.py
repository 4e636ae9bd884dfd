import inspect
import pickle
from itertools import islice
from types import SimpleNamespace

import albumentations as A
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch._utils import ExceptionWrapper

from seglit.data.datamodule import SegmentationDataModule
from seglit.data.errors import DataError
from seglit.data.statistics import LabelStatistics
from seglit.data.transforms import PhotoMetricDistortion, RandomCrop

pytestmark = [
    # Two cores are what the tests may count on; more workers than cores is what a test is about.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    # Lightning uses a name that torch is about to drop.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


def transforms():
    return {
        "scale": A.RandomScale((-0.3, 0.5), p=1),
        "crop": RandomCrop(16, 16, 0.9),
        "flip": A.HorizontalFlip(),
        "color": PhotoMetricDistortion(),
        "pad": A.PadIfNeeded(16, 16, border_mode=0, fill_mask=255),
    }


def module(root, **options):
    defaults = {"num_classes": 3, "num_workers": 0, "batch_size": 4, "train_transforms": transforms()}
    return SegmentationDataModule(root, **(defaults | options))


def trainer(step=0, accumulate=1, rank=0, world_size=1, own_sampler=False):
    return SimpleNamespace(
        global_step=step,
        accumulate_grad_batches=accumulate,
        global_rank=rank,
        world_size=world_size,
        _accelerator_connector=SimpleNamespace(use_distributed_sampler=own_sampler),
    )


def batches(data, count, running=None):
    data.trainer = running
    return list(islice(data.train_dataloader(), count))


def joined(parts):
    return {
        "image": torch.cat([part["image"] for part in parts]),
        "labels": torch.cat([part["labels"] for part in parts]),
        "name": [name for part in parts for name in part["name"]],
    }


def assert_same(ours, expected):
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert one["name"] == other["name"]
        torch.testing.assert_close(one["image"], other["image"], rtol=0, atol=0)
        torch.testing.assert_close(one["labels"], other["labels"], rtol=0, atol=0)


def test_batches_are_what_the_contract_says(stripes):
    data = module(stripes)
    (batch,) = batches(data, 1)
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["image"].dtype == torch.uint8
    assert batch["labels"].shape == (4, 16, 16)
    assert len(batch["name"]) == 4
    ready = data.on_after_batch_transfer(batch, 0)
    assert ready["image"].dtype == torch.float32
    assert ready["labels"].dtype == torch.int64
    assert ready["name"] == batch["name"]
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (data.mean, data.std))
    torch.testing.assert_close(ready["image"] * std + mean, batch["image"].float())
    assert ready["labels"].unique().tolist() == [0, 1, 2, 255]


def test_the_number_of_workers_changes_nothing(stripes):
    """Five batches of four from seven images: almost three epochs."""
    expected = batches(module(stripes), 5)
    for num_workers in (1, 4):
        assert_same(batches(module(stripes, num_workers=num_workers), 5), expected)


def test_loaders_can_be_sent_to_workers_that_do_not_share_memory(stripes, monkeypatch):
    monkeypatch.setattr("seglit.data.workers.keep_freed_memory", lambda: None)  # for good, and this is no worker
    loader = module(stripes).train_dataloader()
    samples, gather, start = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn)))
    start(0)
    assert_same([gather([samples[place] for place in islice(loader.sampler, 4)])], batches(module(stripes), 1))


def test_two_ranks_see_the_batches_of_one(stripes):
    alone = batches(module(stripes), 4)
    ranks = [batches(module(stripes, batch_size=2), 4, trainer(rank=rank, world_size=2)) for rank in range(2)]
    assert_same([joined([first, second]) for first, second in zip(*ranks, strict=True)], alone)


def test_accumulated_batches_are_the_large_batch_in_parts(stripes):
    small = batches(module(stripes, batch_size=2), 4)
    assert_same([joined(small[:2]), joined(small[2:])], batches(module(stripes), 2))


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (3, 1), (2, 2)])
def test_a_resumed_run_goes_on_where_it_was(stripes, accumulate, world_size):
    rank = world_size - 1
    data = module(stripes, batch_size=2)
    whole = batches(data, 5 * accumulate, trainer(0, accumulate, rank, world_size))
    rest = batches(data, 2 * accumulate, trainer(3, accumulate, rank, world_size))
    assert_same(rest, whole[3 * accumulate :])


def test_the_same_image_is_augmented_anew_each_epoch(stripes):
    pixels = [
        image.numpy().tobytes()
        for batch in batches(module(stripes), 7)
        for image, name in zip(batch["image"], batch["name"], strict=True)
        if name == "03"
    ]
    assert len(pixels) == 4
    assert len(set(pixels)) == 4


def test_seeds_give_other_orders_and_augmentations(stripes):
    first, second = (joined(batches(module(stripes, seed=seed), 7)) for seed in (0, 1))
    assert first["name"] != second["name"]
    assert sorted(first["name"]) == sorted(second["name"])
    assert not torch.equal(first["image"].sort().values, second["image"].sort().values)


def test_loading_leaves_the_global_generators_alone(stripes):
    torch.manual_seed(0)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    batches(module(stripes), 2)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_each_image_once_and_whole(stripes, world_size):
    names = []
    for rank in range(world_size):
        data = module(stripes, test_split="val", eval_batch_size=2)
        data.trainer = trainer(rank=rank, world_size=world_size)
        for loader in (data.val_dataloader(), data.test_dataloader()):
            names += [name for batch in loader for name in batch["name"]]
            assert all(batch["image"].shape[2:] == (20, 24) for batch in loader)
    assert sorted(names) == sorted(2 * ["00", "01", "02", "03", "04"])


def test_evaluation_is_transformed_by_its_own_list(stripes):
    pad = A.PadIfNeeded(32, 32, border_mode=0, fill_mask=255)
    batch = next(iter(module(stripes, eval_transforms=[pad]).val_dataloader()))
    assert batch["image"].shape == (1, 3, 32, 32)


def test_images_of_several_sizes_need_a_batch_of_one(stripes, save):
    save("images/val/00.png", np.zeros((9, 8, 3), np.uint8))
    save("masks/val/00.png", np.zeros((9, 8), np.uint8))
    shapes = [batch["labels"].shape for batch in module(stripes).val_dataloader()]
    assert shapes[:2] == [(1, 9, 8), (1, 20, 24)]
    with pytest.raises(ValueError, match=r"'00' is \(9, 8\) and '01' \(20, 24\).* or set eval_batch_size=1"):
        list(module(stripes, eval_batch_size=2).val_dataloader())


def test_a_bad_mask_stops_the_run_with_its_name(stripes, save):
    save("masks/train/03.png", np.full((20, 24), 9, np.uint8))
    with pytest.raises(DataError, match=r"masks/train/03.png: value 9 at row 0, column 0 is no label"):
        batches(module(stripes), 2)


def test_an_error_keeps_its_type_on_the_way_from_a_worker():
    """By what torch sends between processes; a worker itself would take five seconds to stop."""
    try:
        raise DataError("m.png: value 9")
    except DataError:
        wrapper = ExceptionWrapper(where="in a worker")
    with pytest.raises(DataError, match=r"m.png: value 9"):
        wrapper.reraise()


def test_setup_finds_files_and_the_constructor_reads_none(stripes, tmp_path):
    absent = module(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        absent.setup("fit")
    data = module(stripes)
    for stage in ("fit", "validate"):
        data.setup(stage)
    for stage in ("test", "predict"):
        with pytest.raises(DataError, match=r"split 'test'.* holds train, val"):
            data.setup(stage)
    with pytest.raises(DataError, match="split 'valid'"):
        module(stripes, val_split="valid").setup("fit")


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_split_with_fewer_images_than_ranks_is_refused(stripes, part):
    data = module(stripes, test_split="val")
    loader = getattr(data, f"{part}_dataloader")
    data.trainer = trainer(rank=4, world_size=5)
    assert len(loader()) == 1
    data.trainer = trainer(rank=0, world_size=6)
    with pytest.raises(DataError, match=r"split 'val' has 5 images for 6 devices.*set trainer\.devices to 5 or less"):
        loader()


def test_lightnings_sampler_is_refused_with_several_ranks(stripes):
    data = module(stripes)
    data.trainer = trainer(world_size=2, own_sampler=True)
    with pytest.raises(ValueError, match="set use_distributed_sampler=False"):
        data.train_dataloader()
    data.trainer = trainer(own_sampler=True)
    data.train_dataloader()


def test_names_colours_and_numbers_come_from_the_file_unless_given(stripes):
    contents = '{"classes": ["a", "b", "c"], "ignore_index": 255, "mean": [1, 2, 3], "std": [4, 5, 6]}'
    (stripes / "classes.json").write_text(contents, encoding="utf-8")
    data = module(stripes)
    assert (data.classes, data.mean, data.std) == (["a", "b", "c"], (1, 2, 3), (4, 5, 6))
    data = module(stripes, classes=["x", "y", "z"], mean=[7.0] * 3, std=[8.0] * 3, palette=[[1, 1, 1]] * 3)
    assert (data.classes, data.palette) == (["x", "y", "z"], [(1, 1, 1)] * 3)
    assert (data.mean, data.std) == ((7, 7, 7), (8, 8, 8))
    with pytest.raises(DataError, match=r"num_classes=4, but classes of .*classes.json has 3 entries"):
        module(stripes, num_classes=4)
    with pytest.raises(DataError, match=r"ignore_index=254, but .*classes.json says 255"):
        module(stripes, ignore_index=254, train_transforms=())


def test_label_options_reach_the_masks(stripes):
    def labels(**options):
        options = {"train_transforms": (), "label_map_default": "keep"} | options
        return joined(batches(module(stripes, **options), 2))["labels"]

    mapped = labels(label_map={2: 1, 255: -100}, ignore_index=-100)
    assert mapped.unique().tolist() == [-100, 0, 1]
    reduced = labels(reduce_zero_label=True, num_classes=2, label_map_default="error")
    assert reduced.unique().tolist() == [0, 1, 255]
    ignored = labels(label_map={1: 0}, label_map_default="ignore")
    assert ignored.unique().tolist() == [0, 255]


def test_colour_masks_are_read_by_the_palette(save, tmp_path):
    colours = np.array([[9, 9, 9], [200, 0, 0], [0, 0, 0]], np.uint8)
    save("images/train/a.png", np.zeros((2, 3, 3), np.uint8))
    save("masks/train/a.png", colours[[[0, 1, 1], [1, 0, 0]]])
    options = {"num_classes": 2, "mask_format": "color", "batch_size": 1, "train_transforms": ()}
    palette = colours[:2].tolist()
    assert batches(module(tmp_path, palette=palette, **options), 1)[0]["labels"].tolist() == [[[0, 1, 1], [1, 0, 0]]]
    swapped = module(tmp_path, palette=palette, mask_colors=palette[::-1], **options)
    assert batches(swapped, 1)[0]["labels"].tolist() == [[[1, 0, 0], [0, 1, 1]]]
    with pytest.raises(ValueError, match="needs mask_colors"):
        module(tmp_path, **options)  # a made-up palette is not that of the files
    (tmp_path / "classes.json").write_text('{"palette": [[9, 9, 9], [200, 0, 0]]}', encoding="utf-8")
    assert batches(module(tmp_path, **options), 1)[0]["labels"][0, 0].tolist() == [0, 1, 1]


def test_layout_options_reach_the_files(save, tmp_path):
    save("img/a_rgb.png", np.zeros((2, 3, 3), np.uint8))
    save("gt/a_ids.png", np.zeros((2, 3), np.uint8))
    for split in ("train", "eval"):
        (tmp_path / f"{split}.txt").write_text("a", encoding="utf-8")
    layout = {"images": "img/*_rgb.png", "masks": "gt/*_ids.png", "split_file": "{split}.txt"}
    data = module(tmp_path, **layout, val_split="eval", train_transforms=())
    data.setup("fit")
    assert next(iter(data.val_dataloader()))["name"] == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"eval_batch_size": 0}, "eval_batch_size must be at least 1"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"images": "images"}, "images='images' without split_file makes all splits the same images"),
        ({"train_transforms": [A.PadIfNeeded(8, 8)]}, r"transform 0 \(PadIfNeeded\): fill_mask=0"),
        ({"eval_transforms": {"pad": A.PadIfNeeded(8, 8)}}, r"transform 'pad' \(PadIfNeeded\): fill_mask=0"),
        ({"std": [1.0, 0.0, 1.0]}, "std: must be positive"),
        ({"root": "seglit:nope"}, "seglit:nope: no data set of that name"),
    ],
)
def test_impossible_arguments_are_refused(stripes, options, message):
    with pytest.raises(ValueError, match=message):
        module(**{"root": stripes, **options})


def test_pin_memory_follows_the_machine_unless_given(stripes, monkeypatch):
    assert module(stripes, pin_memory=True).val_dataloader().pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert module(stripes).val_dataloader().pin_memory
    assert not module(stripes, pin_memory=False).val_dataloader().pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not module(stripes).val_dataloader().pin_memory


def test_label_statistics_are_those_of_the_training_split(stripes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    statistics = module(stripes).label_statistics()
    assert isinstance(statistics, LabelStatistics)
    assert statistics.images == 7
    assert int(statistics.pixels.sum()) == 7 * 19 * 24  # the first row of each is void


def test_every_argument_is_documented():
    documented = SegmentationDataModule.__doc__ or ""
    for name in inspect.signature(SegmentationDataModule).parameters:
        assert f"        {name}: " in documented


class Recorder(LightningModule):
    """Learns nothing; notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((tuple(batch["name"]), float(batch["image"].sum())))
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        """Lightning warns where there are validation data but no step."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, folder, steps, ckpt_path=None, **options):
    recorder = Recorder()
    running = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        limit_val_batches=0,
        **({"max_epochs": -1} | options),
    )
    running.fit(recorder, datamodule=data, ckpt_path=ckpt_path)
    running.save_checkpoint(folder / f"{steps}.ckpt")
    return recorder.seen


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_resumes_at_the_next_sample(stripes, tmp_path, accumulate):
    options = {"accumulate_grad_batches": accumulate}
    whole = fit(module(stripes), tmp_path, 5, **options)
    first = fit(module(stripes), tmp_path, 2, **options)
    rest = fit(module(stripes), tmp_path, 5, ckpt_path=tmp_path / "2.ckpt", **options)
    assert len(whole) == 5 * accumulate
    assert first + rest == whole


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_lightnings_epochs_go_on_instead_of_beginning_anew(stripes, tmp_path):
    whole = fit(module(stripes), tmp_path, 6)
    epochs = fit(module(stripes), tmp_path, 6, max_epochs=3, limit_train_batches=2)
    assert epochs == whole


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:You requested to overfit:UserWarning")
def test_overfit_batches_repeats_the_same_batches(stripes, tmp_path):
    seen = fit(module(stripes), tmp_path, 4, overfit_batches=1)
    assert len(seen) == 4
    assert set(seen) == {seen[0]}
