"""What watches a run."""

from seglit.callbacks.best_checkpoint import BestCheckpoint
from seglit.callbacks.black_box import BlackBox
from seglit.callbacks.interruption import Interruption
from seglit.callbacks.loader_watch import LoaderWatch
from seglit.callbacks.pictures import Pictures
from seglit.callbacks.predictions import Predictions
from seglit.callbacks.progress import Progress
from seglit.callbacks.score_tables import ScoreTables
from seglit.callbacks.step_seed import StepSeed

__all__ = [
    "BestCheckpoint",
    "BlackBox",
    "Interruption",
    "LoaderWatch",
    "Pictures",
    "Predictions",
    "Progress",
    "ScoreTables",
    "StepSeed",
]
