"""Hand-made image filters, and how to make a filter bank of them."""

from __future__ import annotations

import numpy as np
