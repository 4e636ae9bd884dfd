"""From the start of the process to the first training step, against MMSegmentation's Runner: whole processes.

python scripts/bench_startup.py
python scripts/bench_startup.py --environment FOLDER   # keep MMSegmentation there

Both train a U-Net of three stages on the same tiny data set, with what each watches a run with by default, and end
where the first optimizer step is done. Beside it: how long a command takes that trains nothing.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
from benching import UNAVAILABLE, Row, header, options_of, row, shown, written
from tiny_squares import write_squares

HERE = Path(__file__).resolve().parent
MMSEG = """
import os, sys
sys.path.insert(0, {scripts!r})
from peers import stand_in_for_mmcv_operations
stand_in_for_mmcv_operations()
if "mmcv._ext" in sys.modules:  # mmengine looks whether there is a file
    from importlib.machinery import ModuleSpec
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
import mmseg.apis
from mmseg.registry import HOOKS

@HOOKS.register_module()
class StopAfterStep(Hook):
    def after_train_iter(self, *args, **kwargs):
        os._exit(0)

norm = dict(type="BN")
head = dict(type="FCNHead", channels=8, num_convs=1, concat_input=False, num_classes=3, norm_cfg=norm)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(64, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(32, 32), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
Runner.from_cfg(Config(dict(
    default_scope="mmseg",
    work_dir={work!r},
    model=dict(
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
            pad_val=0, seg_pad_val=255, size=(32, 32),
        ),
        backbone=dict(
            type="UNet", base_channels=8, num_stages=3, strides=(1, 1, 1), enc_num_convs=(2, 2, 2),
            dec_num_convs=(2, 2), downsamples=(True, True), enc_dilations=(1, 1, 1), dec_dilations=(1, 1),
            norm_cfg=norm,
        ),
        decode_head=dict(in_channels=8, in_index=2, **head),
        auxiliary_head=dict(in_channels=16, in_index=1, **head),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    ),
    train_dataloader=dict(
        batch_size=2, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True),
        dataset=dict(
            type="BaseSegDataset", data_root={data!r}, img_suffix=".png", seg_map_suffix=".png",
            data_prefix=dict(img_path="images/train", seg_map_path="masks/train"),
            metainfo=dict(classes=("a", "b", "c")), pipeline=pipeline,
        ),
    ),
    train_cfg=dict(type="IterBasedTrainLoop", max_iters=10, val_interval=10),
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.01)),
    param_scheduler=[dict(type="PolyLR", power=0.9, begin=0, end=10, by_epoch=False)],
    default_hooks=dict(
        timer=dict(type="IterTimerHook"), logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
        param_scheduler=dict(type="ParamSchedulerHook"),
        checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=10),
        sampler_seed=dict(type="DistSamplerSeedHook"), visualization=dict(type="SegVisualizationHook"),
    ),
    custom_hooks=[dict(type="StopAfterStep", priority="LOWEST")],
    visualizer=dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"),
    launcher="none",
))).train()
"""


def main() -> None:
    options = options_of(__doc__)
    try:
        refused = peers.prepared(options.environment)
    except (subprocess.CalledProcessError, OSError) as error:
        refused = {"mmseg": str(error)}
    if "mmseg" in refused:
        print(f"MMSegmentation cannot be installed: {refused['mmseg']}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    print(header(1, ["seglit", "torch", "lightning"]))
    print("peer: mmsegmentation 1.2.2, mmengine 0.10.7\n", flush=True)
    rounds = 3 if options.short else 6
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), peers.python(options.environment), rounds)
    for found in rows:
        print(shown(found))
    written(rows, options.json)


def measured(folder: Path, peer: Path, rounds: int) -> list[Row]:
    """The processes in turn; the first round, which fills the caches of files, is left out."""
    data = folder / "data"
    write_squares(data)
    program = MMSEG.format(scripts=str(HERE), work=str(folder / "mmseg"), data=str(data))
    commands = {
        "seglit": [sys.executable, "-m", "seglit.train", *seglit_overrides(data, folder / "seglit")],
        "mmseg": [str(peer), "-W", "ignore", "-c", program],
        "help": [sys.executable, "-m", "seglit.train", "--help"],
        "mistake": [sys.executable, "-m", "seglit.train", "+experiment=nothing"],
        "torch": [sys.executable, "-c", "import torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            taken = timed(command, folder, wanted=2 if name == "mistake" else 0)
            if number:
                seconds[name].append(taken)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    notes = {name: f"least {min(values):.2f} s" for name, values in seconds.items()}
    against_torch = f"peer: python -c 'import torch'; {notes['torch']}"
    return [
        row("start to first step", "tiny U-Net", middle["seglit"], middle["mmseg"], "s",
            f"{notes['seglit']} against {notes['mmseg']}"),
        row("seglit.train --help", "whole process", middle["help"], middle["torch"], "s", against_torch),
        row("an experiment that is not there", "whole process", middle["mistake"], middle["torch"], "s", against_torch),
    ]  # fmt: skip


def seglit_overrides(data: Path, output: Path) -> list[str]:
    return [
        "data=folder",
        f"data.root={data}",
        "data.num_classes=3",
        "data.num_workers=0",
        "data.batch_size=2",
        "data.train_transforms.crop.height=32",
        "model.net.backbone.num_stages=3",
        "model.net.backbone.base_channels=8",
        "trainer.accelerator=cpu",
        "trainer.max_steps=10",
        "trainer.val_check_interval=10",
        f"output_dir={output}",
        f"hydra.run.dir={output}",
        "name=startup",
        "+callbacks.stop._target_=tiny_squares.StopAfterStep",
    ]


def timed(command: list[str], folder: Path, wanted: int) -> float:
    """Seconds of a process.

    Raises:
        RuntimeError: where it does not end as it should.
    """
    for old in folder.glob("seglit/receipt.json"):
        old.unlink()
    paths = os.pathsep.join([str(peers.ROOT / "src"), str(HERE)])
    variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    start = time.perf_counter()
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode != wanted:
        raise RuntimeError(f"{command[:4]}: status {done.returncode}\n{done.stderr[-3000:]}")
    return taken


if __name__ == "__main__":
    main()
