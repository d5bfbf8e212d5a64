"""Mixed precision: matrix products in 16 bits, everything that adds up many numbers in 32 (PyTorch's ``torch.amp``).

Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018; lesson 04 shows why it works and what it needs.
"""

from minillm.amp.autocast import autocast, is_autocast_enabled
from minillm.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]
