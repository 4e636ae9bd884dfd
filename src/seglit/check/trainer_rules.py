"""Rules of the run's length and of Lightning's Trainer."""

import re
from collections.abc import Iterator

from seglit.check.nodes import MISSING, Node, default_of, mapping

ENDS = ("total_steps", "T_max", "total_iters")
"""What schedules call the step at which they end."""
WARM_UPS = (".LinearLR", ".ConstantLR")
"""Schedules of torch that come up to the full rate, after which they leave it alone."""
ELSEWHERE = {"logger": "logger", "callbacks": "callbacks", "default_root_dir": "output_dir"}
"""Arguments of the Trainer that the root has keys for."""


def schedule_rule(content: Node) -> Iterator[str]:
    """The schedule ends with the run, and needs nothing but the step."""
    scheduler, steps = mapping(content["model"].get("scheduler")), content["trainer"].get("max_steps")
    target = str(scheduler.get("_target_"))
    if target.endswith(".ReduceLROnPlateau"):
        yield (
            f"model.scheduler: {target} needs a score at each step, and there is none; use a schedule of seglit.optim"
        )
        return
    for name in ENDS:
        total = scheduler.get(name, default_of(scheduler, name))
        full_rate = target.endswith(WARM_UPS) and scheduler.get("end_factor", 1) == 1
        if total not in (MISSING, None, steps) and not full_rate:
            yield f"model.scheduler.{name}: the schedule ends at {total}, but the run at trainer.max_steps={steps}"


def steps_rule(content: Node) -> Iterator[str]:
    """The run is counted in steps, and evaluated between them."""
    trainer = content["trainer"]
    steps = trainer.get("max_steps")
    if not isinstance(steps, int) or steps < 1:
        yield f"trainer.max_steps: must be 1 or more, as the training data never ends; got {steps}"
        return
    if trainer.get("max_epochs") != -1:
        yield f"trainer.max_epochs: must be -1, as max_steps ends the run; got {trainer.get('max_epochs')}"
    if trainer.get("check_val_every_n_epoch", 1) is not None:
        yield "trainer.check_val_every_n_epoch: must be null, as the training data has no epochs"
    interval, accumulated = trainer.get("val_check_interval"), trainer.get("accumulate_grad_batches", 1)
    if interval is None or isinstance(interval, float) or (isinstance(interval, int) and interval < 1):
        yield f"trainer.val_check_interval: must be a number of batches, as there are no epochs; got {interval}"
    elif isinstance(interval, int) and isinstance(accumulated, int) and accumulated > 0:
        if interval > steps * accumulated:
            yield (
                f"trainer.val_check_interval: {interval} batches, but the run has {steps * accumulated}: "
                "nothing would be evaluated"
            )
        if interval % accumulated:
            yield (
                f"trainer.val_check_interval: {interval} batches are no whole number of steps of "
                f"trainer.accumulate_grad_batches={accumulated}, and from a checkpoint amid a step a run would not go "
                f"on as it was; give a multiple of {accumulated}"
            )
    if trainer.get("use_distributed_sampler") is not False:
        yield "trainer.use_distributed_sampler: must be false, as the data module gives each rank its own samples"


def limits_rule(content: Node) -> Iterator[str]:
    """Nothing shortens the run but `max_steps`, and what is asked for is evaluated and logged."""
    trainer = content["trainer"]
    if (limit := trainer.get("limit_train_batches")) is not None:
        yield f"trainer.limit_train_batches: {limit}, but trainer.max_steps ends the run; leave it out"
    if run := trainer.get("fast_dev_run"):
        yield f"trainer.fast_dev_run: {run} would switch checkpoints and loggers off; use +debug=quick"
    if trainer.get("limit_val_batches") == 0:
        yield "trainer.limit_val_batches: 0, so that nothing would be evaluated; give 1 or more, or null for all"
    if trainer.get("limit_test_batches") == 0 and content.get("test_after_fit") is True:
        yield "trainer.limit_test_batches: 0, but test_after_fit is true; give 1 or more, or set test_after_fit=false"
    every = trainer.get("log_every_n_steps")
    if isinstance(every, int) and every < 1:
        yield f"trainer.log_every_n_steps: must be 1 or more, got {every}; logger.csv=null switches a logger off"
    clip = trainer.get("gradient_clip_val")
    if isinstance(clip, int | float) and clip <= 0:
        yield f"trainer.gradient_clip_val: must be above 0, got {clip}; null clips nothing"
    algorithm = trainer.get("gradient_clip_algorithm")
    if algorithm is not None and not trainer.get("gradient_clip_val"):
        yield f"trainer.gradient_clip_algorithm: {algorithm} clips nothing without trainer.gradient_clip_val; give both"


def elsewhere_rule(content: Node) -> Iterator[str]:
    """What the root has keys for is said there."""
    for name, key in ELSEWHERE.items():
        if name in content["trainer"]:
            yield f"trainer.{name}: would be ignored; say it at {key}"


def device_rule(content: Node) -> Iterator[str]:
    """Devices that are given as text are a number or a list of numbers, or `auto`."""
    devices = content["trainer"].get("devices")
    if isinstance(devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d+)*,?", devices.replace(" ", "")):
        yield f"trainer.devices: {devices!r}; must be a number of devices, a list of their indices, or auto"
