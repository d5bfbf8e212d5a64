"""Floor 5: optimizers and learning-rate schedules. They take any iterable of parameters and know no Module."""

from minillm.optim import lr_scheduler
from minillm.optim.adam import Adam, AdamW
from minillm.optim.adaptive import Adagrad, RMSprop
from minillm.optim.optimizer import Optimizer
from minillm.optim.penalty import l1_penalty, l2_penalty
from minillm.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "l1_penalty", "l2_penalty", "lr_scheduler"]
