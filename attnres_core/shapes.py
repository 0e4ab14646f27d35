"""Types of arrays. Shape annotations are jaxtyping's where it is installed (our tests check them), inert otherwise.

Axis names: batch (rows), pos (token positions), source (depth sources of a site), d (model width), vocab.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
"""One number per prompt, `[prompt]`."""
Unit = dict[str, NDArray[np.float64]]
"""The measured effects of one intervention on one chunk: named arrays whose first axis is the chunk's prompts."""

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:

        class _Unchecked:
            """Stands in for a jaxtyping dtype: `Float[Tensor, "batch pos"]` is then plain `Tensor`."""

            def __class_getitem__(cls, item: Any) -> Any:
                return item[0]

        Bool = Float = Int = _Unchecked

__all__ = ["Bool", "Column", "Float", "Int", "Unit"]
