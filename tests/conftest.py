"""The suite fits hundreds of tiny networks, which one thread does faster than two."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and scikit-learn are imported
