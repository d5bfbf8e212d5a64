"""minillm: a small autograd engine on NumPy, with PyTorch's names, to learn how language models work."""

__version__ = "0.1.0"

from minillm.autograd import *  # noqa: F403
from minillm.backend.device import *  # noqa: F403
from minillm.ops import *  # noqa: F403
from minillm.tensor import Tensor
