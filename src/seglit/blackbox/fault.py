"""A training that cannot go on."""


class TrainingFault(RuntimeError):  # noqa: N818, it is the training that is at fault
    """A step that would spoil the weights; its text says which, what is wrong, and where the bundle is."""
