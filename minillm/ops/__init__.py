"""Floor 4: the ops, one file a family. Each family lists its public names in ``__all__``; this package is their union."""

from minillm.ops import common, creation, inplace, printing
from minillm.ops.activation import *  # noqa: F403
from minillm.ops.arithmetic import *  # noqa: F403
from minillm.ops.attention import *  # noqa: F403
from minillm.ops.common import cast, promote_types, result_type
from minillm.ops.comparison import *  # noqa: F403
from minillm.ops.creation import *  # noqa: F403
from minillm.ops.cross_entropy import *  # noqa: F403
from minillm.ops.elementary import *  # noqa: F403
from minillm.ops.embedding import *  # noqa: F403
from minillm.ops.indexing import *  # noqa: F403
from minillm.ops.joining import *  # noqa: F403
from minillm.ops.loss import *  # noqa: F403
from minillm.ops.matmul import *  # noqa: F403
from minillm.ops.normalization import *  # noqa: F403
from minillm.ops.random import *  # noqa: F403
from minillm.ops.reduction import *  # noqa: F403
from minillm.ops.shape import *  # noqa: F403
from minillm.ops.softmax import *  # noqa: F403
from minillm.ops.sorting import *  # noqa: F403
