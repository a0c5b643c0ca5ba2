"""The start of a training: pretraining, the start partition, and the judge of partitions."""
