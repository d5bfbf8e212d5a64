"""Floor 6: the loop, its checkpoints, its pictures, and the baselines that a model has to beat."""

from minillm.training.checkpoints import CheckpointError, Checkpoints, SaveError, write_atomically
from minillm.training.config import ConfigError, TrainingConfig, settings_from
from minillm.training.curves import figure, plot_curves, read_metrics, save_figure
from minillm.training.early_stopping import EarlyStopping
from minillm.training.parallel import split_rows
from minillm.training.run_folder import change_config, create_run, environment, go_on, read_config
from minillm.training.run_lock import RunError, RunLock
from minillm.training.search import Trial, grid, halving, random_settings
from minillm.training.signals import Interrupted
from minillm.training.tasks import ClassificationTask, LanguageTask, Task, evaluate_language
from minillm.training.trainer import NonFiniteLoss, Trainer

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "ClassificationTask",
    "ConfigError",
    "EarlyStopping",
    "Interrupted",
    "LanguageTask",
    "NonFiniteLoss",
    "RunError",
    "RunLock",
    "SaveError",
    "Task",
    "Trainer",
    "TrainingConfig",
    "Trial",
    "change_config",
    "create_run",
    "environment",
    "evaluate_language",
    "figure",
    "go_on",
    "grid",
    "halving",
    "plot_curves",
    "random_settings",
    "read_config",
    "read_metrics",
    "save_figure",
    "settings_from",
    "split_rows",
    "write_atomically",
]
