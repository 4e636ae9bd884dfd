"""A dictionary of an MMSegmentation configuration that knows which of its keys were read."""

from collections.abc import Callable, Mapping
from typing import Any

REQUIRED: Any = object()


class UnsupportedError(ValueError):
    """What has no equal here; the message names the key."""


class Settings:
    """The keys of one dictionary; what nobody took has no equal, and the report says so.

    Args:
        values: The dictionary.
        path: Where it stands, as `model.decode_head`.
    """

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self.values = dict(values)
        self.path = path
        self._taken: set[str] = set()
        self._inner: dict[str, Settings] = {}

    @property
    def type(self) -> str:
        """The class that the dictionary asks for."""
        return str(self.take("type"))

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        """The value of a key, or the default of the original's constructor where it is absent.

        Raises:
            UnsupportedError: If there is neither.
        """
        self._taken.add(key)
        if key not in self.values and default is REQUIRED:
            raise UnsupportedError(f"{self.path}: has no {key!r}")
        return self.values.get(key, default)

    def skip(self, *keys: str) -> None:
        """Take what the rest of the network says too, as channels, or what changes no result."""
        self._taken.update(keys)

    def only(self, key: str, *allowed: Any) -> None:
        """Take a key for which there is but one way here, the first allowed value being the default.

        Raises:
            UnsupportedError: On any other value.
        """
        value = self.take(key, allowed[0])
        if value not in allowed:
            raise self.unsupported(key, f"there is only {' or '.join(map(repr, allowed))}")

    def unsupported(self, key: str, reason: str) -> UnsupportedError:
        """The error that names a key, its value and why it has no equal."""
        return UnsupportedError(f"{self.path}.{key}={self.values.get(key)!r}: {reason}")

    def within(self, key: str) -> "Settings":
        """The dictionary under a key.

        Raises:
            UnsupportedError: If it is none.
        """
        if key not in self._inner:
            value = self.take(key)
            if not isinstance(value, Mapping):
                raise self.unsupported(key, "must be a dictionary")
            self._inner[key] = Settings(value, f"{self.path}.{key}")
        return self._inner[key]

    def member(self, key: str, index: int) -> "Settings":
        """The dictionary at a place of the list under a key."""
        name = f"{key}[{index}]"
        if name not in self._inner:
            self._inner[name] = Settings(self.take(key)[index], f"{self.path}.{name}")
        return self._inner[name]

    def untaken(self) -> list[str]:
        """The full names of all keys that nobody read, here and within."""
        own = [f"{self.path}.{key}" for key in self.values if key not in self._taken]
        return own + [name for inner in self._inner.values() for name in inner.untaken()]


def norm_of(settings: Settings) -> dict[str, Any]:
    """`norm_cfg` as the argument `norm`; empty for batch normalisation, the default of every part here.

    Synchronised normalisation is the trainer's business (`trainer.sync_batchnorm`).

    Raises:
        UnsupportedError: On another normalisation or on arguments that change its result.
    """
    values = settings.take("norm_cfg", {"type": "BN"}) or {"type": "BN"}
    norm = Settings(values, f"{settings.path}.norm_cfg")
    kind = norm.type
    norm.skip("requires_grad")
    if kind in ("BN", "SyncBN", "BN2d", "MMSyncBN"):
        node: dict[str, Any] = {}
        more = {name: norm.take(name) for name in ("eps", "momentum") if name in norm.values}
        if more:
            node = {"norm": {"_target_": "torch.nn.BatchNorm2d", "_partial_": True, **more}}
    elif kind == "GN":
        groups = norm.take("num_groups")
        node = {"norm": {"_target_": "seglit.blocks.GroupNorm", "_partial_": True, "num_groups": groups}}
    else:
        raise settings.unsupported("norm_cfg", "there are only BN, SyncBN and GN")
    if unknown := norm.untaken():
        raise UnsupportedError(f"{unknown[0]}: has no equal")
    return node


def relu_only(settings: Settings) -> None:
    """Take `act_cfg`, which must be ReLU."""
    values = settings.take("act_cfg", {"type": "ReLU"}) or {}
    if values.get("type") != "ReLU":
        raise settings.unsupported("act_cfg", "there is only ReLU")


Node = dict[str, Any]
NodeOf = Callable[[Settings], Node]
