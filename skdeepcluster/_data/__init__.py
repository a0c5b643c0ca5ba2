"""Data: validation, scaling, and batches."""
